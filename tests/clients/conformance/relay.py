"""A gRPC proxy between a client and the gateway that shows what the client sends, and fails when it is told to.

It forwards bytes, so it knows no message: every method is served as one request with a stream of answers, which on the wire a single
answer is too.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import grpc

# Set by each side of a connection for itself.
OWN = ("user-agent", "content-type", "te", "grpc-accept-encoding", "accept-encoding", "grpc-timeout")


def time_left(context: grpc.ServicerContext) -> float | None:
    """Seconds until the caller's deadline; None where it set none, which gRPC tells as some centuries."""
    left = context.time_remaining()
    return None if left is None or left > 1e8 else left


def identity(message: bytes) -> bytes:
    return message


@dataclass(frozen=True)
class Relayed:
    """A call that came by."""

    method: str
    metadata: dict[str, str]
    request: bytes
    deadline_ms: float | None


@dataclass
class Relay(grpc.GenericRpcHandler):
    """Forwards to `target`; the first `unavailable` calls it refuses instead, and of an answer no more than `messages` come through."""

    target: str
    unavailable: int = 0
    messages: int | None = None
    seen: list[Relayed] = field(default_factory=list)
    open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self):
        self.channel = grpc.insecure_channel(self.target)
        self.server = grpc.server(ThreadPoolExecutor(max_workers=8), handlers=[self])
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.address = f"http://127.0.0.1:{port}"
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(grace=None).wait()
        self.channel.close()

    def service(self, details):
        metadata = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        method = details.method

        def handle(request: bytes, context: grpc.ServicerContext):
            with self.lock:
                left = time_left(context)
                self.seen.append(Relayed(method, metadata, request, left and left * 1000))
                refuses = len(self.seen) <= self.unavailable
                self.open += not refuses
            if refuses:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the relay was told to refuse")
            try:
                yield from self.forward(method, details.invocation_metadata, request, context)
            finally:
                with self.lock:
                    self.open -= 1

        return grpc.unary_stream_rpc_method_handler(handle, identity, identity)

    def forward(self, method, metadata, request, context):
        passed = [(key, value) for key, value in metadata if key not in OWN and not key.startswith("grpc-")]
        stub = self.channel.unary_stream(method, identity, identity)
        call = stub(request, metadata=passed, timeout=time_left(context))
        context.add_callback(call.cancel)
        try:
            yield from islice(call, self.messages)
            call.cancel()
        except grpc.RpcError as error:
            context.set_trailing_metadata(
                [(key, value) for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
            )
            context.set_code(error.code())
            context.set_details(error.details())
