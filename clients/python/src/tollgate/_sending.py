"""Calls that send many messages.

They read files, which blocks: `AsyncClient` makes them in threads, over a channel of its own. So it also hears why the gateway refuses an
upload that is under way, which gRPC for asyncio hides behind "Internal error from Core" where it was about to send more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from tollgate import errors
from tollgate._rpcs import Rpc
from tollgate._settings import Settings
from tollgate.messages import CallOptions

A = TypeVar("A", bound=Message)


class Sender:
    """Begins such calls."""

    def __init__(self, settings: Settings, channel: object) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._given = channel if isinstance(channel, grpc.Channel) else None
        self._own: grpc.Channel | None = None

    def begin(self, rpc: Rpc[Any, A], requests: Iterator[Message], options: CallOptions) -> Sending[A]:
        """Begins a call. One answer is a stream of answers, too, so all are made alike."""
        stub: Any = self._channel().stream_stream(
            rpc.path, request_serializer=lambda message: message.SerializeToString(), response_deserializer=rpc.answer.FromString
        )
        sent = _Sent(requests)
        return Sending(stub(sent, timeout=self._settings.deadline(options), metadata=self._settings.metadata(options)), sent)

    def close(self) -> None:
        """Ends the calls under way, where the channel is no other's."""
        if self._own is not None:
            self._own.close()

    def _channel(self) -> grpc.Channel:
        if self._given is not None:
            return self._given
        with self._lock:
            if self._own is None:
                self._own = self._settings.channel()
            return self._own


class Sending(Generic[A]):
    """A call under way."""

    def __init__(self, call: Any, sent: _Sent) -> None:
        self._call, self._sent = call, sent

    def answers(self) -> list[A]:
        """Waits for all answers. Raises what the requests raised, or why the call failed."""
        try:
            return list(self._call)
        except grpc.RpcError as error:
            raise self._sent.raised or errors.of_rpc(error) from error

    def cancel(self) -> None:
        """Ends the call, unless it has ended."""
        self._call.cancel()


class _Sent:
    """Requests on their way: keeps what they raised, which gRPC would tell in words of its own."""

    def __init__(self, requests: Iterator[Message]) -> None:
        self._requests = requests
        self.raised: Exception | None = None

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        try:
            return next(self._requests)
        except StopIteration:
            raise
        except Exception as error:
            self.raised = error
            raise
