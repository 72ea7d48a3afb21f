"""What can go wrong, one class for each thing that a program can act on.

Every error of a call is a `TollgateError`. Its class follows from the reason in the status (`google.rpc.ErrorInfo` with the domain
`tollgate.dev`; the list is `ErrorReason` of the contract); a reason that this version does not know yet is a `TollgateError` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from tollgate.v1 import PartialUsage, Receipt

DOMAIN = "tollgate.dev"
"""The domain of the gateway's reasons."""


@dataclass(frozen=True)
class Violation:
    """A field of a request that cannot be."""

    field: str
    """Path of the field, `request.max_output_tokens`."""
    description: str
    """What is wrong with it."""


@dataclass(frozen=True)
class _Details:
    """What a status carries beside its code."""

    code: grpc.StatusCode
    message: str
    reason: str | None = None
    metadata: Mapping[str, str] | None = None
    request_id: str | None = None
    retry_after: float | None = None
    violations: tuple[Violation, ...] = ()
    partial_usage: PartialUsage | None = None
    receipt: Receipt | None = None


class TollgateError(Exception):
    """A call that failed."""

    fields: ClassVar[tuple[str, ...]] = ()
    """Names of the typed members that the class has besides those of every error."""

    code: grpc.StatusCode
    """The gRPC code: what a caller should do."""
    reason: str | None
    """The reason by its name in `ErrorReason`, without prefix; None when the gateway was not reached."""
    message: str
    """What happened and what to do, for people; may change."""
    metadata: Mapping[str, str]
    """What belongs to the reason, as the contract lists it."""
    request_id: str | None
    """The call on record: in ledger and audit log, for support."""
    retry_after: float | None
    """Seconds after which waiting can help; None where it cannot, or nobody knows."""
    partial_usage: PartialUsage | None
    """What the call cost although it failed; None where it cost nothing."""
    receipt: Receipt | None
    """The promise that the audit log holds the failure; None where it was not asked for."""

    def __init__(self, details: _Details) -> None:
        super().__init__(details.message)
        self.code = details.code
        self.reason = details.reason
        self.message = details.message
        self.metadata = dict(details.metadata or {})
        self.request_id = details.request_id
        self.retry_after = details.retry_after
        self.partial_usage = details.partial_usage
        self.receipt = details.receipt
        self._read(details)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self)._restored, (self.__dict__, self.args))

    @classmethod
    def _restored(cls, members: dict[str, Any], arguments: tuple[Any, ...]) -> TollgateError:
        error = cls.__new__(cls, *arguments)
        Exception.__init__(error, *arguments)
        error.__dict__.update(members)
        return error

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.reason, self.request_id and f"request {self.request_id}") if part)
        return f"{self.message} ({about})" if about else self.message

    def _read(self, details: _Details) -> None:
        """Reads the members of the class."""

    def _text(self, name: str) -> str | None:
        return self.metadata.get(name) or None

    def _number(self, name: str) -> int | None:
        text = self.metadata.get(name, "")
        return int(text) if text.removeprefix("-").isdecimal() else None


class Unauthenticated(TollgateError):
    """The key is missing, malformed, unknown, expired or revoked; `reason` tells which."""


class PermissionDenied(TollgateError):
    """The key is blocked, or its role does not include this."""


class _AboutModel(TollgateError):
    fields: ClassVar[tuple[str, ...]] = ("model",)
    model: str | None
    """The model that was asked for."""

    def _read(self, details: _Details) -> None:
        self.model = self._text("model")


class ModelNotAllowed(_AboutModel):
    """The key may not use this model."""


class ModelNotFound(_AboutModel):
    """No model of this name is configured."""


class NoRoute(_AboutModel):
    """No deployment may serve the call, by its tags, its region or the operation."""


class PriceUnknown(_AboutModel):
    """A hard budget applies and the deployment has no price."""

    fields = ("model", "deployment")
    deployment: str | None
    """The deployment without price."""

    def _read(self, details: _Details) -> None:
        super()._read(details)
        self.deployment = self._text("deployment")


