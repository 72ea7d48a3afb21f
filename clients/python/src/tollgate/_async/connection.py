"""One channel, and the ways to call over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from tollgate import errors
from tollgate._rpcs import Rpc
from tollgate._sending import Sender
from tollgate._settings import Settings
from tollgate.messages import CallOptions, known

A = TypeVar("A", bound=Message)
T = TypeVar("T")
P = TypeVar("P", bound=Message)


class Connection:
    """A channel with the client's settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        options = settings.channel_options()
        if settings.secure:
            self.channel = grpc.aio.secure_channel(settings.target, settings.credentials(), options)
        else:
            self.channel = grpc.aio.insecure_channel(settings.target, options)
        self._sender = Sender(settings, self.channel)

    async def close(self) -> None:
        """Ends the channel; calls in flight are cancelled."""
        self._sender.close()
        await self.channel.close()

    async def unary(self, rpc: Rpc[Any, A], request: Message, options: CallOptions) -> A:
        """Makes a call with one answer."""
        known(options, CallOptions)
        stub = self.channel.unary_unary(
            rpc.path, request_serializer=type(request).SerializeToString, response_deserializer=rpc.answer.FromString
        )
        try:
            answer: A = await stub(request, timeout=self._settings.deadline(options), metadata=self._settings.metadata(options))
        except grpc.RpcError as error:
            raise errors.of_rpc(error) from error
        return answer

    def stream(self, rpc: Rpc[Any, A], request: Message, options: CallOptions) -> Any:
        """Begins a call with many answers, and returns gRPC's call object."""
        known(options, CallOptions)
        stub = self.channel.unary_stream(
            rpc.path, request_serializer=type(request).SerializeToString, response_deserializer=rpc.answer.FromString
        )
        return stub(request, timeout=self._settings.deadline(options), metadata=self._settings.metadata(options))

    async def upload(self, rpc: Rpc[Any, A], requests: Iterator[Message], options: CallOptions) -> list[A]:
        """Makes a call that sends many messages, and returns all answers. What `requests` raises ends the call, and is raised."""
        known(options, CallOptions)
        sending = self._sender.begin(rpc, requests, options)
        try:
            return await asyncio.to_thread(sending.answers)
        finally:
            sending.cancel()

    async def pages(
        self,
        rpc: Rpc[Any, P],
        request: Message,
        items: Callable[[P], Sequence[T]],
        options: CallOptions,
    ) -> AsyncIterator[T]:
        """Every item of a list: the next page is asked for when the one before is used up."""
        asked = type(request)()
        asked.CopyFrom(request)
        while True:
            page = await self.unary(rpc, asked, options)
            for item in items(page):
                yield item
            token: str = page.next_page_token  # type: ignore[attr-defined]
            if not token:
                return
            asked.page_token = token  # type: ignore[attr-defined]
