"""The official OpenAI SDK for Python: responses, streamed and whole, tools, parsing, and conversations that are kept."""

import json

import openai
import pytest
from openai.lib.streaming.responses import ResponseStream
from pydantic import BaseModel

MODELS = ["gpt", "claude", "native"]

CLOCK = {
    "type": "function",
    "name": "read_clock",
    "description": "Tells the time of a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "seconds": {"type": "boolean"}},
        "required": ["city", "seconds"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("model", MODELS)
def test_a_response_comes_whole(client, provider, model, word):
    response = client.responses.create(
        model=model, input=f'{word} [[script {{"text": "Good morning."}}]]', instructions="Be kind.", metadata={"a": "b"}
    )

    assert (response.status, response.output_text) == ("completed", "Good morning.")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    [call] = provider.calls(word)
    assert "Be kind." in json.dumps(call["body"])


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_tells_every_event_in_order(client, model, word):
    stream = client.responses.create(model=model, input=f'{word} [[script {{"text": "one two three"}}]]', stream=True)
    events = list(stream)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "one two three"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "one two three"


@pytest.mark.parametrize("model", MODELS)
def test_the_stream_helper_adds_it_up(client, model, word):
    with client.responses.stream(model=model, input=word) as stream:
        assert isinstance(stream, ResponseStream)
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()

    assert snapshots[-1] in (final.output_text, final.output_text[: len(snapshots[-1])])
    assert final.status == "completed"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_call_makes_the_round_trip_by_previous_response_id(client, provider, model, streamed, word):
    def ask(**asked):
        if not streamed:
            return client.responses.create(model=model, tools=[CLOCK], **asked)
        with client.responses.stream(model=model, tools=[CLOCK], **asked) as stream:
            return stream.get_final_response()

    first = ask(input=f"{word} what time is it?")
    [call] = [item for item in first.output if item.type == "function_call"]
    assert call.name == "read_clock"
    assert set(json.loads(call.arguments)) == {"city", "seconds"}

    result = {"type": "function_call_output", "call_id": call.call_id, "output": "noon"}
    second = ask(input=[result], previous_response_id=first.id)

    assert second.output_text
    assert second.previous_response_id == first.id
    assert [record["status"] for record in provider.calls(word)] == [200, 200]


@pytest.mark.parametrize("model", MODELS)
def test_a_conversation_can_be_carried_by_the_client(client, model, word):
    history = [{"role": "user", "content": word}]
    asked = {"model": model, "tools": [CLOCK], "store": False, "reasoning": {"effort": "high"},
             "include": ["reasoning.encrypted_content"], "max_output_tokens": 4000}
    first = client.responses.create(input=history, **asked)
    history += first.output
    for call in first.output:
        if call.type == "function_call":
            history.append({"type": "function_call_output", "call_id": call.call_id, "output": "noon"})
    second = client.responses.create(input=history, **asked)

    assert second.output_text
    if model != "gpt":
        [thought] = [item for item in first.output if item.type == "reasoning"]
        assert thought.encrypted_content
        assert thought.summary[0].text


class Line(BaseModel):
    item: str
    cents: int


class Receipt(BaseModel):
    shop: str
    paid: bool
    lines: list[Line]


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_is_parsed_into_the_pydantic_model_that_was_its_schema(client, model, word):
    response = client.responses.parse(model=model, input=word, text_format=Receipt)

    assert isinstance(response.output_parsed, Receipt)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_kept_is_read_listed_and_forgotten(client, model, word):
    response = client.responses.create(model=model, input=[{"role": "user", "content": word}])

    assert client.responses.retrieve(response.id).output == response.output
    items = list(client.responses.input_items.list(response.id, limit=1))
    assert [item.content[0].text for item in items] == [word]
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.cancel(response.id)
    assert refused.value.code == "response_not_cancellable"
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError) as refused:
        client.responses.create(model=model, input="more", previous_response_id=response.id)
    assert response.id in str(refused.value)


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_that_breaks_tells_so(client, model, word):
    stream = client.responses.create(
        model=model, input=f'{word} [[script {{"text": "one two three", "cut_after_chunks": 2}}]]', stream=True
    )
    last = list(stream)[-1]

    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response.error.code == "stream_truncated"


def test_tokens_of_an_input_are_counted(client, word):
    assert client.responses.input_tokens.count(model="gpt", input=word).input_tokens > 0


def test_an_error_is_the_sdks_own(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="gpt", input="x", conversation="conv_1")
    assert refused.value.param == "conversation"
    with pytest.raises(openai.NotFoundError) as refused:
        client.responses.create(model="nowhere", input="x")
    assert refused.value.code == "model_not_found"
