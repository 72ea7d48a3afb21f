"""The official gRPC stack for Python, with stubs made a moment ago: completions, embeddings, models."""

import asyncio
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tollgate.v1 import (
    completion_pb2,
    completion_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    message_pb2,
    model_pb2,
    model_pb2_grpc,
)

from processes import bearer, eventually


@pytest.fixture
def completions(channel):
    return completion_pb2_grpc.CompletionServiceStub(channel)


def ask(text, model="gpt", **rest):
    message = message_pb2.Message(
        role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=message_pb2.TextPart(text=text))]
    )
    return completion_pb2.CompletionRequest(model=model, messages=[message], **rest)


def streamed(text, model="gpt", **rest):
    return completion_pb2.StreamCompletionRequest(request=ask(text, model, **rest))


def created(text, model="gpt", **rest):
    return completion_pb2.CreateCompletionRequest(request=ask(text, model, **rest))


def details(error):
    """The status details by type: what a program acts on."""
    known = {
        message.DESCRIPTOR.full_name: message
        for message in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
    }
    found = {}
    for packed in rpc_status.from_call(error).details:
        name = packed.TypeName()
        if name in known:
            found[name.rsplit(".", 1)[-1]] = known[name].FromString(packed.value)
    return found


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_completion_streams(completions, caller, model, word):
    text = f'{word} [[script {{"text": "one two three"}}]]'
    stream = completions.StreamCompletion(streamed(text, model), metadata=caller, timeout=20)
    events = [response.event for response in stream]

    kinds = [kind for event in events if (kind := event.WhichOneof("event"))]
    assert kinds == ["started", "delta", "delta", "delta", "part_done", "finished", "usage"]
    assert [event.seq for event in events] == list(range(len(events)))
    assert "".join(event.delta.text for event in events) == "one two three"
    finished = next(event.finished for event in events if event.HasField("finished"))
    assert finished.reason == completion_pb2.FINISH_REASON_STOP
    usage = events[-1].usage
    assert usage.output.total == 3 and not usage.estimated and usage.cost_nano_usd > 0


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_events_arrive_before_the_answer_is_finished(completions, caller, model, word):
    # The provider never finishes it.
    text = f'{word} [[script {{"text": "one two three four five", "stall_after_chunks": 3}}]]'
    stream = completions.StreamCompletion(streamed(text, model), metadata=caller, timeout=20)
    said = []
    for response in stream:
        said += [response.event.delta.text] if response.event.HasField("delta") else []
        if len(said) == 3:
            break
    stream.cancel()

    assert said == ["one", " two", " three"]


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_completion_comes_whole(completions, caller, model, word):
    text = f'{word} [[script {{"text": "all at once"}}]]'
    answer = completions.CreateCompletion(created(text, model), metadata=caller, timeout=20).completion

    [choice] = answer.choices
    assert choice.message.role == message_pb2.ROLE_ASSISTANT
    assert [part.text.text for part in choice.message.parts] == ["all at once"]
    assert answer.started.served_model == f"{model}-upstream"


def test_routing_is_told_when_asked_for(completions, caller, word):
    options = completion_pb2.GatewayOptions(want_routing=True)
    answer = completions.CreateCompletion(created(word, tollgate=options), metadata=caller, timeout=20).completion

    [attempt] = answer.routing.attempts
    assert (getattr(attempt, "class"), attempt.upstream_status, attempt.billed) == ("ok", 200, True)


def test_a_tool_call_makes_the_round_trip(completions, caller, word):
    clock = message_pb2.Tool(
        function=message_pb2.FunctionTool(
            name="read_clock", parameters_json='{"type":"object","properties":{"city":{"type":"string"}}}'
        )
    )
    first = completions.CreateCompletion(created(word, tools=[clock]), metadata=caller, timeout=20).completion
    [choice] = first.choices
    assert choice.finished.reason == completion_pb2.FINISH_REASON_TOOL_CALLS
    [call] = [part.tool_call for part in choice.message.parts if part.HasField("tool_call")]
    assert call.name == "read_clock"

    result = message_pb2.ToolResultPart(
        tool_call_id=call.id, content=[message_pb2.Part(text=message_pb2.TextPart(text="noon"))]
    )
    again = ask(word, tools=[clock])
    again.messages.append(choice.message)
    again.messages.append(
        message_pb2.Message(role=message_pb2.ROLE_TOOL, parts=[message_pb2.Part(tool_result=result)])
    )
    request = completion_pb2.CreateCompletionRequest(request=again)
    second = completions.CreateCompletion(request, metadata=caller, timeout=20).completion
    assert second.choices[0].finished.reason == completion_pb2.FINISH_REASON_STOP


def test_embeddings_are_vectors(channel, caller):
    service = embedding_pb2_grpc.EmbeddingServiceStub(channel)
    inputs = [embedding_pb2.EmbeddingInput(text="one"), embedding_pb2.EmbeddingInput(text="two")]
    request = embedding_pb2.CreateEmbeddingRequest(model="embed", inputs=inputs, dimensions=16)
    answer = service.CreateEmbedding(request, metadata=caller, timeout=20)

    assert [(entry.index, len(entry.values)) for entry in answer.embeddings] == [(0, 16), (1, 16)]


def test_models_are_listed_page_by_page(channel, caller):
    service = model_pb2_grpc.ModelServiceStub(channel)
    names, token = [], ""
    while True:
        request = model_pb2.ListModelsRequest(page_size=1, page_token=token)
        page = service.ListModels(request, metadata=caller, timeout=20)
        names += [model.name for model in page.models]
        token = page.next_page_token
        if not token:
            break

    assert names == ["claude", "embed", "gpt", "llama", "native"]
    model = service.GetModel(model_pb2.GetModelRequest(name="gpt"), metadata=caller, timeout=20).model
    # Fifteen cents per million tokens are 150,000 pico-dollars per token.
    assert model.deployments[0].price.input_pico_usd == 150_000


