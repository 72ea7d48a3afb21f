"""The official OpenAI SDK for Python: chat, streamed and whole."""

import asyncio
import time

import openai
import pytest
from tollgate.v1 import budget_pb2, budget_pb2_grpc

USER = "user"


def say(text):
    return [{"role": USER, "content": text}]


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_an_answer_comes_whole(client, model, word):
    answer = client.chat.completions.create(model=model, messages=say(f'{word} [[script {{"text": "Good day"}}]]'))

    [choice] = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Good day", "stop")
    assert answer.object == "chat.completion"
    assert answer.usage.completion_tokens == 2
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_streamed_answer_arrives_piece_by_piece(client, model, word):
    # The provider never finishes this answer: whoever waited for its end would wait for ever.
    script = '[[script {"text": "one two three four five", "stall_after_chunks": 3}]]'
    pieces = []
    with client.chat.completions.create(model=model, messages=say(f"{word} {script}"), stream=True) as stream:
        for chunk in stream:
            pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            if len(pieces) == 3:
                break

    assert pieces == ["one", " two", " three"]


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_streamed_answer_ends_as_it_should(client, model, word):
    script = '[[script {"text": "one two three", "chunk_delay_ms": 20}]]'
    stream = client.chat.completions.create(model=model, messages=say(f"{word} {script}"), stream=True)
    choices = [choice for chunk in stream for choice in chunk.choices]

    assert choices[0].delta.role == "assistant"
    assert "".join(choice.delta.content or "" for choice in choices) == "one two three"
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_stream_tells_usage_when_asked_and_only_then(client, model, word):
    def usages(**options):
        stream = client.chat.completions.create(model=model, messages=say(word), stream=True, **options)
        return [chunk.usage for chunk in stream if chunk.usage is not None]

    assert usages() == []
    [usage] = usages(stream_options={"include_usage": True})
    assert usage.completion_tokens == 16
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_the_sdk_collects_a_stream_by_its_own_helper(client, word):
    text = f'{word} [[script {{"text": "gathered by the helper"}}]]'
    with client.chat.completions.stream(model="gpt", messages=say(text)) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()

    assert final.choices[0].message.content == "gathered by the helper"
    assert {"chunk", "content.delta", "content.done"} <= kinds


def test_the_output_limit_ends_the_answer(client, word):
    answer = client.chat.completions.create(model="gpt", messages=say(word), max_completion_tokens=5)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_several_choices_come_side_by_side(client, word):
    answer = client.chat.completions.create(model="gpt", messages=say(word), n=3)

    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_the_request_id_of_the_sdk_is_the_call_in_the_ledger(client, channel, admin, word):
    answer = client.chat.completions.create(model="gpt", messages=say(word))

    request = budget_pb2.ListLedgerEntriesRequest(call_id=answer._request_id)
    ledger = budget_pb2_grpc.BudgetServiceStub(channel).ListLedgerEntries(request, metadata=admin, timeout=20)
    assert [entry.usage.output.total for entry in ledger.entries] == [answer.usage.completion_tokens]


def test_fields_that_only_the_provider_knows_reach_it(client, provider, word):
    client.chat.completions.create(model="gpt", messages=say(word), extra_body={"tomorrow": {"b": 1, "a": [None]}})

    [call] = provider.calls(word)
    assert call["body"]["tomorrow"] == {"b": 1, "a": [None]}
    assert call["body"]["model"] == "gpt-upstream"
    assert "leaked_headers" not in call


def test_an_image_reaches_both_dialects(client, provider, word):
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    content = [
        {"type": "text", "text": word},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}},
    ]
    for model in ("gpt", "claude"):
        client.chat.completions.create(model=model, messages=[{"role": USER, "content": content}])

    by_path = {call["path"].rsplit("/", 1)[-1]: call["body"]["messages"][0]["content"] for call in provider.calls(word)}
    assert by_path["completions"][1]["image_url"]["url"].endswith(pixel)
    assert by_path["messages"][1]["source"] == {"type": "base64", "media_type": "image/png", "data": pixel}


def test_hanging_up_ends_the_call_at_the_provider_within_a_second(client, provider, word):
    script = '[[script {"chunks": 600, "chunk_delay_ms": 100}]]'
    stream = client.chat.completions.create(model="gpt", messages=say(f"{word} {script}"), stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    left_at = time.time()
    stream.close()

    record = provider.hung_up(word)
    assert record["ended_at_ms"] / 1000 - left_at < 1.0


def test_the_async_client_holds_twenty_streams_at_once(rest, word):
    script = '[[script {"text": "not the end", "stall_after_chunks": 1}]]'

    async def first_piece(client, met):
        messages = say(f"{word} {script}")
        async with await client.chat.completions.create(model="gpt", messages=messages, stream=True) as stream:
            async for chunk in stream:
                if chunk.choices[0].delta.content:
                    await met.wait()  # until all streams have come this far, each of them open
                    return chunk.choices[0].delta.content

    async def all_of_them():
        met = asyncio.Barrier(20)
        async with openai.AsyncOpenAI(base_url=f"{rest.url}/v1", api_key=rest.key) as client:
            return await asyncio.wait_for(asyncio.gather(*(first_piece(client, met) for _ in range(20))), 20)

    assert asyncio.run(all_of_them()) == ["not"] * 20


def test_the_azure_client_finds_its_paths(rest):
    azure = openai.AzureOpenAI(azure_endpoint=rest.url, api_key=rest.key, api_version="2024-10-21", max_retries=0)
    answer = azure.chat.completions.create(model="gpt", messages=say('[[script {"text": "Good day"}]]'))
    assert answer.choices[0].message.content == "Good day"
    assert len(azure.embeddings.create(model="embed", input="x").data) == 1
