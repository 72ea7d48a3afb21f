"""The official gRPC stack for Python: keys, budgets, spend, ledger and audit log."""

import grpc
import openai
import pytest
from google.protobuf import field_mask_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tollgate.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    budget_pb2,
    budget_pb2_grpc,
    completion_pb2,
    completion_pb2_grpc,
    error_pb2,
    key_admin_pb2,
    key_admin_pb2_grpc,
    message_pb2,
)

from processes import bearer

# 0.60 dollars per million tokens.
NANO_USD_PER_OUTPUT_TOKEN = 600
NANO_USD_PER_INPUT_TOKEN = 150


@pytest.fixture
def keys(channel):
    return key_admin_pb2_grpc.KeyAdminServiceStub(channel)


@pytest.fixture
def budgets(channel):
    return budget_pb2_grpc.BudgetServiceStub(channel)


@pytest.fixture
def audit(channel):
    return audit_pb2_grpc.AuditServiceStub(channel)


@pytest.fixture
def complete(channel):
    """Makes one call with a secret and returns its answer."""
    service = completion_pb2_grpc.CompletionServiceStub(channel)

    def call(secret, text, **rest):
        part = message_pb2.Part(text=message_pb2.TextPart(text=text))
        message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[part])
        request = completion_pb2.CompletionRequest(model="gpt", messages=[message], **rest)
        request = completion_pb2.CreateCompletionRequest(request=request)
        return service.CreateCompletion(request, metadata=bearer(secret), timeout=20).completion

    return call


def reason(error):
    for packed in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            return info.reason
    return None


def refused(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, timeout=20, **options)
    return error.value.code(), reason(error.value)


def test_a_new_key_is_used_and_its_spend_is_read(new_key, complete, budgets, provider, admin, word):
    made = new_key(budget_nano_usd=1_000_000_000)
    assert made.secret.startswith("tg-") and made.key.prefix == made.secret[:8]

    for _ in range(3):
        complete(made.secret, word)

    counted = provider.calls(word)
    owed = sum(
        call["prompt_tokens"] * NANO_USD_PER_INPUT_TOKEN + call["completion_tokens"] * NANO_USD_PER_OUTPUT_TOKEN
        for call in counted
    )
    spend = budgets.GetSpend(budget_pb2.GetSpendRequest(key_id=made.key.id), metadata=admin, timeout=20)
    assert (spend.total.entries, spend.total.cost_nano_usd, spend.total.estimated_nano_usd) == (3, owed, 0)
    assert spend.total.output_tokens == sum(call["completion_tokens"] for call in counted)

    # The key reads its own spend and budget without naming itself.
    own = budgets.GetSpend(budget_pb2.GetSpendRequest(), metadata=bearer(made.secret), timeout=20)
    assert own.total.cost_nano_usd == owed
    budget = budgets.GetBudget(budget_pb2.GetBudgetRequest(), metadata=bearer(made.secret), timeout=20).budget
    assert (budget.id, budget.spent_nano_usd, budget.held_nano_usd) == (made.budget_id, owed, 0)


def test_spend_is_grouped(new_key, gateway, complete, budgets, admin, word):
    made = new_key()
    complete(made.secret, word)
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=made.secret)
    client.chat.completions.create(model="claude", messages=[{"role": "user", "content": word}])

    def rows(group):
        request = budget_pb2.GetSpendRequest(key_id=made.key.id, group_by=group)
        return [row.group for row in budgets.GetSpend(request, metadata=admin, timeout=20).rows]

    assert rows(budget_pb2.SPEND_GROUP_MODEL) == ["claude", "gpt"], "dearest first"
    assert rows(budget_pb2.SPEND_GROUP_PROVIDER) == ["claude", "scripted"]
    assert rows(budget_pb2.SPEND_GROUP_KEY) == [made.key.id]
    assert len(rows(budget_pb2.SPEND_GROUP_DAY)) in (1, 2)


