"""Files on their way to the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 64 * 1024
"""Bytes of a message of an upload."""


@dataclass(frozen=True)
class Upload:
    """Bytes to send with a name, by whose ending many providers tell the format, and a media type such as `audio/wav`."""

    content: bytes | BinaryIO
    """The bytes, or a file that is open for reading; it is read while it is sent, and stays open."""
    filename: str = ""
    """What it is called."""
    media_type: str = ""
    """Empty: `application/octet-stream`."""


Uploadable = str | Path | bytes | BinaryIO | Upload
"""What can be sent: a path, bytes, a file that is open for reading in binary, or any of these with a name as an `Upload`."""


def named(file: Uploadable) -> tuple[str, str]:
    """What a file is called, and its media type."""
    if isinstance(file, Upload):
        return file.filename or named(file.content)[0], file.media_type
    if isinstance(file, str | Path):
        return Path(file).name, ""
    own = getattr(file, "name", "")
    return (Path(own).name if isinstance(own, str) else ""), ""


def chunks(file: Uploadable) -> Iterator[bytes]:
    """The bytes, piece by piece. Raises OSError for what cannot be read, and TypeError for text."""
    if isinstance(file, Upload):
        yield from chunks(file.content)
    elif isinstance(file, bytes):
        yield from (file[at : at + CHUNK] for at in range(0, len(file), CHUNK))
    elif isinstance(file, str | Path):
        with Path(file).open("rb") as opened:
            yield from chunks(opened)
    else:
        while piece := file.read(CHUNK):
            if not isinstance(piece, bytes):
                raise TypeError("a file to send is opened with mode 'rb'")
            yield piece


def several(files: Uploadable | Iterable[Uploadable]) -> list[Uploadable]:
    """One, or each of several. A `BinaryIO` is iterable, too: it is one."""
    if isinstance(files, str | Path | bytes | Upload) or hasattr(files, "read"):
        return [files]  # type: ignore[list-item]
    return list(files)
