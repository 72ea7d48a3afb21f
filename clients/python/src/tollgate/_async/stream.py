"""Answers that come in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc

from tollgate import errors
from tollgate.answer import Answer, Collector
from tollgate.v1 import CompletionEvent

T = TypeVar("T")


class AsyncRecords(Generic[T]):
    """What a server streams, one by one. `close`, or the end of a `with` block, cancels the call."""

    def __init__(self, call: Any, read: Callable[[Any], T]) -> None:
        self._call, self._read, self._closed = call, read, False
        self._answers = call.__aiter__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._closed:
            raise StopAsyncIteration
        try:
            return self._read(await self._answers.__anext__())
        except grpc.RpcError as error:
            if self._closed:
                raise StopAsyncIteration from None
            raise errors.of_rpc(error) from error
        except asyncio.CancelledError:
            # The call was cancelled here, not the task that waits for it.
            if self._closed:
                raise StopAsyncIteration from None
            raise

    async def close(self) -> None:
        """Ends the call now, at the provider as well; what was produced is booked."""
        self._closed = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class AsyncStream(AsyncRecords[CompletionEvent]):
    """A completion as it is made: iterate over its events, or over `text`, or `collect` it."""

    def __init__(self, call: Any) -> None:
        super().__init__(call, lambda response: response.event)
        self._collector = Collector()
        self._finished = False

    async def __anext__(self) -> CompletionEvent:
        try:
            event = await super().__anext__()
        except StopAsyncIteration:
            if not self._finished and not self._closed:
                self._closed = True
                raise errors.unfinished() from None
            raise
        kind = event.WhichOneof("event")
        if kind in ("finished", "restarted"):
            self._finished = kind == "finished"
        self._collector.take(event)
        return event

    @property
    def text(self) -> AsyncIterator[str]:
        """The text of the first choice, piece by piece.

        Where an answer may start over (`Restarted` with the policy RESTART) read events instead: text cannot be unsaid.
        """
        return self._texts()

    async def _texts(self) -> AsyncIterator[str]:
        async for event in self:
            if event.delta.choice == 0 and event.delta.WhichOneof("piece") == "text":
                yield event.delta.text

    async def collect(self) -> Answer:
        """Reads what is left and returns the whole answer."""
        async for _ in self:
            pass
        return self._collector.answer()

    def so_far(self) -> Answer:
        """The answer as far as it has come: all that is left of one that broke or was closed."""
        return self._collector.answer()
