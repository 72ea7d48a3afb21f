"""The official Python gRPC stack with stubs generated afresh from the contract."""

import asyncio
import threading
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from tollgate.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    budget_pb2,
    budget_pb2_grpc,
    completion_pb2,
    completion_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    key_admin_pb2,
    key_admin_pb2_grpc,
    message_pb2,
    model_pb2,
    model_pb2_grpc,
)

from conftest import until


def hello(model="gpt"):
    part = message_pb2.Part(text=message_pb2.TextPart(text="Say hello"))
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[part])
    return completion_pb2.CompletionRequest(model=model, messages=[message])


@pytest.fixture
def channel(world):
    with grpc.insecure_channel(world.target) as channel:
        yield channel


def stream(channel, world, model="gpt", key=None, **options):
    stub = completion_pb2_grpc.CompletionServiceStub(channel)
    request = completion_pb2.StreamCompletionRequest(request=hello(model))
    return stub.StreamCompletion(request, metadata=world.bearer(key), **options)


def reason_of(error: grpc.RpcError) -> str:
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "tollgate.dev"
            return info.reason
    raise AssertionError("no ErrorInfo")


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_completion_is_streamed(channel, world, model):
    events = [response.event for response in stream(channel, world, model)]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started" and kinds[-1] == "usage" and "finished" in kinds
    assert "".join(e.delta.text for e in events if e.WhichOneof("event") == "delta")
    assert [e.seq for e in events] == list(range(len(events)))


def test_the_collected_completion_is_the_same_call(channel, world):
    stub = completion_pb2_grpc.CompletionServiceStub(channel)
    request = completion_pb2.CreateCompletionRequest(request=hello())
    completion = stub.CreateCompletion(request, metadata=world.bearer()).completion
    assert completion.choices[0].message.parts[0].text.text
    assert completion.usage.cost_nano_usd > 0


def test_a_key_is_made_used_and_its_spend_is_read(channel, world):
    keys = key_admin_pb2_grpc.KeyAdminServiceStub(channel)
    wanted = key_admin_pb2.Key(display_name="made in a test", models=["gpt"])
    request = key_admin_pb2.CreateKeyRequest(key=wanted, budget_nano_usd=10_000_000)
    made = keys.CreateKey(request, metadata=world.bearer(world.admin))
    list(stream(channel, world, key=made.secret))
    budgets = budget_pb2_grpc.BudgetServiceStub(channel)
    spend = budgets.GetSpend(budget_pb2.GetSpendRequest(), metadata=world.bearer(made.secret))
    assert spend.total.entries == 1 and spend.total.cost_nano_usd > 0
    entries = budgets.ListLedgerEntries(
        budget_pb2.ListLedgerEntriesRequest(key_id=made.key.id), metadata=world.bearer(world.admin)
    ).entries
    assert [e.cost_nano_usd for e in entries] == [spend.total.cost_nano_usd]
    budget = budgets.GetBudget(budget_pb2.GetBudgetRequest(), metadata=world.bearer(made.secret)).budget
    assert (budget.spent_nano_usd, budget.held_nano_usd) == (spend.total.cost_nano_usd, 0)


def test_the_audit_log_is_tailed_while_calls_are_made(channel, world):
    audit = audit_pb2_grpc.AuditServiceStub(channel)
    wanted = audit_pb2.AuditFilter(action_prefix="completion.")
    tail = audit.TailRecords(audit_pb2.TailRecordsRequest(filter=wanted), metadata=world.bearer(world.admin))
    tail.initial_metadata()  # the server listens now
    caller = threading.Thread(target=lambda: list(stream(channel, world)))
    caller.start()
    record = next(tail).record
    caller.join()
    tail.cancel()
    assert record.action == "completion.stream" and record.model == "gpt" and record.usage.cost_nano_usd > 0


def test_models_and_embeddings_are_there(channel, world):
    models = model_pb2_grpc.ModelServiceStub(channel).ListModels(model_pb2.ListModelsRequest(), metadata=world.bearer())
    assert {m.name for m in models.models} == {"gpt", "claude", "embed", "slow"}
    request = embedding_pb2.CreateEmbeddingRequest(model="embed", inputs=[embedding_pb2.EmbeddingInput(text="a")])
    answer = embedding_pb2_grpc.EmbeddingServiceStub(channel).CreateEmbedding(request, metadata=world.bearer())
    assert len(answer.embeddings[0].values) > 0


def test_errors_carry_their_reason(channel, world):
    for key, model, code, reason in [
        ("tg-wrong", "gpt", grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID"),
        (None, "gpt-9", grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        (world.admin, "gpt", grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED"),
        (world.poor, "gpt", grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED"),
    ]:
        with pytest.raises(grpc.RpcError) as refused:
            list(stream(channel, world, model, key))
        assert refused.value.code() == code and reason_of(refused.value) == reason


def test_a_deadline_ends_the_stream(channel, world):
    world.provider.script("slow-upstream", {"chunks": 4, "stall_after_chunks": 2})
    call, events = stream(channel, world, "slow", timeout=0.5), 0
    with pytest.raises(grpc.RpcError) as late:
        for _ in call:
            events += 1
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED and events > 0


def test_cancelling_ends_the_upstream_call_within_a_second(world):
    world.provider.script("slow-upstream", {"chunks": 500, "chunk_delay_ms": 20})
    before = len(world.provider.log())

    async def run():
        async with grpc.aio.insecure_channel(world.target) as channel:
            stub = completion_pb2_grpc.CompletionServiceStub(channel)
            request = completion_pb2.StreamCompletionRequest(request=hello("slow"))
            call = stub.StreamCompletion(request, metadata=world.bearer())
            await call.read()
            call.cancel()
            return time.monotonic()

    cancelled = asyncio.run(run())
    ended = until("the attempt has ended", lambda: [r for r in world.provider.log()[before:] if r["outcome"] == "cut_by_client"])
    assert ended and time.monotonic() - cancelled < 1.0


def test_reflection_lists_the_services_and_health_serves(channel):
    services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert "tollgate.v1.CompletionService" in services and "grpc.health.v1.Health" in services
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=""))
    assert health.status == health_pb2.HealthCheckResponse.SERVING
