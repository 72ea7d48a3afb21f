"""Where a client calls, with which key, and how the channel is set up."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc

from tollgate import _rpcs
from tollgate._version import VERSION
from tollgate.messages import CallOptions

try:
    from opentelemetry import propagate
except ImportError:  # it is optional
    propagate = None  # type: ignore[assignment]

DEFAULT_ADDRESS = "http://127.0.0.1:4000"
DEFAULT_TIMEOUT = 600.0
# More than the gateway takes by default, three times a body of 16 MiB.
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """What a client was made with. The key is not shown."""

    target: str
    secure: bool
    key: str | None
    timeout: float | None
    root_certificates: bytes | None = None
    certificate: bytes | None = None
    private_key: bytes | None = None

    def __repr__(self) -> str:
        return f"Settings(target={self.target!r}, secure={self.secure}, key={'set' if self.key else 'not set'})"

    @classmethod
    def read(
        cls,
        address: str | None,
        key: str | None,
        timeout: float | None,
        root_certificates: bytes | None,
        certificate: bytes | None,
        private_key: bytes | None,
    ) -> Settings:
        """The settings, with what the environment says for what is not given."""
        address = address or os.environ.get("TOLLGATE_ADDRESS") or DEFAULT_ADDRESS
        key = key or os.environ.get("TOLLGATE_API_KEY") or None
        target, secure = parsed(address)
        if not secure and (root_certificates or certificate or private_key):
            raise ValueError(f"certificates are for https:// addresses, not for {address}")
        if (certificate is None) != (private_key is None):
            raise ValueError("`certificate` and `private_key` go together")
        return cls(target, secure, key, timeout, root_certificates, certificate, private_key)

    def credentials(self) -> grpc.ChannelCredentials:
        """TLS, with the system's roots unless others are given."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate)

    def channel(self) -> grpc.Channel:
        """A channel that blocks."""
        if self.secure:
            return grpc.secure_channel(self.target, self.credentials(), self.channel_options())
        return grpc.insecure_channel(self.target, self.channel_options())

    def channel_options(self) -> list[tuple[str, str | int]]:
        """Retries, keepalive while calls are open, sizes, and who is calling."""
        return [
            ("grpc.service_config", _rpcs.service_config()),
            ("grpc.enable_retries", 1),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.max_receive_message_length", _MAX_BYTES),
            ("grpc.max_send_message_length", _MAX_BYTES),
            ("grpc.primary_user_agent", f"tollgate-python/{VERSION}"),
        ]

    def metadata(self, options: CallOptions) -> tuple[tuple[str, str | bytes], ...]:
        """What goes along with a call."""
        sent: list[tuple[str, str | bytes]] = list(options.get("metadata", ()))
        if self.key:
            sent.append(("authorization", f"Bearer {self.key}"))
        if "traceparent" in options:
            sent.append(("traceparent", options["traceparent"]))
        elif propagate is not None:
            carried: dict[str, str] = {}
            propagate.inject(carried)
            sent += [(name.lower(), value) for name, value in carried.items()]
        return tuple(sent)

    def deadline(self, options: CallOptions) -> float | None:
        """Seconds until the call ends."""
        return options.get("timeout", self.timeout)


def parsed(address: str) -> tuple[str, bool]:
    """Host and port of an address, and whether it is TLS. Raises ValueError for what is no address."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{address!r} is no address: write https://host:port, or http://host:port without TLS")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{host}:{port}", parts.scheme == "https"
