"""The official OpenAI SDK for Python: speech, transcripts, translations, images and their edits, whole and streamed."""

import base64
import io

import openai
import pytest

TEXT = "Hello to the gate"


def recording(size=2500):
    return ("gate.mp3", io.BytesIO(b"\x07" * size), "audio/mpeg")


def test_a_text_is_spoken(client):
    answer = client.audio.speech.create(model="gpt", input=TEXT, voice="coral", response_format="wav")

    assert answer.content == TEXT.encode()
    assert answer.response.headers["content-type"] == "audio/wav"


def test_speech_is_read_while_it_is_made(client):
    with client.audio.speech.with_streaming_response.create(model="gpt", input=TEXT, voice="coral") as answer:
        assert b"".join(answer.iter_bytes()) == TEXT.encode()


def test_a_recording_is_written_down(client):
    answer = client.audio.transcriptions.create(model="gpt", file=recording(), language="en")

    assert answer.text == "2500 bytes of gate.mp3"
    assert answer.usage.type == "tokens" and answer.usage.input_tokens == 25


def test_a_recording_on_disk_is_written_down_at_length(client, tmp_path):
    path = tmp_path / "long.wav"
    path.write_bytes(b"\x07" * (3 << 20))

    answer = client.audio.transcriptions.create(
        model="gpt", file=path, response_format="verbose_json", timestamp_granularities=["segment"]
    )

    assert answer.text == f"{3 << 20} bytes of long.wav"
    assert answer.segments[0].end == pytest.approx((3 << 20) / 1000)


def test_subtitles_come_as_text(client):
    answer = client.audio.transcriptions.create(model="gpt", file=recording(), response_format="srt")

    assert "00:00:00,000 --> 00:00:02,500" in answer


def test_a_transcript_is_told_while_it_is_made(client):
    events = list(client.audio.transcriptions.create(model="gpt", file=recording(), stream=True))

    assert "".join(event.delta for event in events[:-1]) == events[-1].text == "2500 bytes of gate.mp3"
    assert events[-1].type == "transcript.text.done"


def test_a_recording_is_translated(client):
    answer = client.audio.translations.create(model="gpt", file=recording())

    assert answer.text == "translated 2500 bytes of gate.mp3"


def test_images_are_made(client):
    answer = client.images.generate(model="gpt", prompt="a gate", n=2)

    assert [base64.b64decode(image.b64_json) for image in answer.data] == [b"image 0", b"image 1"]


def test_images_are_edited(client):
    images = [("one.png", b"one", "image/png"), ("two.png", b"two", "image/png")]

    answer = client.images.edit(model="gpt", prompt="a gate at dusk", image=images, mask=("m.png", b"m", "image/png"))

    assert base64.b64decode(answer.data[0].b64_json) == b"image 0"
    assert answer.usage.input_tokens_details.image_tokens == 300


def test_images_are_told_while_they_are_made(client):
    made = list(client.images.generate(model="gpt", prompt="a gate", stream=True, partial_images=2))
    edited = list(
        client.images.edit(model="gpt", prompt="a gate", image=("a.png", b"a", "image/png"), stream=True, partial_images=1)
    )

    assert [event.type for event in made] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.type for event in edited] == ["image_edit.partial_image", "image_edit.completed"]


def test_a_form_without_a_file_is_refused_by_name(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/audio/transcriptions", cast_to=object, body={"model": "gpt"}, files=[],
                    options={"headers": {"Content-Type": "multipart/form-data; boundary=x"}})
    assert refused.value.status_code == 400