def test_ledger_entries_are_listed_page_by_page(new_key, complete, budgets, admin, word):
    made = new_key()
    calls = [complete(made.secret, word).started.call_id for _ in range(5)]

    entries, token = [], ""
    while True:
        request = budget_pb2.ListLedgerEntriesRequest(key_id=made.key.id, page_size=2, page_token=token)
        page = budgets.ListLedgerEntries(request, metadata=admin, timeout=20)
        assert len(page.entries) <= 2
        entries += page.entries
        token = page.next_page_token
        if not token:
            break

    assert [entry.call_id for entry in entries] == calls
    assert {entry.kind for entry in entries} == {budget_pb2.LEDGER_ENTRY_KIND_EXACT}
    assert {(entry.model, entry.provider, entry.outcome) for entry in entries} == {("gpt", "scripted", "complete")}
    one = budget_pb2.ListLedgerEntriesRequest(call_id=calls[2])
    assert [entry.call_id for entry in budgets.ListLedgerEntries(one, metadata=admin, timeout=20).entries] == [calls[2]]


def test_an_exhausted_budget_refuses_until_it_is_raised(new_key, complete, budgets, admin, word):
    made = new_key(budget_nano_usd=1)
    with pytest.raises(grpc.RpcError) as error:
        complete(made.secret, word)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(error.value) == "BUDGET_EXHAUSTED"

    raised = budget_pb2.Budget(id=made.budget_id, limit_nano_usd=1_000_000_000)
    budgets.UpdateBudget(budget_pb2.UpdateBudgetRequest(budget=raised), metadata=admin, timeout=20)
    assert complete(made.secret, word).choices


def test_a_budget_comes_later_and_goes_again(new_key, complete, budgets, admin, word):
    made = new_key()
    scope = budget_pb2.BudgetScope(kind=budget_pb2.SCOPE_KIND_KEY, id=made.key.id)
    wanted = budget_pb2.Budget(scope=scope, limit_nano_usd=1)
    request = budget_pb2.CreateBudgetRequest(budget=wanted, request_id=made.key.id)
    budget = budgets.CreateBudget(request, metadata=admin, timeout=20).budget
    with pytest.raises(grpc.RpcError):
        complete(made.secret, word)
    assert budgets.CreateBudget(request, metadata=admin, timeout=20).budget.id == budget.id, "repeated, not doubled"

    budgets.DeleteBudget(budget_pb2.DeleteBudgetRequest(id=budget.id), metadata=admin, timeout=20)
    assert complete(made.secret, word).choices


def test_the_audit_log_is_tailed_while_a_call_is_made(new_key, complete, audit, admin, word):
    made = new_key()
    filtered = audit_pb2.AuditFilter(key_id=made.key.id, action_prefix="completion.")
    tail = audit.TailRecords(audit_pb2.TailRecordsRequest(filter=filtered), metadata=admin, timeout=20)
    tail.initial_metadata()

    options = completion_pb2.GatewayOptions(tags=["nightly"], metadata={"ticket": "42"})
    answer = complete(made.secret, word, tollgate=options)
    record = next(tail).record
    tail.cancel()

    assert (record.action, record.call_id, record.model) == ("completion.create", answer.started.call_id, "gpt")
    assert record.error_reason == error_pb2.ERROR_REASON_UNSPECIFIED
    assert record.usage.cost_nano_usd == answer.usage.cost_nano_usd
    assert list(record.tags) == ["nightly"] and dict(record.metadata) == {"ticket": "42"}
    assert [attempt.upstream_status for attempt in record.routing.attempts] == [200]
    assert word.encode() not in record.SerializeToString(), "prompts are not in the log"


def test_the_audit_log_tells_the_life_of_a_key(keys, new_key, complete, audit, admin, word):
    made = new_key()
    complete(made.secret, word)
    keys.RevokeKey(key_admin_pb2.RevokeKeyRequest(id=made.key.id), metadata=admin, timeout=20)

    records = [
        response.record
        for response in audit.QueryRecords(audit_pb2.QueryRecordsRequest(), metadata=admin, timeout=20)
        if made.key.id in (response.record.key_id, response.record.subject)
    ]
    assert [record.action for record in records] == ["key.create", "completion.create", "key.revoke"]
    assert all(made.secret.encode() not in record.SerializeToString() for record in records)


