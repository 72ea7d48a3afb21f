"""Errors: one class for each reason, with typed members."""

import pickle
from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from gateway import Gateway, info, refuses
from tollgate import Client, TollgateError, errors, v1


def raised(code, *details):
    with Gateway({"CreateCompletion": refuses(code, "no", *details)}) as gateway, Client(gateway.address, "tg-x") as client:
        with pytest.raises(TollgateError) as error:
            client.complete("gpt", "hello")
        return error.value


def test_every_reason_of_the_contract_has_its_class():
    reasons = {name.removeprefix("ERROR_REASON_") for name in v1.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118

    assert set(errors.BY_REASON) == reasons


def test_a_spent_budget_tells_scope_and_reset():
    details = info("BUDGET_EXHAUSTED", scope="team x", limitNanoUsd="5", spentNanoUsd="4", resetTime="2026-12-01T00:00:00Z")
    error = raised(grpc.StatusCode.RESOURCE_EXHAUSTED, details, error_details_pb2.RequestInfo(request_id="call-1"))

    assert type(error) is errors.BudgetExceeded
    assert (error.scope, error.limit_nano_usd, error.spent_nano_usd, error.held_nano_usd) == ("team x", 5, 4, None)
    assert error.resets_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert (error.request_id, error.reason, error.retry_after) == ("call-1", "BUDGET_EXHAUSTED", None)
    assert "BUDGET_EXHAUSTED" in str(error)
    assert "call-1" in str(error)


def test_a_rate_limit_tells_how_long_to_wait():
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
    error = raised(grpc.StatusCode.RESOURCE_EXHAUSTED, info("RATE_LIMITED", limit="4", dimension="requests per minute"), retry)

    assert isinstance(error, errors.RateLimited)
    assert (error.retry_after, error.limit) == (2.5, 4)


def test_every_bad_field_is_named():
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="request.model", description="is required")
    bad.field_violations.add(field="request.messages", description="is empty")
    error = raised(grpc.StatusCode.INVALID_ARGUMENT, info("INVALID_FIELD"), bad)

    assert isinstance(error, errors.InvalidRequest)
    assert error.field == "request.model"
    assert [one.field for one in error.violations] == ["request.model", "request.messages"]


def test_a_broken_call_tells_what_it_cost():
    partial = v1.PartialUsage(call_id="call-1", usage=v1.Usage(cost_nano_usd=7))
    error = raised(grpc.StatusCode.UNAVAILABLE, info("STREAM_TRUNCATED", provider="openai", upstreamStatus="200"), partial)

    assert isinstance(error, errors.StreamTruncated)
    assert isinstance(error, errors.ProviderError)
    assert (error.upstream_status, error.partial_usage) == (200, partial)


@pytest.mark.parametrize(
    "details",
    [[info("A_REASON_OF_TOMORROW")], [info("RATE_LIMITED", domain="elsewhere.dev")]],
    ids=["a reason that is not known yet", "a reason of another house"],
)
def test_what_is_not_known_is_the_base_class_or_that_of_the_code(details):
    error = raised(grpc.StatusCode.ABORTED, *details)

    assert type(error) is TollgateError
    assert error.code is grpc.StatusCode.ABORTED


def test_a_number_that_is_none_is_none():
    error = raised(grpc.StatusCode.RESOURCE_EXHAUSTED, info("BUDGET_EXHAUSTED", limitNanoUsd="many", resetTime="soon"))

    assert isinstance(error, errors.BudgetExceeded)
    assert (error.limit_nano_usd, error.resets_at) == (None, None)


def test_a_gateway_that_is_not_there_is_unavailable():
    with Client("http://127.0.0.1:1", "tg-x", timeout=20) as client, pytest.raises(errors.Unavailable):
        client.complete("gpt", "hello")


def test_an_error_goes_through_pickle():
    error = raised(grpc.StatusCode.NOT_FOUND, info("MODEL_NOT_FOUND", model="gpt"))
    back = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert (type(back), back.model, str(back)) == (errors.ModelNotFound, "gpt", str(error))
