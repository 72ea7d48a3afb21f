"""Moments of Python and of protobuf."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def stamp(moment: datetime | None) -> Timestamp | None:
    """A moment as protobuf has it. A time without zone would mean two things: it is refused with ValueError."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone: write datetime.now(UTC), or .astimezone()")
    made = Timestamp()
    made.FromDatetime(moment)
    return made