class _AboutResource(TollgateError):
    fields = ("resource", "id")
    resource: str | None
    """What it is: `key`, `team`, `budget`, ..."""
    id: str | None
    """Which."""

    def _read(self, details: _Details) -> None:
        self.resource, self.id = self._text("resource"), self._text("id")


class ResourceNotFound(_AboutResource):
    """It does not exist, or not for this key."""


class AlreadyExists(_AboutResource):
    """One of this identity exists already."""


class ResourceInUse(_AboutResource):
    """It still has teams, users or keys that work."""


class InvalidRequest(TollgateError):
    """A field is missing, malformed or out of range."""

    fields = ("field", "violations")
    field: str | None
    """Path of the first bad field."""
    violations: tuple[Violation, ...]
    """All of them."""

    def _read(self, details: _Details) -> None:
        self.violations = details.violations
        self.field = details.violations[0].field if details.violations else None


class UnsupportedField(TollgateError):
    """The deployment that would serve the call cannot do what a field asks for."""

    fields = ("field", "provider")
    field: str | None
    """The field."""
    provider: str | None
    """Who cannot."""

    def _read(self, details: _Details) -> None:
        self.field, self.provider = self._text("field"), self._text("provider")


class ContextWindowExceeded(TollgateError):
    """The prompt does not fit the model's context window."""


class RequestTooLarge(TollgateError):
    """The message is larger than the gateway takes."""

    fields = ("limit_bytes",)
    limit_bytes: int | None
    """The limit."""

    def _read(self, details: _Details) -> None:
        self.limit_bytes = self._number("limitBytes")


class ContentBlocked(TollgateError):
    """A provider's content policy or a guardrail refused."""


class EtagMismatch(TollgateError):
    """The resource changed since it was read: read it again, then repeat."""


class BudgetExceeded(TollgateError):
    """A budget is spent: terminal until it is raised or resets."""

    fields = (
        "scope",
        "budget_id",
        "limit_nano_usd",
        "spent_nano_usd",
        "held_nano_usd",
        "needed_nano_usd",
        "resets_at",
    )
    scope: str | None
    """What the budget is on."""
    budget_id: str | None
    """The budget."""
    limit_nano_usd: int | None
    """Its limit, in nano-dollars."""
    spent_nano_usd: int | None
    """What is spent of it."""
    held_nano_usd: int | None
    """What calls in flight hold."""
    needed_nano_usd: int | None
    """The worst case of this call."""
    resets_at: datetime | None
    """When its window ends; None: never."""

    def _read(self, details: _Details) -> None:
        self.scope, self.budget_id = self._text("scope"), self._text("budgetId")
        self.limit_nano_usd, self.spent_nano_usd = self._number("limitNanoUsd"), self._number("spentNanoUsd")
        self.held_nano_usd, self.needed_nano_usd = self._number("heldNanoUsd"), self._number("neededNanoUsd")
        self.resets_at = _time(self.metadata.get("resetTime", ""))


class BudgetHeld(BudgetExceeded):
    """A budget has room, but calls in flight hold it: `retry_after` tells when to try again."""


class CallCostCeiling(TollgateError):
    """The call's own `max_cost_nano_usd` is below its worst case."""

    fields = ("max_cost_nano_usd", "needed_nano_usd")
    max_cost_nano_usd: int | None
    """The ceiling."""
    needed_nano_usd: int | None
    """The worst case."""

    def _read(self, details: _Details) -> None:
        self.max_cost_nano_usd, self.needed_nano_usd = self._number("maxCostNanoUsd"), self._number("neededNanoUsd")


class RateLimited(TollgateError):
    """A limit of the caller's own is reached; `retry_after` tells when there is room again."""

    fields = ("scope", "limit", "dimension")
    scope: str | None
    """Whose limit."""
    limit: int | None
    """The limit."""
    dimension: str | None
    """What it counts."""

    def _read(self, details: _Details) -> None:
        self.scope, self.limit, self.dimension = self._text("scope"), self._number("limit"), self._text("dimension")


