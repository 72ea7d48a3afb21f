"""The cases of the Open Responses acceptance set (openresponses.org/compliance), written anew, for its program lies in no package
registry: every response and every event is held against the types that OpenAI generates from the description of its API. Left out
are what is not served (compaction, WebSocket) and the phases of assistants, which are a provider's own."""

import json
from typing import get_args

import httpx
import pytest
from openai.types.responses import Response, ResponseStreamEvent

# A provider of the same dialect answers for itself: its bytes are passed on as they come.
MODELS = ["gpt", "claude"]
EVENTS = {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])}

WEATHER = {"type": "function", "name": "get_weather", "description": "Get the weather of a place", "strict": None,
           "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}
CASES = {
    "basic text": {"input": [{"type": "message", "role": "user", "content": "Say hello in exactly three words."}]},
    "system prompt": {"input": [{"type": "message", "role": "system", "content": "You are a pirate."},
                                {"type": "message", "role": "user", "content": "Say hello."}]},
    "tool calling": {"input": [{"type": "message", "role": "user", "content": "How is the weather in Oslo?"}],
                     "tools": [WEATHER]},
    "image input": {"input": [{"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "What is in this picture? One sentence."},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}]}]},
    "multi-turn": {"input": [{"type": "message", "role": "user", "content": "My name is Alice."},
                             {"type": "message", "role": "assistant", "content": "Hello Alice!"},
                             {"type": "message", "role": "user", "content": "What is my name?"}]},
}


@pytest.fixture
def client(rest):
    with httpx.Client(base_url=f"{rest.url}/v1", headers={"authorization": f"Bearer {rest.key}"}, timeout=30) as client:
        yield client


def is_what_was_asked_for(case, response):
    """Beyond the form: it is complete, and has what the case is about."""
    assert response.status == "completed"
    assert response.output
    kinds = [item.type for item in response.output]
    assert ("function_call" if case == "tool calling" else "message") in kinds, kinds
    if case == "tool calling":
        [call] = [item for item in response.output if item.type == "function_call"]
        assert call.name == "get_weather"
        json.loads(call.arguments)
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", CASES)
def test_a_response_keeps_to_the_description(client, case, model):
    answer = client.post("/responses", json=CASES[case] | {"model": model})

    assert answer.status_code == 200, answer.text
    is_what_was_asked_for(case, Response.model_validate_json(answer.content))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_every_event_keeps_to_the_description(client, case, background, model):
    asked = CASES[case] | {"model": model, "stream": True} | ({"background": True} if background else {})
    answer = client.post("/responses", json=asked)

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.splitlines() if line and not line.startswith(":")]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    events = [EVENTS[name].model_validate_json(line.removeprefix("data: ")) for name, line in zip(names, lines[1::2])]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert names[-1] == "response.completed"
    is_what_was_asked_for(case, events[-1].response)