def test_errors_carry_a_reason_for_programs(completions, caller):
    with pytest.raises(grpc.RpcError) as refused:
        completions.CreateCompletion(created("hello", "no-such-model"), metadata=caller, timeout=20)

    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    info = details(refused.value)["ErrorInfo"]
    assert (info.reason, info.domain, info.metadata["model"]) == ("MODEL_NOT_FOUND", "tollgate.dev", "no-such-model")


def test_a_client_may_compress_its_requests(completions, caller, word):
    gzip = grpc.Compression.Gzip
    answer = completions.CreateCompletion(created(word), metadata=caller, timeout=20, compression=gzip)

    assert answer.completion.choices


def test_every_bad_field_is_named(completions, caller):
    request = completion_pb2.CompletionRequest(max_output_tokens=-1)
    with pytest.raises(grpc.RpcError) as refused:
        completions.CreateCompletion(
            completion_pb2.CreateCompletionRequest(request=request), metadata=caller, timeout=20
        )

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    found = details(refused.value)
    assert found["ErrorInfo"].reason == "INVALID_FIELD"
    fields = {violation.field for violation in found["BadRequest"].field_violations}
    assert fields == {"request.model", "request.messages", "request.max_output_tokens"}


@pytest.mark.parametrize(
    ("metadata", "reason"), [([], "API_KEY_MISSING"), (bearer("tg-nonsense"), "API_KEY_INVALID")]
)
def test_without_a_good_key_there_is_no_call(completions, metadata, reason):
    with pytest.raises(grpc.RpcError) as refused:
        completions.CreateCompletion(created("hello"), metadata=metadata, timeout=20)

    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert details(refused.value)["ErrorInfo"].reason == reason


def test_a_stream_that_breaks_ends_with_a_status(completions, caller, word):
    events = completions.StreamCompletion(
        streamed(f'{word} [[script {{"chunks": 10, "cut_after_chunks": 4}}]]'), metadata=caller, timeout=20
    )
    seen = []
    with pytest.raises(grpc.RpcError) as broken:
        for response in events:
            seen.append(response.event)

    assert len([event for event in seen if event.HasField("delta")]) == 4
    assert broken.value.code() == grpc.StatusCode.UNAVAILABLE
    assert details(broken.value)["ErrorInfo"].reason == "STREAM_TRUNCATED"


@pytest.mark.parametrize("script", ['{"delay_ms": 30000}', '{"chunks": 10, "stall_after_chunks": 2}'])
def test_the_deadline_ends_a_stalled_call_on_both_sides(completions, provider, caller, script, word):
    call = completions.StreamCompletion(streamed(f"{word} [[script {script}]]"), metadata=caller, timeout=0.5)
    began = time.time()
    with pytest.raises(grpc.RpcError) as late:
        list(call)

    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert provider.hung_up(word)["ended_at_ms"] / 1000 - began < 1.5


def test_the_gateway_itself_keeps_the_deadline(gateway, provider, word):
    """A client that only announces its deadline: the status must come from the gateway, with its reason."""
    with grpc.insecure_channel(gateway.address) as channel:
        call = completion_pb2_grpc.CompletionServiceStub(channel).CreateCompletion
        with pytest.raises(grpc.RpcError) as late:
            call(
                created(f'{word} [[script {{"delay_ms": 30000}}]]'),
                metadata=[*bearer(gateway.key), ("grpc-timeout", "400m")],
                timeout=None,
            )

    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert details(late.value)["ErrorInfo"].reason == "DEADLINE_EXCEEDED"
    provider.hung_up(word)


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_cancelling_ends_the_call_at_the_provider_within_a_second(completions, provider, caller, model, word):
    script = '[[script {"chunks": 600, "chunk_delay_ms": 100}]]'
    call = completions.StreamCompletion(streamed(f"{word} {script}", model), metadata=caller, timeout=60)
    for response in call:
        if response.event.HasField("delta"):
            break
    cancelled_at = time.time()
    call.cancel()

    assert provider.hung_up(word)["ended_at_ms"] / 1000 - cancelled_at < 1.0


def test_cancelling_before_the_first_byte_reaches_the_provider_too(completions, provider, caller, word):
    call = completions.CreateCompletion.future(
        created(f'{word} [[script {{"delay_ms": 30000}}]]'), metadata=caller, timeout=60
    )
    eventually("the call reaches the provider", lambda: provider.open_calls() > 0)
    cancelled_at = time.time()
    call.cancel()

    assert provider.hung_up(word)["ended_at_ms"] / 1000 - cancelled_at < 1.0


def test_the_asyncio_stack_holds_twenty_streams_at_once(gateway, word):
    text = f'{word} [[script {{"text": "not the end", "stall_after_chunks": 1}}]]'

    async def first_piece(stub, met):
        call = stub.StreamCompletion(streamed(text), metadata=bearer(gateway.key), timeout=20)
        async for response in call:
            if response.event.HasField("delta"):
                await met.wait()  # until all streams have come this far, each of them open
                call.cancel()
                return response.event.delta.text

    async def all_of_them():
        met = asyncio.Barrier(20)
        async with grpc.aio.insecure_channel(gateway.address) as channel:
            stub = completion_pb2_grpc.CompletionServiceStub(channel)
            return await asyncio.gather(*(first_piece(stub, met) for _ in range(20)))

    assert asyncio.run(all_of_them()) == ["not"] * 20
