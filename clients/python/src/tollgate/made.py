"""What is made of uploads."""

from __future__ import annotations

from dataclasses import dataclass

from tollgate import v1


@dataclass(frozen=True)
class Transcription:
    """A transcript and what it cost."""

    transcript: v1.Transcript
    """What was said, with its pieces and words where they were asked for."""
    usage: v1.Usage
    """What the call consumed."""
    receipt: v1.Receipt | None = None
    """The audit log's promise; None where it was not asked for."""

    @property
    def text(self) -> str:
        """All of it."""
        return self.transcript.text


@dataclass(frozen=True)
class EditedImages:
    """Images that were made of others."""

    images: list[v1.GeneratedImage]
    """The images; sketches of them are left out."""
    usage: v1.Usage
    """What the call consumed."""
    receipt: v1.Receipt | None = None
    """The audit log's promise; None where it was not asked for."""
