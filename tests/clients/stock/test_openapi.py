"""Calls made up from the description of the REST surface: none is answered by a failure of the gateway's, every answer is of the form
that the description promises, and none of the operations is refused whatever it is asked. The description is held against the types of
OpenAI's SDK, which OpenAI generates from its own."""

import os
import re
from collections import Counter
from typing import get_args
from zlib import crc32

import httpx
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from openai.types import (
    batch_create_params,
    batch_list_params,
    completion_create_params,
    embedding_create_params,
    file_create_params,
    file_list_params,
    image_edit_params,
    image_generate_params,
    moderation_create_params,
)
from openai.types.audio import speech_create_params, transcription_create_params, translation_create_params
from openai.types.chat import completion_create_params as chat_completion_create_params
from openai.types.responses import (
    input_item_list_params,
    input_token_count_params,
    response_create_params,
    response_retrieve_params,
)
from pydantic import TypeAdapter
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from typing_extensions import Required, get_origin, get_type_hints

from processes import REPOSITORY, UPSTREAM_KEY, Gateway

# Each operation is called so often with made-up values, besides the edges of every member; all of them together at least so often.
EXAMPLES, CALLS = 75, 2000
BATCH = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt","messages":[{"role":"user","content":"Hi"}]}}\n'

DESCRIPTION = yaml.safe_load((REPOSITORY / "docs" / "openapi.yaml").read_text())
schema = schemathesis.openapi.from_dict(DESCRIPTION)
OPERATIONS = {
    operation["operationId"]: operation | {"path": path, "method": method}
    for path, item in DESCRIPTION["paths"].items() for method, operation in item.items() if method != "parameters"
}


class Described(Gateway):
    """Also has the models that the description names and other tests do without."""

    def _configuration(self, data_dir, base_url):
        configuration = super()._configuration(data_dir, base_url)
        cohere = {"kind": "cohere", "base_url": base_url.removesuffix("/v1"), "api_key": UPSTREAM_KEY}
        ranks = {"provider": "ranker", "model": "upstream", "price": {"per_query": "0.002"}}
        other = {"provider": "scripted", "model": "upstream", "price": {"input": "1", "output": "1"}}
        models = {"rank": ranks, "omni-moderation-latest": other, "gpt-image-1.5": other}
        configuration["providers"]["ranker"] = cohere
        configuration["models"] += [{"name": name, "deployments": [by]} for name, by in models.items()]
        return configuration


class Things:
    """What paths and bodies name by an id: made anew for each call, for some of them end it."""

    def __init__(self, gateway):
        self.http = httpx.Client(base_url=f"{gateway.url}/v1", headers={"authorization": f"Bearer {gateway.key}"})

    def _made(self, route, **asked):
        answer = self.http.post(route, **asked)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def response_id(self):
        return self._made("/responses", json={"model": "gpt", "input": "Hello", "background": True})

    def file_id(self):
        return self._made("/files", data={"purpose": "batch", "model": "gpt"}, files={"file": ("lines.jsonl", BATCH)})

    def batch_id(self):
        asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return self._made("/batches", json=asked | {"input_file_id": self.file_id()})


NAMED = {"model": lambda _: "gpt", "response_id": Things.response_id, "file_id": Things.file_id, "input_file_id": Things.file_id,
         "batch_id": Things.batch_id}


@pytest.fixture(scope="session")
def described(tmp_path_factory, provider):
    with Described(tmp_path_factory.mktemp("gateway"), provider) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def things(described):
    return Things(described)


@pytest.fixture(scope="session")
def tally(tmp_path_factory):
    """A folder that all processes of one run share: how often each operation was called."""
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "calls"
    place.mkdir(exist_ok=True)
    return place


@pytest.fixture
def answers(request, tally):
    """The statuses of one operation."""
    statuses = []
    yield statuses
    assert any(200 <= status < 300 for status in statuses), f"refused whatever was asked: {Counter(statuses)}"
    mine = tally / re.sub(r"\W+", "-", request.node.name)
    mine.write_text(str(len(statuses)))
    mine.rename(mine.with_suffix(".calls"))
    # Whoever ends last sees them all.
    calls = [int(file.read_text()) for file in tally.glob("*.calls")]
    assert len(calls) < len(OPERATIONS) or sum(calls) >= CALLS, calls


