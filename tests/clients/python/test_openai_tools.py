"""The official OpenAI SDK for Python: tools and answers that fit a schema."""

import json

import pytest
from pydantic import BaseModel

CLOCK = {
    "type": "function",
    "function": {
        "name": "read_clock",
        "description": "Tells the time of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "seconds": {"type": "boolean"}},
            "required": ["city", "seconds"],
            "additionalProperties": False,
        },
    },
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "read_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def say(text):
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_tool_call_makes_the_round_trip(client, provider, model, word):
    messages = say(f"{word} what time is it?")
    first = client.chat.completions.create(model=model, messages=messages, tools=[CLOCK]).choices[0]

    assert first.finish_reason == "tool_calls"
    [call] = first.message.tool_calls
    assert (call.type, call.function.name) == ("function", "read_clock")
    assert set(json.loads(call.function.arguments)) == {"city", "seconds"}

    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "noon"}]
    second = client.chat.completions.create(model=model, messages=messages, tools=[CLOCK]).choices[0]

    assert second.finish_reason == "stop"
    assert second.message.content
    assert [record["status"] for record in provider.calls(word)] == [200, 200]


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_streamed_tool_call_adds_up_to_the_same(client, model, word):
    name, arguments, ids, finish = "", "", [], None
    stream = client.chat.completions.create(model=model, messages=say(word), tools=[CLOCK], stream=True)
    for chunk in stream:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or []:
                assert call.index == 0
                ids += [call.id] if call.id else []
                name += call.function.name or ""
                arguments += call.function.arguments or ""
            finish = choice.finish_reason or finish

    assert (name, finish, len(ids)) == ("read_clock", "tool_calls", 1)
    assert set(json.loads(arguments)) == {"city", "seconds"}


@pytest.mark.parametrize("model", ["gpt", "claude"])
@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_tool_calls_are_answered_together(client, model, streamed, word):
    messages = say(f'{word} [[script {{"parallel": true}}]]')
    tools = [CLOCK, WEATHER]
    if streamed:
        with client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(model=model, messages=messages, tools=tools).choices[0].message

    calls = message.tool_calls
    assert [call.function.name for call in calls] == ["read_clock", "read_weather"]
    assert len({call.id for call in calls}) == 2

    spoken = [
        {"id": call.id, "type": "function",
         "function": {"name": call.function.name, "arguments": call.function.arguments}}
        for call in calls
    ]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in calls]
    history = say(word) + [{"role": "assistant", "content": None, "tool_calls": spoken}] + results
    answer = client.chat.completions.create(model=model, messages=history, tools=tools)
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_parallel_tool_calls_can_be_forbidden(client, model, word):
    answer = client.chat.completions.create(
        model=model, messages=say(f'{word} [[script {{"parallel": true}}]]'), tools=[CLOCK, WEATHER],
        parallel_tool_calls=False,
    )

    assert len(answer.choices[0].message.tool_calls) == 1


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_tool_can_be_demanded_by_name(client, model, word):
    answer = client.chat.completions.create(
        model=model, messages=say(word), tools=[CLOCK, WEATHER],
        tool_choice={"type": "function", "function": {"name": "read_weather"}},
    )

    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "read_weather"


class Line(BaseModel):
    item: str
    cents: int


class Receipt(BaseModel):
    shop: str
    paid: bool
    lines: list[Line]


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_an_answer_is_parsed_into_the_pydantic_model_that_was_its_schema(client, model, word):
    answer = client.chat.completions.parse(model=model, messages=say(word), response_format=Receipt)

    assert isinstance(answer.choices[0].message.parsed, Receipt)


def test_a_streamed_answer_is_parsed_into_the_pydantic_model_too(client, word):
    with client.chat.completions.stream(model="gpt", messages=say(word), response_format=Receipt) as stream:
        message = stream.get_final_completion().choices[0].message

    assert isinstance(message.parsed, Receipt)


def test_json_mode_gives_an_object(client, word):
    answer = client.chat.completions.create(
        model="gpt", messages=say(f"{word}, as JSON"), response_format={"type": "json_object"}
    )

    assert isinstance(json.loads(answer.choices[0].message.content), dict)
