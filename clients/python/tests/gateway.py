"""A gateway in this process: what the client sends to it, and what it answers, are what the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tollgate import v1


@dataclass
class Gateway(grpc.GenericRpcHandler):
    """Answers each RPC, by its name, with what the function of `answers` yields for the request's bytes."""

    answers: dict[str, Callable[[bytes, grpc.ServicerContext], Iterator[Message]]]
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    credentials: grpc.ServerCredentials | None = None

    def __enter__(self) -> Gateway:
        self.server = grpc.server(ThreadPoolExecutor(4), handlers=[self])
        if self.credentials:
            self.address = f"https://localhost:{self.server.add_secure_port('127.0.0.1:0', self.credentials)}"
        else:
            self.address = f"http://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(grace=None).wait()

    def service(self, details: Any) -> Any:
        name = details.method.rsplit("/", 1)[1]
        metadata = dict(details.invocation_metadata)

        def handle(request: bytes, context: grpc.ServicerContext) -> Iterator[Message]:
            context.add_callback(self.left.set)
            self.seen.append((name, metadata, request))
            yield from self.answers[name](request, context)

        return grpc.unary_stream_rpc_method_handler(handle, None, lambda message: message.SerializeToString())


def refuses(code: grpc.StatusCode, message: str, *details: Message) -> Callable[[bytes, grpc.ServicerContext], Iterator[Message]]:
    """An answer that is a status with details."""

    def answer(_: bytes, context: grpc.ServicerContext) -> Iterator[Message]:
        packed = []
        for detail in details:
            one = any_pb2.Any()
            one.Pack(detail)
            packed.append(one)
        status = status_pb2.Status(code=code.value[0], message=message, details=packed)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, message)
        yield from ()

    return answer


def info(reason: str, domain: str = "tollgate.dev", **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)


def says(*events: v1.CompletionEvent) -> Callable[[bytes, grpc.ServicerContext], Iterator[Message]]:
    """A stream of these events."""
    return lambda *_: iter([v1.StreamCompletionResponse(event=event) for event in events])


def text(piece: str, part: int = 0, choice: int = 0) -> v1.CompletionEvent:
    return v1.CompletionEvent(delta=v1.Delta(choice=choice, part=part, text=piece))
