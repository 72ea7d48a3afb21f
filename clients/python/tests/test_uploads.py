"""Uploads, and streams that end too early."""

import asyncio
import io
import threading

import pytest

from gateway import Gateway
from tollgate import AsyncClient, Client, Upload, errors, v1
from tollgate.uploads import CHUNK, chunks, named, several


class Torn(io.BytesIO):
    """A file that breaks behind its first bytes."""

    reads = 0

    def read(self, size=-1, /):
        self.reads += 1
        if self.reads > 1:
            raise OSError("torn")
        return b"x" * size


@pytest.fixture
def gateway():
    """Waits for the end of what is sent."""

    def waits(_, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(10)
        yield from ()

    with Gateway({"CreateFile": waits}) as gateway:
        yield gateway


def test_a_file_is_read_in_chunks_under_its_own_name(tmp_path):
    path = tmp_path / "talk.wav"
    path.write_bytes(b"ab" * CHUNK)

    assert [len(piece) for piece in chunks(path)] == [CHUNK, CHUNK]
    assert named(path) == ("talk.wav", "")
    with path.open("rb") as opened:
        assert named(Upload(opened, media_type="audio/wav")) == ("talk.wav", "audio/wav")
        assert several(opened) == [opened]


def test_text_is_no_file():
    with pytest.raises(TypeError, match="rb"):
        list(chunks(io.StringIO("text")))


def test_a_file_that_cannot_be_read_ends_the_call_with_its_own_error(gateway):
    with Client(gateway.address, "tg-x") as client, pytest.raises(OSError, match="torn"):
        client.files.upload(Upload(Torn(), "input.jsonl"), "batch")


def test_a_file_that_cannot_be_read_ends_the_call_for_asyncio_too(gateway):
    async def send():
        async with AsyncClient(gateway.address, "tg-x") as client:
            await client.files.upload(Upload(Torn(), "input.jsonl"), "batch")

    with pytest.raises(OSError, match="torn"):
        asyncio.run(send())


def test_speech_that_ends_without_its_usage_is_not_whole(tmp_path):
    def spoken(*_):
        yield v1.CreateSpeechResponse(started=v1.Started(), content_type="audio/wav")
        yield v1.CreateSpeechResponse(audio=b"half")

    with Gateway({"CreateSpeech": spoken}) as gateway, Client(gateway.address, "tg-x") as client:
        with pytest.raises(errors.Internal, match="finished"):
            client.audio.speak("tts", "Hello", "coral").save(tmp_path / "hello.wav")
        assert (tmp_path / "hello.wav").read_bytes() == b"half"
