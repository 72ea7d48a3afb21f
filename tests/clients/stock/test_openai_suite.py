"""The API tests of OpenAI's own Python SDK, as its source distribution carries them, against the gateway with the scripted provider
behind it as the mock that they ask for. What cannot pass is listed with its reason; one that passes all the same is news."""

import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as xml

import openai
import pytest
from processes import REPOSITORY, Gateway

FILES = ["chat/test_completions.py", "test_completions.py", "test_embeddings.py", "test_models.py", "test_moderations.py",
         "test_images.py", "test_responses.py", "responses/test_input_items.py", "responses/test_input_tokens.py",
         "audio/test_speech.py", "audio/test_transcriptions.py", "audio/test_translations.py"]
MODELS = ["gpt-6-astra", "gpt-3.5-turbo-instruct", "text-embedding-3-small", "omni-moderation-2024-09-26",
          "omni-moderation-latest", "gpt-image-1.5", "gpt-image-2.5-flare", "gpt-image-1", "gpt-4o-mini",
          "gpt-4o-transcribe", "whisper-1", "tts-1"]

# Tests by their names, and why they cannot pass. The first that fits counts.
CANNOT = [
    (r"chat.*(retrieve|update|list|delete)", "chat completions are not stored: OpenAI's dashboard route"),
    (r"chat.*create_with_all_params", "asks for no tokens at all, which OpenAI refuses as well"),
    (r"test_models.*delete", "models of the configuration are not deleted by callers"),
    (r"test_images.*variation", "variations are gone with the models that made them"),
    (r"test_images.*generate_with_all_params", "the newest image models refuse response_format, and so does the mock"),
    (r"test_images.*(generate|_edit_overload)", "names no model: which one is asked here is the operator's word"),
    (r"test_embeddings.*(raw|streaming)_response", "the SDK asks for base64 and does not read it in raw answers"),
    (r"test_embeddings.*test_method_create\[(strict|aiohttp)\]", "the SDK judges base64, which it asked for, before it reads it"),
    (r"test_responses.*create_with_all_params", "conversations have no ids of their own: `conversation` is refused by name"),
    (r"test_responses.*create_overload", "names no model: which one answers here is the operator's word"),
    (r"compact", "conversations are not compacted: whoever wants less sends less"),
    (r"test_input_items.*with_all_params", "asks for no items at all, which OpenAI refuses as well"),
    (r"test_input_tokens.*with_all_params", "conversations have no ids of their own: `conversation` is refused by name"),
    (r"test_input_tokens.*_count", "names no model: which one counts here is the operator's word"),
]

# Ids that their tests read, end and delete, which the mock that they expect makes up.
RESPONSES = ["resp_677efb5139a88190b512bc3fef8e535d", "response_id"]

# Beside their own fixtures: before each test the responses are there, begun in the background and ended.
FIXTURE = '''
import contextlib as _contextlib
import fcntl as _fcntl
import json as _json
import urllib.request as _requests


def _text(number, text):
    data = text if isinstance(text, bytes) else text.encode()
    length, size = b"", len(data)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def _ask(rpc, message):
    url = BASE.removesuffix("/v1") + "/tollgate.v1.ResponseService/" + rpc
    headers = {"content-type": "application/grpc-web+proto", "authorization": f"Bearer {api_key}"}
    body = b"\\0" + len(message).to_bytes(4, "big") + message
    with _requests.urlopen(_requests.Request(url, body, headers), timeout=10) as answer:
        answer.read()


@_contextlib.contextmanager
def _alone():
    # All processes of the run have the same ids.
    with open(__file__) as lock:
        _fcntl.flock(lock, _fcntl.LOCK_EX)
        yield


@pytest.fixture(autouse=True)
def _responses(request):
    if "responses" not in request.node.nodeid:
        yield
        return
    with _alone():
        for id in RESPONSES:
            shown = _json.dumps(SHOWN | {"id": id})
            item = _json.dumps({"role": "user", "content": "Say hello"})
            _ask("DeleteResponse", _text(1, id))
            begun = _text(1, id) + _text(3, item) + _text(4, shown)
            _ask("BeginResponse", _text(1, begun))
            _ask("AdvanceResponse", _text(1, id) + _text(3, shown) + bytes([5 << 3, 1]))
        yield
'''
SHOWN = {"object": "response", "created_at": 1, "status": "completed", "model": "gpt", "output": [], "tools": [],
         "tool_choice": "auto", "parallel_tool_calls": True, "background": True}


@pytest.fixture(scope="session")
def suite(tmp_path_factory):
    """The tests of the very version that is installed."""
    place = tmp_path_factory.mktemp("openai")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-binary", ":all:", "--no-build-isolation", f"openai=={openai.__version__}", "--dest", str(place)]
    subprocess.run(command, check=True, timeout=300)
    [archive] = place.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(place, filter="data")
    return place / f"openai-{openai.__version__}"


@pytest.fixture(scope="session")
def many_models(tmp_path_factory, provider):
    class WithTheirModels(Gateway):
        def _configuration(self, data_dir, base_url):
            configuration = super()._configuration(data_dir, base_url)
            deployment = {"provider": "scripted", "model": "upstream", "price": {"input": "1", "output": "1"},
                          "max_output_tokens": 4096}
            configuration["models"] += [{"name": name, "deployments": [deployment]} for name in MODELS]
            return configuration

    with WithTheirModels(tmp_path_factory.mktemp("gateway"), provider) as gateway:
        yield gateway


def why_not(name):
    return next((why for pattern, why in CANNOT if re.search(pattern, name)), None)


def test_the_sdks_own_api_tests(suite, many_models, tmp_path):
    conftest = suite / "tests" / "conftest.py"
    # The only thing that their client cannot be told from outside.
    theirs = re.sub(r'\napi_key = ".*"', f'\napi_key = "{many_models.key}"', conftest.read_text())
    seeds = {"BASE": f"{many_models.url}/v1", "RESPONSES": RESPONSES, "SHOWN": SHOWN}
    conftest.write_text(theirs + "".join(f"\n{name} = {value!r}" for name, value in seeds.items()) + FIXTURE)
    report = tmp_path / "report.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:socket", "-p", "no:codspeed", "-p", "no:benchmark",
         "-p", "no:recording", f"--junitxml={report}", *[f"tests/api_resources/{file}" for file in FILES]],
        cwd=suite, env=os.environ | {"TEST_API_BASE_URL": f"{many_models.url}/v1"},
        stdout=subprocess.DEVNULL, timeout=600,
    )
    wrong, passed = [], 0
    for case in xml.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        failure = case.find("failure") if case.find("failure") is not None else case.find("error")
        if failure is None:
            passed += case.find("skipped") is None
        elif why_not(name) is None:
            wrong.append(f"{name}: {failure.get('message', '')[:200]}")
    assert not wrong, "\n".join(wrong)
    assert passed >= 240, passed