def name_what_there_is(case, things):
    """Of calls that name something every second one names what there is; which, is said by the call itself, so that it can be had again."""
    asked = case.path_parameters or (case.body if case.path == "/batches" and isinstance(case.body, dict) else {})
    if crc32(repr(asked).encode()) % 2:
        return
    for name in asked.keys() & NAMED.keys():
        asked[name] = NAMED[name](things)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_call_is_answered_as_described(case, described, things, answers):
    name_what_there_is(case, things)
    answer = case.call_and_validate(
        base_url=f"{described.url}/v1",
        headers={"authorization": f"Bearer {described.key}"},
        timeout=10,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
    answers.append(answer.status_code)


# What OpenAI's SDK sends: bodies, and what stands in queries.
THEIRS = {
    "createChatCompletion": chat_completion_create_params.CompletionCreateParams,
    "createCompletion": completion_create_params.CompletionCreateParams,
    "createEmbedding": embedding_create_params.EmbeddingCreateParams,
    "createModeration": moderation_create_params.ModerationCreateParams,
    "createImage": image_generate_params.ImageGenerateParams,
    "createImageEdit": image_edit_params.ImageEditParams,
    "createSpeech": speech_create_params.SpeechCreateParams,
    "createTranscription": transcription_create_params.TranscriptionCreateParams,
    "createTranslation": translation_create_params.TranslationCreateParams,
    "createResponse": response_create_params.ResponseCreateParams,
    "countResponseTokens": input_token_count_params.InputTokenCountParams,
    "getResponse": response_retrieve_params.ResponseRetrieveParams,
    "listInputItems": input_item_list_params.InputItemListParams,
    "createFile": file_create_params.FileCreateParams,
    "listFiles": file_list_params.FileListParams,
    "createBatch": batch_create_params.BatchCreateParams,
    "listBatches": batch_list_params.BatchListParams,
}
# What the description has besides, and asks for besides; it says so itself.
MORE = {"createFile": {"model"}}
ASKED_FOR = {"createResponse": {"model", "input"}, "countResponseTokens": {"model", "input"}}


def plain(node):
    """A schema without references and `allOf`, whose objects have no members but those that they name."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        found = DESCRIPTION
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return plain(found)
    node = {key: plain(value) for key, value in node.items()}
    for part in node.pop("allOf", []):
        node = part | node | {
            "properties": part.get("properties", {}) | node.get("properties", {}),
            "required": part.get("required", []) + node.get("required", []),
        }
    return closed(node)


def closed(node):
    return node | {"additionalProperties": False} if isinstance(node.get("properties"), dict) else node


def all_closed(node):
    if isinstance(node, list):
        return [all_closed(item) for item in node]
    return closed({key: all_closed(value) for key, value in node.items()}) if isinstance(node, dict) else node


def our_members(operation):
    """Names of members, and of those that must be there."""
    if "requestBody" not in operation:
        return {one["name"] for one in plain(operation.get("parameters", [])) if one["in"] == "query"}, set()
    [content] = operation["requestBody"]["content"].values()
    body = plain(content["schema"])
    return {name.partition("[")[0] for name in body["properties"]}, set(body["required"])


def their_members(kind):
    kinds = [get_type_hints(one, include_extras=True) for one in get_args(kind) or [kind]]
    required = [{name for name, hint in hints.items() if get_origin(hint) is Required} for hints in kinds]
    return set().union(*kinds), set.intersection(*required)


@pytest.mark.parametrize("name", THEIRS)
def test_members_are_those_of_openais_sdk(name):
    (ours, asked_for), (theirs, required) = our_members(OPERATIONS[name]), their_members(THEIRS[name])
    assert ours - theirs == MORE.get(name, set())
    assert asked_for - required == ASKED_FOR.get(name, set())
    assert required <= asked_for


@pytest.mark.parametrize("name", [name for name in THEIRS if "application/json" in str(OPERATIONS[name].get("requestBody"))])
def test_openais_sdk_would_send_what_is_made_up(name):
    operation, path = OPERATIONS[name], OPERATIONS[name]["path"]
    body = plain(operation["requestBody"]["content"]["application/json"]["schema"])
    alone = {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}, "responses": {}}
    made_up = schemathesis.openapi.from_dict({"openapi": "3.1.0", "info": DESCRIPTION["info"], "paths": {path: {"post": alone}}})
    accepts = Draft202012Validator(all_closed(TypeAdapter(THEIRS[name]).json_schema()))

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(made_up[path]["POST"].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def is_sent(case):
        error = best_match(accepts.iter_errors(case.body))
        assert error is None, f"{case.body}: {[each.message[:200] for each in [error, *error.context]]}"

    is_sent()
