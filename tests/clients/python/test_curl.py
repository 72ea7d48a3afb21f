"""Plain curl: the first call of the README, and what somebody without any library sees."""

import json
import subprocess

import pytest

HELLO = {"model": "gpt", "messages": [{"role": "user", "content": 'Say hello [[script {"text": "Hello there"}]]'}]}


def curl(*arguments):
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "20", *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def post(rest, path, body, *arguments):
    return curl(
        f"{rest.url}{path}", "-H", f"authorization: Bearer {rest.key}", "-H", "content-type: application/json",
        "-d", json.dumps(body), *arguments,
    )


def test_the_first_call_of_the_readme_streams(rest):
    output = post(rest, "/v1/chat/completions", HELLO | {"stream": True}, "--no-buffer")

    events = [line.removeprefix("data: ") for line in output.splitlines() if line]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]]
    assert "".join(deltas) == "Hello there"


def test_events_are_written_when_they_happen(rest):
    # The provider never finishes this answer.
    script = '[[script {"text": "one two three four", "stall_after_chunks": 2}]]'
    body = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": script}]}
    command = ["curl", "--silent", "--no-buffer", f"{rest.url}/v1/chat/completions", "-d", json.dumps(body)]
    command += ["-H", f"authorization: Bearer {rest.key}", "-H", "content-type: application/json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        seen = [line for line in (child.stdout.readline() for _ in range(6)) if line.strip()]
        child.kill()

    deltas = [json.loads(line.removeprefix("data: "))["choices"][0]["delta"] for line in seen]
    assert [delta["content"] for delta in deltas] == ["", "one", " two"]


def test_the_first_call_comes_whole_without_stream(rest):
    answer = json.loads(post(rest, "/v1/chat/completions", HELLO))

    assert answer["choices"][0]["message"]["content"] == "Hello there"


def test_readiness_and_liveness_need_no_key(rest):
    for route in ("liveness", "readiness"):
        status = curl("-o", "/dev/null", "-w", "%{http_code}", f"{rest.url}/health/{route}")
        assert status == "200", route


def refusal(rest, path, body, *arguments, key=None):
    """Status and `error` object of a call that must be refused in JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    headers = ["-H", f"authorization: Bearer {key or rest.key}", "-H", "content-type: application/json"]
    output = curl(rest.url + path, *headers, "-d", text, "-w", "\n%{http_code} %{content_type}", *arguments)
    body, _, verdict = output.rpartition("\n")
    status, _, kind = verdict.partition(" ")
    assert kind.startswith("application/json")
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(status), error["code"]


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", '{"model": 7}', '{"model": "gpt"}', r'"\ud800"', pytest.param("[" * 100_000, id="deep")],
)
def test_nonsense_is_a_bad_request(rest, body):
    assert refusal(rest, "/v1/chat/completions", body)[0] == 400


def test_refusals_have_openais_shape(rest):
    assert refusal(rest, "/v1/chat/completions", HELLO | {"model": "nobody"}) == (404, "model_not_found")
    assert refusal(rest, "/v1/chat/completions", HELLO, key="wrong") == (401, "invalid_api_key")
    assert refusal(rest, "/v1/chat/completions", HELLO, "-X", "DELETE") == (405, "method_not_allowed")
    assert refusal(rest, "/v1/no-such-route", HELLO) == (404, "unknown_url")