def test_a_call_with_a_revoked_key_is_on_record_under_that_key(keys, new_key, complete, audit, admin, word):
    made = new_key()
    keys.RevokeKey(key_admin_pb2.RevokeKeyRequest(id=made.key.id), metadata=admin, timeout=20)
    with pytest.raises(grpc.RpcError):
        complete(made.secret, word)

    query = audit_pb2.QueryRecordsRequest(filter=audit_pb2.AuditFilter(key_id=made.key.id))
    [record] = [response.record for response in audit.QueryRecords(query, metadata=admin, timeout=20)]
    assert record.error_reason == error_pb2.ERROR_REASON_API_KEY_REVOKED


def test_a_key_is_blocked_unblocked_rotated_and_revoked(keys, new_key, complete, admin, word):
    made = new_key()
    identity = {"id": made.key.id}

    def outcome(secret):
        try:
            complete(secret, word)
        except grpc.RpcError as error:
            return reason(error)
        return "answered"

    keys.BlockKey(key_admin_pb2.BlockKeyRequest(**identity), metadata=admin, timeout=20)
    assert outcome(made.secret) == "API_KEY_BLOCKED"
    keys.UnblockKey(key_admin_pb2.UnblockKeyRequest(**identity), metadata=admin, timeout=20)
    assert outcome(made.secret) == "answered"
    rotated = keys.RotateKey(key_admin_pb2.RotateKeyRequest(**identity), metadata=admin, timeout=20)
    assert (outcome(made.secret), outcome(rotated.secret)) == ("API_KEY_INVALID", "answered")
    keys.RevokeKey(key_admin_pb2.RevokeKeyRequest(**identity), metadata=admin, timeout=20)
    assert outcome(rotated.secret) == "API_KEY_REVOKED"


def test_a_key_is_changed_by_mask_and_guarded_by_its_etag(keys, new_key, admin):
    made = new_key("gpt")

    def update(etag, **fields):
        key = key_admin_pb2.Key(id=made.key.id, etag=etag, **fields)
        mask = field_mask_pb2.FieldMask(paths=list(fields))
        return key_admin_pb2.UpdateKeyRequest(key=key, update_mask=mask)

    changed = keys.UpdateKey(update(made.key.etag, display_name="renamed"), metadata=admin, timeout=20).key
    assert (changed.display_name, list(changed.models)) == ("renamed", ["gpt"])
    stale = update(made.key.etag, display_name="renamed again")
    assert refused(keys.UpdateKey, stale, metadata=admin) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


def test_a_repeated_request_makes_one_key(new_key, word):
    first, second = new_key(request_id=word), new_key(request_id=word)

    assert first.key.id == second.key.id
    assert first.secret and not second.secret


def test_keys_are_listed_without_their_secrets(keys, new_key, admin):
    made = {new_key().key.id for _ in range(3)}
    found, token = [], ""
    while True:
        request = key_admin_pb2.ListKeysRequest(page_size=2, page_token=token)
        page = keys.ListKeys(request, metadata=admin, timeout=20)
        found += [key.id for key in page.keys]
        token = page.next_page_token
        if not token:
            break

    assert made <= set(found) and len(found) == len(set(found))


def test_only_admins_administrate_and_admins_do_not_complete(keys, budgets, audit, complete, gateway, caller):
    not_allowed = (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")
    assert refused(keys.CreateKey, key_admin_pb2.CreateKeyRequest(key=key_admin_pb2.Key()), metadata=caller) == not_allowed
    seen = keys.ListKeys(key_admin_pb2.ListKeysRequest(), metadata=caller, timeout=20).keys
    assert [key.role for key in seen] == [key_admin_pb2.KEY_ROLE_CALLER], "a caller sees itself"
    stream = audit.QueryRecords(audit_pb2.QueryRecordsRequest(), metadata=caller, timeout=20)
    with pytest.raises(grpc.RpcError) as error:
        list(stream)
    assert (error.value.code(), reason(error.value)) == not_allowed
    with pytest.raises(grpc.RpcError) as error:
        complete(gateway.admin_key, "hello")
    assert (error.value.code(), reason(error.value)) == not_allowed
