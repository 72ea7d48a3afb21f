"""The official Anthropic SDK for Python: it works with models of any dialect behind the gateway."""

import json

import anthropic
import pytest
from anthropic import beta_tool
from pydantic import BaseModel

from processes import virtual_key

MODELS = ["gpt", "claude", "llama"]
WEATHER = {
    "name": "read_weather",
    "description": "Reads the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "read_clock", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def say(text):
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(rest):
    """As its users make it: a base URL and a key."""
    with anthropic.Anthropic(base_url=rest.url, api_key=rest.key) as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_a_message_comes_whole(client, model, word):
    asked = say(f'{word} [[script {{"text": "Good day"}}]]')
    message = client.messages.create(model=model, max_tokens=100, system="be kind", messages=asked)

    [block] = message.content
    assert (block.type, block.text) == ("text", "Good day")
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens == 2
    assert message._request_id


@pytest.mark.parametrize("model", MODELS)
def test_a_key_may_come_as_a_token(rest, model, word):
    with anthropic.Anthropic(base_url=rest.url, auth_token=rest.key, api_key=None) as client:
        assert client.messages.create(model=model, max_tokens=5, messages=say(word)).stop_reason == "max_tokens"


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_is_gathered_by_the_sdks_helper(client, model, word):
    script = '[[script {"text": "one two three", "chunk_delay_ms": 5}]]'
    with client.messages.stream(model=model, max_tokens=100, messages=say(f"{word} {script}")) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()

    assert pieces == ["one", " two", " three"]
    assert final.content[0].text == "one two three"
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 3
    assert final.usage.input_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_a_streamed_answer_arrives_piece_by_piece(client, model, word):
    # The provider never finishes this answer: whoever waited for its end would wait for ever.
    script = '[[script {"text": "one two three four five", "stall_after_chunks": 3}]]'
    pieces = []
    with client.messages.stream(model=model, max_tokens=100, messages=say(f"{word} {script}")) as stream:
        for text in stream.text_stream:
            pieces.append(text)
            if len(pieces) == 3:
                break

    assert pieces == ["one", " two", " three"]


@pytest.mark.parametrize("model", MODELS)
def test_parallel_tool_calls_make_the_round_trip(client, model, word):
    messages = say(f'{word} [[script {{"parallel": true}}]]')
    with client.messages.stream(model=model, max_tokens=100, messages=messages, tools=[WEATHER, CLOCK]) as stream:
        first = stream.get_final_message()

    calls = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert [call.name for call in calls] == ["read_weather", "read_clock"]
    assert all("city" in call.input for call in calls)

    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in calls]
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = client.messages.create(model=model, max_tokens=100, messages=messages, tools=[WEATHER, CLOCK])
    assert second.stop_reason == "end_turn"


@pytest.mark.parametrize("model", MODELS)
def test_the_sdks_runner_calls_the_tool_and_goes_on_to_the_answer(client, model, word):
    asked = []

    @beta_tool
    def read_weather(city: str) -> str:
        """Reads the weather of a city.

        Args:
            city: Which city.
        """
        asked.append(city)
        return "fine"

    runner = client.beta.messages.tool_runner(model=model, max_tokens=100, messages=say(word), tools=[read_weather])
    final = runner.until_done()

    assert len(asked) == 1
    assert final.stop_reason == "end_turn"


@pytest.mark.parametrize("model", MODELS)
def test_thinking_goes_along(client, model, word):
    messages = say(word)
    thinking = {"type": "enabled", "budget_tokens": 2000}
    options = {"model": model, "max_tokens": 4000, "tools": [WEATHER], "thinking": thinking}
    first = client.messages.create(messages=messages, **options)
    [call] = [block for block in first.content if block.type == "tool_use"]
    if model == "claude":
        assert first.content[0].type == "thinking"
        assert first.content[0].signature

    result = {"type": "tool_result", "tool_use_id": call.id, "content": "fine"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(messages=messages, **options).stop_reason == "end_turn"


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_is_parsed_by_the_model_that_was_its_form(client, model, word):
    class Receipt(BaseModel):
        shop: str
        paid: bool

    message = client.messages.parse(model=model, max_tokens=100, messages=say(word), output_format=Receipt)

    assert isinstance(message.parsed_output, Receipt)


@pytest.mark.parametrize("model", MODELS)
def test_tokens_are_counted(client, model, word):
    counted = client.messages.count_tokens(model=model, messages=say(word), system="be kind", tools=[WEATHER])

    assert counted.input_tokens > 10


def test_models_are_listed_and_retrieved(client):
    models = list(client.models.list())

    assert [model.id for model in models] == ["claude", "embed", "gpt", "llama", "native"]
    assert client.models.retrieve("claude").type == "model"


def test_an_image_reaches_a_model_of_another_dialect(client, provider, word):
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = [{"type": "image", "source": source}, {"type": "text", "text": word}]
    client.messages.create(model="gpt", max_tokens=100, messages=[{"role": "user", "content": content}])

    [call] = provider.calls(word)
    assert "data:image/png;base64,iVBORw0KGgo=" in json.dumps(call["body"])


def refused(rest, error, key=None, status=None, **more):
    """The error of a call, without retries."""
    with anthropic.Anthropic(base_url=rest.url, api_key=key or rest.key, max_retries=0) as client:
        text = f'[[script {{"status": {status}}}]]' if status else "hello"
        with pytest.raises(error) as raised:
            client.messages.create(**({"model": "gpt", "max_tokens": 9, "messages": say(text)} | more))
    assert raised.value.body["type"] == "error"
    return raised.value


def test_refusals_are_the_sdks_own_exceptions(rest):
    key = virtual_key()
    assert key not in str(refused(rest, anthropic.AuthenticationError, key=key))
    refused(rest, anthropic.NotFoundError, model="nobody")
    assert "temperature" in str(refused(rest, anthropic.BadRequestError, extra_body={"temperature": "hot"}))
    refused(rest, anthropic.RateLimitError, status=429)
    refused(rest, anthropic.OverloadedError, status=503)
    refused(rest, anthropic.InternalServerError, status=500)
    too_long = refused(rest, anthropic.BadRequestError, messages=say("toll " * 400_000))
    assert "prompt is too long" in str(too_long)


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_that_breaks_raises(rest, model, word):
    script = '[[script {"chunks": 10, "cut_after_chunks": 4}]]'
    pieces = []
    with anthropic.Anthropic(base_url=rest.url, api_key=rest.key, max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as broken:
            with client.messages.stream(model=model, max_tokens=100, messages=say(f"{word} {script}")) as stream:
                pieces += stream.text_stream

    assert pieces or broken.value.body["error"]["type"] == "api_error"
    assert broken.value.body["type"] == "error"
