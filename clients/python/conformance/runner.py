"""Plays the cases of tests/cases with this client; tests/cases/README.md tells how runner and harness talk.

Every other case goes through `AsyncClient`, so that both manners are held to the same cases; `--sync` and `--async` choose one for all.
"""

import asyncio
import io
import json
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from tollgate import (
    Answer,
    AsyncClient,
    AsyncSpeech,
    AsyncStream,
    Client,
    EditedImages,
    Speech,
    Stream,
    TollgateError,
    Transcription,
    Upload,
    v1,
)
from tollgate.messages import CallOptions

Doc = dict[str, Any]


def parsed(request: Doc, message: Any) -> Any:
    return json_format.ParseDict(request, message)


def shown(message: Message) -> Doc:
    found: Doc = json.loads(json_format.MessageToJson(message, indent=None))
    return found


def present(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def moment(message: Any, name: str) -> datetime | None:
    found = present(message, name)
    return found.ToDatetime(tzinfo=UTC) if found else None


# What each `do` calls, with a client of either manner. What comes back is a message, an iterator, or something to await.


def create_key(c: Any, r: Any, o: CallOptions) -> Any:
    money = present(r, "budget_nano_usd")
    return c.keys.create(r.key, budget_nano_usd=money, budgets=r.budgets, request_id=r.request_id, **o)


def list_keys(c: Any, r: Any, o: CallOptions) -> Any:
    place = {"organization_id": r.organization_id, "team_id": r.team_id, "user_id": r.user_id}
    return c.keys.list(page_size=r.page_size, **place, **o)


def create_budget(c: Any, r: Any, o: CallOptions) -> Any:
    return c.budgets.create(r.budget, opening_nano_usd=present(r, "opening_nano_usd"), request_id=r.request_id, **o)


def whose(r: Any) -> Doc:
    return {
        "key_id": r.key_id,
        "organization_id": r.organization_id,
        "team_id": r.team_id,
        "user_id": r.user_id,
        "start": moment(r, "start_time"),
        "end": moment(r, "end_time"),
    }


def ledger(c: Any, r: Any, o: CallOptions) -> Any:
    return c.spend.ledger(call_id=r.call_id, page_size=r.page_size, **whose(r), **o)


def chosen(r: Any) -> Doc:
    f = r.filter
    return {"key_id": f.key_id, "action_prefix": f.action_prefix, "call_id": f.call_id}


def query(c: Any, r: Any, o: CallOptions) -> Any:
    span = {"start": moment(r.filter, "start_time"), "end": moment(r.filter, "end_time")}
    return c.audit.query(after_sequence=r.after_sequence, limit=r.limit, **span, **chosen(r), **o)


CALLS: dict[str, tuple[Any, Callable[[Any, Any, CallOptions], Any]]] = {
    "complete": (v1.CompletionRequest, lambda c, r, o: c.complete(r, **o)),
    "stream": (v1.CompletionRequest, lambda c, r, o: c.stream(r, **o)),
    "count_tokens": (v1.CompletionRequest, lambda c, r, o: c.count_tokens(r, **o)),
    "embed": (v1.CreateEmbeddingRequest, lambda c, r, o: c.embeddings.create(r, **o)),
    "get_model": (v1.GetModelRequest, lambda c, r, o: c.models.get(r.name, **o)),
    "list_models": (v1.ListModelsRequest, lambda c, r, o: c.models.list(page_size=r.page_size, **o)),
    "create_key": (v1.CreateKeyRequest, create_key),
    "get_key": (v1.GetKeyRequest, lambda c, r, o: c.keys.get(r.id, secret=r.secret, **o)),
    "list_keys": (v1.ListKeysRequest, list_keys),
    "update_key": (v1.UpdateKeyRequest, lambda c, r, o: c.keys.update(r.key, r.update_mask.paths, **o)),
    "rotate_key": (
        v1.RotateKeyRequest,
        lambda c, r, o: c.keys.rotate(r.id, grace_seconds=present(r, "grace_seconds"), **o),
    ),
    "block_key": (v1.BlockKeyRequest, lambda c, r, o: c.keys.block(r.id, **o)),
    "unblock_key": (v1.UnblockKeyRequest, lambda c, r, o: c.keys.unblock(r.id, **o)),
    "revoke_key": (v1.RevokeKeyRequest, lambda c, r, o: c.keys.revoke(r.id, **o)),
    "create_organization": (
        v1.CreateOrganizationRequest,
        lambda c, r, o: c.organizations.create(r.organization, request_id=r.request_id, **o),
    ),
    "list_organizations": (
        v1.ListOrganizationsRequest,
        lambda c, r, o: c.organizations.list(page_size=r.page_size, **o),
    ),
    "create_team": (v1.CreateTeamRequest, lambda c, r, o: c.teams.create(r.team, request_id=r.request_id, **o)),
    "get_team": (v1.GetTeamRequest, lambda c, r, o: c.teams.get(r.id, **o)),
    "list_teams": (
        v1.ListTeamsRequest,
        lambda c, r, o: c.teams.list(organization_id=r.organization_id, page_size=r.page_size, **o),
    ),
    "update_team": (v1.UpdateTeamRequest, lambda c, r, o: c.teams.update(r.team, r.update_mask.paths, **o)),
    "delete_team": (v1.DeleteTeamRequest, lambda c, r, o: c.teams.delete(r.id, **o)),
    "create_user": (v1.CreateUserRequest, lambda c, r, o: c.users.create(r.user, request_id=r.request_id, **o)),
    "list_users": (
        v1.ListUsersRequest,
        lambda c, r, o: c.users.list(organization_id=r.organization_id, page_size=r.page_size, **o),
    ),
    "create_budget": (v1.CreateBudgetRequest, create_budget),
    "get_budget": (v1.GetBudgetRequest, lambda c, r, o: c.budgets.get(r.id, key_id=r.key_id, **o)),
    "list_budgets": (
        v1.ListBudgetsRequest,
        lambda c, r, o: c.budgets.list(scope=present(r, "scope"), page_size=r.page_size, **o),
    ),
    "update_budget": (v1.UpdateBudgetRequest, lambda c, r, o: c.budgets.update(r.budget, r.update_mask.paths, **o)),
    "increase_budget": (
        v1.IncreaseBudgetRequest,
        lambda c, r, o: c.budgets.increase(r.id, present(r, "increase"), **o),
    ),
    "delete_budget": (v1.DeleteBudgetRequest, lambda c, r, o: c.budgets.delete(r.id, **o)),
    "get_spend": (v1.GetSpendRequest, lambda c, r, o: c.spend.get(group_by=r.group_by, **whose(r), **o)),
    "list_ledger": (v1.ListLedgerEntriesRequest, ledger),
    "query_audit": (v1.QueryRecordsRequest, query),
    "generate_image": (v1.GenerateImageRequest, lambda c, r, o: c.images.generate(r, **o)),
    "get_file": (v1.GetFileRequest, lambda c, r, o: c.files.get(r.id, **o)),
    "list_files": (v1.ListFilesRequest, lambda c, r, o: c.files.list(page_size=r.page_size, **o)),
    "delete_file": (v1.DeleteFileRequest, lambda c, r, o: c.files.delete(r.id, **o)),
    "create_batch": (v1.CreateBatchRequest, lambda c, r, o: c.batches.create(r, **o)),
    "cancel_batch": (v1.CancelBatchRequest, lambda c, r, o: c.batches.cancel(r.id, **o)),
    "list_batches": (v1.ListBatchesRequest, lambda c, r, o: c.batches.list(page_size=r.page_size, **o)),
    "tail_audit": (
        v1.TailRecordsRequest,
        lambda c, r, o: c.audit.tail(after_sequence=present(r, "after_sequence"), **chosen(r), **o),
    ),
}


# The same with what is uploaded, or with the path of a file that is written.
UPLOADS: dict[str, tuple[Any, Callable[[Any, Any, list[tuple[str, Upload]], CallOptions], Any]]] = {
    "transcribe": (v1.TranscriptionHead, lambda c, r, u, o: c.audio.transcribe(r, u[0][1], **o)),
    "upload_file": (v1.FileHeader, lambda c, r, u, o: c.files.upload(u[0][1], r, **o)),
    "edit_image": (
        v1.EditImageHead,
        lambda c, r, u, o: c.images.edit(r, [x for field, x in u if field != "mask"], mask=dict(u).get("mask"), **o),
    ),
}
SAVES: dict[str, tuple[Any, Callable[[Any, Any, Path, CallOptions], Any]]] = {
    "file_content": (v1.GetFileContentRequest, lambda c, r, path, o: c.files.save(r.id, path, **o)),
}


def uploads(call: Doc) -> list[tuple[str, Upload]]:
    """Half of them as bytes, half as files that are open."""
    sent = []
    for at, one in enumerate(call.get("uploads", [])):
        content = one["text"].encode() * one.get("times", 1)
        file = io.BytesIO(content) if at % 2 else content
        sent.append((one.get("field", ""), Upload(file, one.get("filename", ""), one.get("content_type", ""))))
    return sent


def made(client: Any, call: Doc, path: Path) -> Any:
    """Makes the call of a case."""
    do, options = call["do"], options_of(call)
    if do in UPLOADS:
        kind, send = UPLOADS[do]
        return send(client, parsed(call["request"], kind()), uploads(call), options)
    if do in SAVES:
        kind, save = SAVES[do]
        return save(client, parsed(call["request"], kind()), path, options)
    if do == "await_batch":
        return client.batches.wait(call["request"]["id"], every=call["every_ms"] / 1000, **options)
    if do == "speak":
        return client.audio.speak(parsed(call["request"], v1.CreateSpeechRequest()), **options)
    kind, make = CALLS[do]
    return make(client, parsed(call["request"], kind()), options)


KNOWN = {*CALLS, *UPLOADS, *SAVES, "await_batch", "speak"}


def of_usage(usage: v1.Usage) -> Doc:
    return {
        "input_tokens": usage.input.total,
        "output_tokens": usage.output.total,
        "cost_nano_usd": usage.cost_nano_usd,
        "estimated": usage.estimated,
    }


def of_answer(answer: Answer) -> Doc:
    usage = answer.usage
    saw: Doc = {
        "answer": shown(answer.completion),
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "tool_calls": [{"id": t.id, "name": t.name, "arguments": t.arguments} for t in answer.tool_calls],
    }
    if answer.completion.HasField("usage"):
        saw["usage"] = of_usage(usage)
    return saw


def of_error(error: TollgateError) -> Doc:
    fields: Doc = {name: getattr(error, name) for name in error.fields}
    for name, value in fields.items():
        if isinstance(value, datetime):
            fields[name] = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if name == "violations":
            fields[name] = [{"field": one.field, "description": one.description} for one in value]
    if error.retry_after is not None:
        fields["retry_after_ms"] = round(error.retry_after * 1000)
    return {
        "type": type(error).__name__,
        "code": error.code.name,
        "reason": error.reason,
        "message": error.message,
        "request_id": error.request_id,
        "metadata": error.metadata,
        "fields": fields,
        **promised(error),
    }


def promised(told: Any) -> Doc:
    return {} if told.receipt is None else {"receipt": shown(told.receipt)}


class Seen:
    """What a stream gives, written down."""

    def __init__(self, saw: Doc) -> None:
        self.saw = saw
        saw["events"], saw["received"] = [], 0

    def take(self, event: v1.CompletionEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "delta":
            kind = event.delta.WhichOneof("piece")
        if kind and self.saw["events"][-1:] != [kind]:
            self.saw["events"].append(kind)
        self.saw["received"] += 1

    def cancelled(self) -> None:
        self.saw["cancelled"] = True
        self.saw["cancelled_at_ms"] = int(time.time() * 1000)


def options_of(call: Doc) -> CallOptions:
    options: CallOptions = {}
    if "deadline_ms" in call:
        options["timeout"] = call["deadline_ms"] / 1000
    if "traceparent" in call:
        options["traceparent"] = call["traceparent"]
    return options


def whole(answer: Any, saw: Doc) -> None:
    if isinstance(answer, Answer):
        saw.update(of_answer(answer))
    elif isinstance(answer, Transcription):
        saw.update(answer=shown(answer.transcript), usage=of_usage(answer.usage), **promised(answer))
    elif isinstance(answer, EditedImages):
        images = [shown(image) for image in answer.images]
        saw.update(answer={"images": images}, usage=of_usage(answer.usage), **promised(answer))
    elif isinstance(answer, int):
        return
    else:
        saw["answer"] = {} if answer is None else shown(answer)
    saw.setdefault("answers", []).append(saw["answer"])


def played(client: Client, call: Doc, saw: Doc, path: Path) -> None:
    for _ in range(call.get("times", 1)):
        result = made(client, call, path)
        if isinstance(result, Stream):
            streamed(result, call, saw)
        elif isinstance(result, Speech):
            spoken(result, call, saw, path)
        elif isinstance(result, Iterator):
            saw["items"] = []
            for item in result:
                saw["items"].append(shown(item))
                if len(saw["items"]) == call.get("take"):
                    break
            if hasattr(result, "close"):
                result.close()
        else:
            whole(result, saw)


def streamed(stream: Stream, call: Doc, saw: Doc) -> None:
    seen = Seen(saw)
    try:
        with stream:
            for event in stream:
                seen.take(event)
                if saw["received"] == call.get("cancel_after_events"):
                    seen.cancelled()
                    break
        time.sleep(call.get("linger_ms", 0) / 1000)
    finally:
        saw.update(of_answer(stream.so_far()))


def spoken(speech: Speech, call: Doc, saw: Doc, path: Path) -> None:
    if "cancel_after_events" in call:
        with speech:
            for _, _ in zip(range(call["cancel_after_events"]), speech, strict=False):
                pass
            left(saw)
        time.sleep(call.get("linger_ms", 0) / 1000)
        return
    speech.save(path)
    saw.update(content_type=speech.content_type, usage=of_usage(speech.usage or v1.Usage()), **promised(speech))


def left(saw: Doc) -> None:
    saw.update(cancelled=True, cancelled_at_ms=int(time.time() * 1000))


async def spoken_async(speech: AsyncSpeech, call: Doc, saw: Doc, path: Path) -> None:
    if "cancel_after_events" in call:
        async with speech:
            for _ in range(call["cancel_after_events"]):
                await anext(speech)
            left(saw)
        await asyncio.sleep(call.get("linger_ms", 0) / 1000)
        return
    await speech.save(path)
    saw.update(content_type=speech.content_type, usage=of_usage(speech.usage or v1.Usage()), **promised(speech))


async def played_async(client: AsyncClient, call: Doc, saw: Doc, path: Path) -> None:
    for _ in range(call.get("times", 1)):
        result = made(client, call, path)
        if isinstance(result, AsyncStream):
            await streamed_async(result, call, saw)
        elif isinstance(result, AsyncSpeech):
            await spoken_async(result, call, saw, path)
        elif isinstance(result, AsyncIterator):
            saw["items"] = []
            async for item in result:
                saw["items"].append(shown(item))
                if len(saw["items"]) == call.get("take"):
                    break
            await (result.aclose() if hasattr(result, "aclose") else result.close())  # type: ignore[attr-defined]
        else:
            whole(await result, saw)


async def streamed_async(stream: AsyncStream, call: Doc, saw: Doc) -> None:
    seen = Seen(saw)
    try:
        async with stream:
            async for event in stream:
                seen.take(event)
                if saw["received"] == call.get("cancel_after_events"):
                    seen.cancelled()
                    break
        await asyncio.sleep(call.get("linger_ms", 0) / 1000)
    finally:
        saw.update(of_answer(stream.so_far()))


def certificates(case: Doc) -> Doc:
    """The constructor's arguments of TLS."""
    names = {"ca": "root_certificates", "certificate": "certificate", "private_key": "private_key"}
    return {names[name]: Path(file).read_bytes() for name, file in case.get("tls", {}).items()}


async def in_loop(address: str, case: Doc, saw: Doc, path: Path) -> None:
    async with AsyncClient(address, case.get("key"), **certificates(case)) as client:
        await played_async(client, case["call"], saw, path)


def run(address: str, case: Doc, is_async: bool, lock: threading.Lock) -> None:
    saw: Doc = {}
    address = case.get("address", address)
    if case["call"]["do"] not in KNOWN:
        saw["unsupported"] = True
    else:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "written"
            try:
                if is_async:
                    asyncio.run(in_loop(address, case, saw, path))
                else:
                    with Client(address, case.get("key"), **certificates(case)) as client:
                        played(client, case["call"], saw, path)
            except TollgateError as error:
                saw["error"] = of_error(error)
            except Exception as error:
                saw["error"] = {"type": type(error).__name__, "message": str(error)}
            if path.exists():
                saw["file"] = path.read_text(errors="replace")
    with lock:
        print(json.dumps({"name": case["name"], "saw": saw}), flush=True)


def main() -> None:
    document = json.load(sys.stdin)
    lock = threading.Lock()
    with ThreadPoolExecutor(8) as pool:
        for at, case in enumerate(document["cases"]):
            is_async = at % 2 == 1 if not {"--sync", "--async"} & set(sys.argv) else "--async" in sys.argv
            pool.submit(run, document["address"], case, is_async, lock).add_done_callback(lambda done: done.result())


if __name__ == "__main__":
    main()
