# Made from `_async` by tools/unasync.py; change that one.
"""Speech, transcripts and images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Unpack

from tollgate import _rpcs, v1
from tollgate._sync.connection import Connection
from tollgate._sync.stream import Records
from tollgate.errors import unfinished
from tollgate.made import EditedImages, Transcription
from tollgate.messages import CallOptions
from tollgate.uploads import Uploadable, chunks, named, several


class Speech(Records[bytes]):
    """Sound as it is made: iterate over its bytes, or `save` it. Closing it ends the call at the provider too."""

    content_type: str
    """Media type of the sound, such as `audio/mpeg`; empty until its first bytes have come."""
    usage: v1.Usage | None
    """What the call consumed, once the sound has been read to its end."""
    receipt: v1.Receipt | None
    """The audit log's promise, once the sound has been read to its end; None where it was not asked for."""

    def __init__(self, call: Any) -> None:
        super().__init__(call, lambda response: response)
        self.content_type, self.usage, self.receipt = "", None, None

    def __next__(self) -> bytes:
        while True:
            try:
                told: Any = super().__next__()
            except StopIteration:
                if self.usage is None and not self._closed:
                    self._closed = True
                    raise unfinished() from None
                raise
            self.content_type = self.content_type or told.content_type
            kind = told.WhichOneof("event")
            if kind == "usage":
                self.usage = told.usage
            if kind == "receipt":
                self.receipt = told.receipt
            if kind in ("audio", "native"):
                sound: bytes = getattr(told, kind)
                return sound

    def save(self, path: str | Path) -> int:
        """Writes the sound into a file as it comes, and returns how many bytes it has. The file is made when the first have come."""
        return saved(self, path)


def saved(pieces: Records[bytes], path: str | Path) -> int:
    """Writes what comes into a file, which is made with the first piece."""
    written = 0
    with pieces:
        first = next(pieces, b"")
        with Path(path).open("wb") as out:  # noqa: ASYNC230 (a piece is written in no time that a loop would miss)
            written += out.write(first)
            for piece in pieces:
                written += out.write(piece)
    return written


class Audio:
    """Speech and transcripts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def speak(
        self,
        model: str | v1.CreateSpeechRequest,
        input: str = "",
        voice: str | None = None,
        *,
        instructions: str | None = None,
        response_format: str | None = None,
        speed: float | None = None,
        **options: Unpack[CallOptions],
    ) -> Speech:
        """Speaks a text. The sound comes while it is made; errors are raised while it is read."""
        request = v1.CreateSpeechRequest(voice=voice, instructions=instructions, response_format=response_format, speed=speed)
        if isinstance(model, v1.CreateSpeechRequest):
            request.MergeFrom(model)
        else:
            request.model, request.input = model, input
        return Speech(self._connection.stream(_rpcs.CREATE_SPEECH, request, options))

    def transcribe(
        self,
        model: str | v1.TranscriptionHead,
        file: Uploadable,
        *,
        language: str | None = None,
        prompt: str | None = None,
        response_format: str | None = None,
        temperature: float | None = None,
        **options: Unpack[CallOptions],
    ) -> Transcription:
        """Writes down what a recording says: a path, bytes, an open file, or an `Upload`."""
        head = v1.TranscriptionHead(language=language, prompt=prompt, response_format=response_format, temperature=temperature)
        if isinstance(model, v1.TranscriptionHead):
            head.MergeFrom(model)
        else:
            head.model = model
        return self._heard(head, file, options)

    def translate(
        self, model: str, file: Uploadable, *, prompt: str | None = None, response_format: str | None = None, **options: Unpack[CallOptions]
    ) -> Transcription:
        """Writes down in English what a recording says in another language."""
        head = v1.TranscriptionHead(model=model, to_english=True, prompt=prompt, response_format=response_format)
        return self._heard(head, file, options)

    def _heard(self, head: v1.TranscriptionHead, file: Uploadable, options: CallOptions) -> Transcription:
        def parts() -> Iterator[v1.CreateTranscriptionRequest]:
            filename, media_type = named(file)
            yield v1.CreateTranscriptionRequest(head=head)
            yield v1.CreateTranscriptionRequest(file=v1.UploadFile(field="file", filename=filename, content_type=media_type))
            for data in chunks(file):
                yield v1.CreateTranscriptionRequest(data=data)

        transcript, usage, receipt = None, v1.Usage(), None
        for event in self._connection.upload(_rpcs.CREATE_TRANSCRIPTION, parts(), options):
            if event.HasField("transcript"):
                transcript = event.transcript
            if event.HasField("usage"):
                usage = event.usage
            if event.HasField("receipt"):
                receipt = event.receipt
        if transcript is None:
            raise unfinished()
        return Transcription(transcript, usage, receipt)


class Images:
    """Images of words, and of other images."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def generate(
        self,
        model: str | v1.GenerateImageRequest,
        prompt: str = "",
        *,
        n: int | None = None,
        size: str | None = None,
        quality: str | None = None,
        background: str | None = None,
        output_format: str | None = None,
        **options: Unpack[CallOptions],
    ) -> v1.GenerateImageResponse:
        """Makes images of words; `images` of the answer are files in their bytes, or addresses."""
        request = v1.GenerateImageRequest(n=n, size=size, quality=quality, background=background, output_format=output_format)
        if isinstance(model, v1.GenerateImageRequest):
            request.MergeFrom(model)
        else:
            request.model, request.prompt = model, prompt
        return self._connection.unary(_rpcs.GENERATE_IMAGE, request, options)

    def edit(
        self,
        model: str | v1.EditImageHead,
        images: Uploadable | Iterable[Uploadable],
        prompt: str = "",
        *,
        mask: Uploadable | None = None,
        n: int | None = None,
        size: str | None = None,
        quality: str | None = None,
        background: str | None = None,
        output_format: str | None = None,
        **options: Unpack[CallOptions],
    ) -> EditedImages:
        """Makes images of one or several images, and with a mask only within it."""
        head = v1.EditImageHead(n=n, size=size, quality=quality, background=background, output_format=output_format)
        if isinstance(model, v1.EditImageHead):
            head.MergeFrom(model)
        else:
            head.model, head.prompt = model, prompt
        files = [("image[]", image) for image in several(images)] + ([("mask", mask)] if mask is not None else [])
        if not head.HasField("images"):
            head.images = len(files)

        def parts() -> Iterator[v1.EditImageRequest]:
            yield v1.EditImageRequest(head=head)
            for field, file in files:
                filename, media_type = named(file)
                yield v1.EditImageRequest(file=v1.UploadFile(field=field, filename=filename, content_type=media_type))
                for data in chunks(file):
                    yield v1.EditImageRequest(data=data)

        made, usage, receipt = [], v1.Usage(), None
        for event in self._connection.upload(_rpcs.EDIT_IMAGE, parts(), options):
            if event.HasField("image") and not event.image.HasField("partial_index"):
                made.append(event.image.image)
            if event.HasField("usage"):
                usage = event.usage
            if event.HasField("receipt"):
                receipt = event.receipt
        if not made:
            raise unfinished()
        return EditedImages(made, usage, receipt)