class _AboutCall(TollgateError):
    fields = ("call_id",)
    call_id: str | None
    """The call that used the key before."""

    def _read(self, details: _Details) -> None:
        self.call_id = self._text("callId")


class IdempotencyMismatch(_AboutCall):
    """The idempotency key was used before with another request."""


class IdempotencyReplayUnavailable(_AboutCall):
    """The same request was completed and billed, but its answer is no longer kept."""


class ProviderError(TollgateError):
    """Something between the gateway and a provider; the caller's key and request are fine, unless the class says otherwise."""

    fields = ("provider", "deployment", "upstream_status")
    provider: str | None
    """The provider."""
    deployment: str | None
    """The deployment."""
    upstream_status: int | None
    """The HTTP status that the provider answered."""

    def _read(self, details: _Details) -> None:
        self.provider, self.deployment = self._text("provider"), self._text("deployment")
        self.upstream_status = self._number("upstreamStatus")


class ProviderRateLimited(ProviderError):
    """The provider's rate limit refused, and so did every fallback."""


class ProviderQuotaExceeded(ProviderError):
    """The operator's account at the provider is out of money or quota."""


class ProviderOverloaded(ProviderError):
    """The provider is overloaded."""


class ProviderFailed(ProviderError):
    """The provider failed with a server error or could not be reached."""


class ProviderTimeout(ProviderError):
    """The provider did not answer in time."""


class ProviderCredential(ProviderError):
    """The provider refused the operator's credential."""


class ProviderModelUnavailable(ProviderError):
    """The provider does not know the configured model or refuses it to the operator."""


class ProviderProtocol(ProviderError):
    """The provider's bytes broke its own protocol."""


class ProviderRefusedRequest(ProviderError):
    """The provider found the request invalid."""


class StreamTruncated(ProviderError):
    """The stream ended before its end; `partial_usage` tells what it cost."""


class DeadlineExceeded(TollgateError):
    """The deadline passed."""


class Overloaded(TollgateError):
    """The gateway is shutting down or shedding load; nothing was charged."""


class LedgerUnavailable(TollgateError):
    """The ledger cannot be written, so no new call may start; nothing was charged."""


class StoreUnavailable(TollgateError):
    """The store of record cannot be reached, so nothing can be changed now."""


class Internal(TollgateError):
    """A defect of the gateway; please report it with `request_id`."""


class Cancelled(TollgateError):
    """The call was cancelled."""


class RouteNotFound(TollgateError):
    """The server does not have this RPC: it is older than this client."""


class Unavailable(TollgateError):
    """The gateway could not be reached."""


