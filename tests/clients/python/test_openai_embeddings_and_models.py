"""The official OpenAI SDK for Python: embeddings and the list of models."""

import math

import openai
import pytest


def test_a_text_becomes_a_vector(client):
    # Without an encoding the SDK asks for base64 and decodes it by itself.
    answer = client.embeddings.create(model="embed", input="a toll gate")

    [entry] = answer.data
    assert len(entry.embedding) == 64
    assert math.isclose(sum(part * part for part in entry.embedding), 1.0, rel_tol=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 3


def test_floats_and_base64_say_the_same(client):
    floats = client.embeddings.create(model="embed", input="same text", encoding_format="float").data[0].embedding
    decoded = client.embeddings.create(model="embed", input="same text").data[0].embedding

    assert floats == pytest.approx(decoded, abs=1e-6)


def test_vectors_come_in_the_order_of_the_texts(client):
    texts = ["first", "second", "third"]
    together = client.embeddings.create(model="embed", input=texts)
    alone = [client.embeddings.create(model="embed", input=text).data[0].embedding for text in texts]

    assert [entry.index for entry in together.data] == [0, 1, 2]
    assert [entry.embedding for entry in together.data] == alone


def test_tokens_and_dimensions_are_passed_on(client):
    answer = client.embeddings.create(model="embed", input=[[1, 2, 3], [4, 5]], dimensions=8)

    assert [len(entry.embedding) for entry in answer.data] == [8, 8]
    assert answer.usage.prompt_tokens == 5


def test_models_are_listed(client):
    models = client.models.list()

    assert [model.id for model in models] == ["claude", "embed", "gpt", "llama", "native"]
    assert all(model.object == "model" for model in models)


def test_one_model_is_retrieved(client):
    assert client.models.retrieve("gpt").id == "gpt"


def test_a_key_sees_only_its_models(rest, new_key):
    secret = new_key("claude").secret
    client = openai.OpenAI(base_url=f"{rest.url}/v1", api_key=secret)

    assert [model.id for model in client.models.list()] == ["claude"]
    with pytest.raises(openai.PermissionDeniedError):
        client.models.retrieve("gpt")
