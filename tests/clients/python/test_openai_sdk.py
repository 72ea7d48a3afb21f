"""The official OpenAI SDK, unchanged but for its base URL."""

import asyncio
import json
import subprocess
import time

import openai
import pytest
from pydantic import BaseModel

HELLO = [{"role": "user", "content": "Say hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(params=["embedded", "standalone"])
def base(world, request):
    """The shim inside the gateway, and as a process of its own."""
    return f"{world.url if request.param == 'embedded' else world.standalone}/v1"


@pytest.fixture
def client(world, base):
    return openai.OpenAI(base_url=base, api_key=world.key)


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_stream_arrives_piece_by_piece_with_usage_when_asked_for(client, world, model):
    world.provider.script(f"{model}-upstream", {"chunks": 6, "chunk_delay_ms": 40})
    begun, arrivals, text, usage = time.monotonic(), [], "", None
    for chunk in client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    ):
        if chunk.choices and chunk.choices[0].delta.content:
            arrivals.append(time.monotonic() - begun)
            text += chunk.choices[0].delta.content
        usage = chunk.usage or usage
    assert text and arrivals[-1] - arrivals[0] > 0.12
    assert usage.completion_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_tool_is_called_and_its_result_is_used(client, world, model):
    messages = list(HELLO)
    first = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    assert first.choices[0].finish_reason == "tool_calls"
    call = first.choices[0].message.tool_calls[0]
    assert call.function.name == "weather" and "city" in json.loads(call.function.arguments)
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "19 degrees"}]
    second = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    assert second.choices[0].message.content


def test_parallel_tool_calls_are_streamed_apart(client, world):
    world.provider.script("gpt-upstream", {"parallel": True})
    with client.chat.completions.stream(model="gpt", messages=HELLO, tools=[WEATHER]) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert len(calls) == 2 and len({c.id for c in calls}) == 2
    assert all("city" in json.loads(c.function.arguments) for c in calls)


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_schema_is_answered_with_an_object_of_its_type(client, model):
    class Reading(BaseModel):
        city: str
        degrees: int

    parsed = client.chat.completions.parse(model=model, messages=HELLO, response_format=Reading)
    assert isinstance(parsed.choices[0].message.parsed, Reading)


def test_embeddings_come_as_floats_whatever_the_wire_carries(client):
    coded = client.embeddings.create(model="embed", input=["a", "b"])  # base64 on the wire, by the SDK's own choice
    plain = client.embeddings.create(model="embed", input=["a", "b"], encoding_format="float")
    assert [len(d.embedding) for d in coded.data] == [len(d.embedding) for d in plain.data]
    assert coded.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)


def test_models_are_listed_and_found(client):
    assert {m.id for m in client.models.list()} == {"gpt", "claude", "embed", "slow"}
    assert client.models.retrieve("gpt").id == "gpt"


def test_errors_are_the_sdks_own_classes(base, client):
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=base, api_key="tg-wrong").models.list()
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as invalid:
        client.chat.completions.create(model="gpt", messages=HELLO, max_tokens=-1)
    assert invalid.value.param == "max_completion_tokens"


def test_an_exhausted_budget_is_not_retried(world, base):
    before = len(world.provider.log())
    poor = openai.OpenAI(base_url=base, api_key=world.poor, max_retries=5)
    begun = time.monotonic()
    with pytest.raises(openai.RateLimitError) as refused:
        poor.chat.completions.create(model="gpt", messages=HELLO)
    assert refused.value.code == "budget_exceeded"
    assert time.monotonic() - begun < 1.0 and len(world.provider.log()) == before


def test_the_asynchronous_client_streams_too(world, base):
    async def run():
        client = openai.AsyncOpenAI(base_url=base, api_key=world.key)
        stream = await client.chat.completions.create(model="gpt", messages=HELLO, stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    assert asyncio.run(run())


def test_the_first_call_of_the_readme_streams_with_curl(world, base):
    body = json.dumps({"model": "gpt", "stream": True, "messages": HELLO})
    command = ["curl", "-sN", f"{base}/chat/completions", "-H", f"authorization: Bearer {world.key}", "-d", body]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    assert lines[0].startswith("data: {") and [l for l in lines if l][-1] == "data: [DONE]"
