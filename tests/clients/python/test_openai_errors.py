"""The official OpenAI SDK for Python: refusals become its own exceptions, and its retries never storm."""

import openai
import pytest

from processes import virtual_key


def say(text):
    return [{"role": "user", "content": text}]


class Counting:
    """A client with the SDK's default retries that counts what it sends."""

    def __init__(self, rest, key):
        self.requests = 0
        transport = openai.DefaultHttpx2Client(event_hooks={"request": [self._count]})
        self.client = openai.OpenAI(base_url=f"{rest.url}/v1", api_key=key, http_client=transport)

    def _count(self, _request):
        self.requests += 1


@pytest.mark.parametrize(
    "make_key",
    [virtual_key, lambda: "tg-0000", lambda: "sk-something-else"],
    ids=["unknown", "malformed", "of another house"],
)
def test_a_wrong_key_is_an_authentication_error(rest, make_key):
    key = make_key()
    counting = Counting(rest, key)
    with pytest.raises(openai.AuthenticationError) as refused:
        counting.client.chat.completions.create(model="gpt", messages=say("hello"))

    assert refused.value.code == "invalid_api_key"
    assert key not in str(refused.value)
    assert counting.requests == 1


def test_an_unknown_model_is_a_not_found_error(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="no-such-model", messages=say("hello"))
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")

    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="no-such-model", input="hello")


@pytest.mark.parametrize(
    ("request_fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": say("hello"), "max_completion_tokens": -1}, "max_completion_tokens"),
        ({"messages": say("hello"), "temperature": "hot"}, "temperature"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ],
)
def test_a_bad_request_names_the_parameter(client, request_fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="gpt", **request_fields)

    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_a_model_outside_the_keys_rights_is_a_permission_error(rest, new_key):
    client = openai.OpenAI(base_url=f"{rest.url}/v1", api_key=new_key("claude").secret)
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(model="gpt", messages=say("hello"))

    assert refused.value.code == "model_not_allowed"


def test_a_refusal_tells_the_id_of_its_record(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="no-such-model", messages=say("hello"))

    assert refused.value.request_id


@pytest.mark.parametrize("streamed", [False, True])
def test_a_cent_affords_three_calls_and_then_the_sdk_gives_up_at_once(rest, provider, new_key, word, streamed):
    # Fifteen dollars per million tokens: 200 tokens of output are 0.3 cent.
    counting = Counting(rest, new_key("claude", budget_nano_usd=10_000_000).secret)

    def call():
        answer = counting.client.chat.completions.create(
            model="claude", max_completion_tokens=200, stream=streamed,
            messages=say(f'{word} [[script {{"output_tokens": 200, "chunks": 10}}]]'),
        )
        return list(answer) if streamed else answer

    for _ in range(3):
        call()
    counting.requests = 0
    with pytest.raises(openai.RateLimitError) as refused:
        call()

    assert (refused.value.code, refused.value.type) == ("budget_exceeded", "insufficient_quota")
    assert counting.requests == 1, "the SDK retries 429 unless it is told that it would be in vain"
    assert len(provider.calls(word)) == 3


def test_a_provider_that_asks_for_patience_is_a_rate_limit_error(rest, word):
    client = openai.OpenAI(base_url=f"{rest.url}/v1", api_key=rest.key, max_retries=0)
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="gpt", messages=say(f'{word} [[script {{"status": 429}}]]'))

    assert refused.value.code == "rate_limit_exceeded"


def test_a_stream_that_breaks_ends_with_an_error_and_never_silently(rest, word):
    client = openai.OpenAI(base_url=f"{rest.url}/v1", api_key=rest.key, max_retries=0)
    script = '[[script {"chunks": 10, "cut_after_chunks": 4}]]'
    text = ""
    with pytest.raises(openai.APIError) as broken:
        for chunk in client.chat.completions.create(model="gpt", messages=say(f"{word} {script}"), stream=True):
            text += chunk.choices[0].delta.content or ""

    assert text, "what arrived before the break was passed on"
    assert broken.value.code == "stream_truncated"


def test_the_same_idempotency_key_is_billed_once(client, provider, word):
    def call():
        headers = {"Idempotency-Key": word}
        return client.chat.completions.create(model="gpt", messages=say(word), extra_headers=headers)

    first, second = call(), call()

    assert first.choices[0].message.content == second.choices[0].message.content
    assert len(provider.calls(word)) == 1