BY_REASON: Mapping[str, type[TollgateError]] = {
    "API_KEY_MISSING": Unauthenticated,
    "API_KEY_INVALID": Unauthenticated,
    "API_KEY_EXPIRED": Unauthenticated,
    "API_KEY_REVOKED": Unauthenticated,
    "API_KEY_BLOCKED": PermissionDenied,
    "ROLE_NOT_ALLOWED": PermissionDenied,
    "RIGHTS_EXCEEDED": PermissionDenied,
    "MODEL_NOT_ALLOWED": ModelNotAllowed,
    "MODEL_NOT_FOUND": ModelNotFound,
    "RESOURCE_NOT_FOUND": ResourceNotFound,
    "INVALID_FIELD": InvalidRequest,
    "UNSUPPORTED_FIELD": UnsupportedField,
    "CONTEXT_WINDOW_EXCEEDED": ContextWindowExceeded,
    "REQUEST_TOO_LARGE": RequestTooLarge,
    "CONTENT_BLOCKED": ContentBlocked,
    "ETAG_MISMATCH": EtagMismatch,
    "ALREADY_EXISTS": AlreadyExists,
    "BUDGET_EXHAUSTED": BudgetExceeded,
    "BUDGET_HELD": BudgetHeld,
    "CALL_COST_CEILING": CallCostCeiling,
    "PRICE_UNKNOWN": PriceUnknown,
    "IDEMPOTENCY_MISMATCH": IdempotencyMismatch,
    "IDEMPOTENCY_REPLAY_UNAVAILABLE": IdempotencyReplayUnavailable,
    "PROVIDER_RATE_LIMITED": ProviderRateLimited,
    "PROVIDER_QUOTA_EXCEEDED": ProviderQuotaExceeded,
    "PROVIDER_OVERLOADED": ProviderOverloaded,
    "PROVIDER_FAILED": ProviderFailed,
    "PROVIDER_TIMEOUT": ProviderTimeout,
    "PROVIDER_CREDENTIAL": ProviderCredential,
    "PROVIDER_MODEL_UNAVAILABLE": ProviderModelUnavailable,
    "PROVIDER_PROTOCOL": ProviderProtocol,
    "PROVIDER_REFUSED_REQUEST": ProviderRefusedRequest,
    "STREAM_TRUNCATED": StreamTruncated,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "OVERLOADED": Overloaded,
    "LEDGER_UNAVAILABLE": LedgerUnavailable,
    "STORE_UNAVAILABLE": StoreUnavailable,
    "INTERNAL": Internal,
    "CANCELLED": Cancelled,
    "ROUTE_NOT_FOUND": RouteNotFound,
    "RATE_LIMITED": RateLimited,
    "RESOURCE_IN_USE": ResourceInUse,
    "NO_ROUTE": NoRoute,
}
"""The class of each reason of the contract."""

_BY_CODE: Mapping[grpc.StatusCode, type[TollgateError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RequestTooLarge,
    grpc.StatusCode.UNIMPLEMENTED: RouteNotFound,
    grpc.StatusCode.INTERNAL: Internal,
}


def of_rpc(error: grpc.RpcError) -> TollgateError:
    """The typed error of a failed RPC."""
    # Every error of a call is a `grpc.Call` as well; gRPC's types do not say so.
    call: Any = error
    return of_status(call.code(), call.details() or "", call.trailing_metadata() or ())


def of_status(code: grpc.StatusCode, message: str, trailing_metadata: Iterable[tuple[str, str | bytes]]) -> TollgateError:
    """The typed error of a status."""
    packed = next((value for name, value in trailing_metadata if name == "grpc-status-details-bin"), None)
    details = _unpacked(code, message, packed if isinstance(packed, bytes) else b"")
    by_code = _BY_CODE.get(code, TollgateError)
    chosen = by_code if details.reason is None else BY_REASON.get(details.reason, TollgateError)
    return chosen(details)


def unfinished() -> TollgateError:
    """What a stream is that ended well, and not at its end."""
    return Internal(_Details(grpc.StatusCode.INTERNAL, "the stream ended before it was finished"))


def late(message: str) -> TollgateError:
    """What takes longer than the program waits."""
    return DeadlineExceeded(_Details(grpc.StatusCode.DEADLINE_EXCEEDED, message))


def _unpacked(code: grpc.StatusCode, message: str, packed: bytes) -> _Details:
    try:
        status = status_pb2.Status.FromString(packed)
    except DecodeError:
        return _Details(code, message)
    found: dict[str, Any] = {}
    for detail in status.details:
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
        retry, bad = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
        usage, receipt = PartialUsage(), Receipt()
        if detail.Unpack(info) and info.domain == DOMAIN:
            found["reason"], found["metadata"] = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            found["request_id"] = request.request_id
        elif detail.Unpack(retry):
            found["retry_after"] = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(bad):
            found["violations"] = tuple(Violation(one.field, one.description) for one in bad.field_violations)
        elif detail.Unpack(usage):
            found["partial_usage"] = usage
        elif detail.Unpack(receipt):
            found["receipt"] = receipt
    return _Details(code, message, **found)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
