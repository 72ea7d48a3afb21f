"""The official OpenAI SDK for Python: files and batches, streamed through, paid for, and each key's own."""

import json

import openai
import pytest

from processes import eventually

CHAT = "/v1/chat/completions"


@pytest.fixture
def lines(word):
    """The input of a batch whose lines hold the test's own word."""

    def make(count, model="gpt"):
        messages = [{"role": "user", "content": word}]
        body = {"model": model, "messages": messages, "max_completion_tokens": 50}
        requests = [{"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": body} for n in range(count)]
        return "\n".join(map(json.dumps, requests)).encode()

    return make


def begin(client, lines, count=2):
    file = client.files.create(file=("input.jsonl", lines(count)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"what": "nightly"}
    )


def test_a_file_is_uploaded_found_read_and_deleted(client):
    content = "\N{GRINNING FACE} of any bytes\r\n".encode() * 10_000
    file = client.files.create(file=("notes.txt", content), purpose="user_data")

    assert (file.object, file.filename, file.bytes, file.purpose) == ("file", "notes.txt", len(content), "user_data")
    assert client.files.retrieve(file.id) == file
    assert file.id in [found.id for found in client.files.list(purpose="user_data")]
    assert client.files.content(file.id).read() == content
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_lists_go_on_over_their_pages(client):
    made = [client.files.create(file=(f"{n}.txt", b"x"), purpose="vision").id for n in range(3)]

    found = [file.id for file in client.files.list(purpose="vision", limit=1, order="asc")]
    assert [id for id in found if id in made] == made


def test_a_file_may_be_deleted_later_by_its_provider(client):
    expiry = {"anchor": "created_at", "seconds": 3_600}
    file = client.files.create(file=("notes.txt", b"x"), purpose="user_data", expires_after=expiry)

    assert file.expires_at == file.created_at + 3_600


def test_a_batch_is_answered(client, provider, lines, word):
    batch = begin(client, lines)
    assert (batch.object, batch.endpoint, batch.metadata) == ("batch", CHAT, {"what": "nightly"})
    assert client.batches.retrieve(batch.id).status == "in_progress"

    provider.end_batches(word, "completed")
    ended = client.batches.retrieve(batch.id)
    assert (ended.status, ended.request_counts.completed) == ("completed", 2)
    output = client.files.content(ended.output_file_id).text
    answers = [json.loads(line) for line in output.splitlines()]
    assert [answer["custom_id"] for answer in answers] == ["r0", "r1"]
    assert all(answer["response"]["body"]["choices"] for answer in answers)
    assert client.files.retrieve(ended.output_file_id).purpose == "batch_output"
    assert batch.id in [found.id for found in client.batches.list(limit=100)]


def test_a_batch_is_cancelled(client, provider, lines, word):
    batch = begin(client, lines)
    assert client.batches.cancel(batch.id).status == "cancelling"

    provider.end_batches(word, "cancelled", answered=1)
    ended = eventually("it has ended", lambda: client.batches.retrieve(batch.id).output_file_id)
    assert len(client.files.content(ended).text.splitlines()) == 1


def test_what_is_wrong_with_a_line_is_named(client, lines):
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=("input.jsonl", lines(2) + b"\n{}"), purpose="batch")
    assert refused.value.param == "file[3].custom_id"


def test_another_key_sees_nothing_of_it(client, rest, lines, new_key):
    batch = begin(client, lines)
    with openai.OpenAI(base_url=f"{rest.url}/v1", api_key=new_key().secret) as other:
        for ask in [
            lambda: other.batches.retrieve(batch.id),
            lambda: other.batches.cancel(batch.id),
            lambda: other.files.retrieve(batch.input_file_id),
            lambda: other.files.content(batch.input_file_id),
            lambda: other.files.delete(batch.input_file_id),
        ]:
            with pytest.raises(openai.NotFoundError):
                ask()
        assert (other.files.list().data, other.batches.list().data) == ([], [])


def test_a_budget_that_cannot_pay_for_a_batch_refuses_it(rest, lines, new_key):
    secret = new_key(budget_nano_usd=100).secret
    with openai.OpenAI(base_url=f"{rest.url}/v1", api_key=secret, max_retries=0) as poor:
        with pytest.raises(openai.RateLimitError) as refused:
            begin(poor, lines)
    assert refused.value.code == "budget_exceeded"
