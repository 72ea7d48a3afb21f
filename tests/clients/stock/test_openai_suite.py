"""The API tests of OpenAI's own Python SDK, as its source distribution carries them, against the gateway with the scripted provider
behind it as the mock that they ask for. Their own mock answers whatever it is sent; where a call could be answered by nobody else, the
unpacked copy is amended, as `AMENDED` says. What cannot pass all the same is listed with its reason: a test that passes although it is
listed fails the run, and so does a reason that no test needs."""

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

# Ids that their tests read, end and delete, which the mock that they expect makes up.
RESPONSES = ["resp_677efb5139a88190b512bc3fef8e535d", "response_id"]

# What stands otherwise in the unpacked copy, by file.
AMENDED = [
    # A response without model and input is only a prompt's that OpenAI keeps.
    ("test_responses.py", r"(responses(?:\.with_\w+)?\.create\()(?=\)|\s+stream=True,\s+\))",
     r'\1model="gpt-6-astra", input="string", '),
    ("responses/test_input_tokens.py", r"(\.count\()(?=\))", r'\1model="gpt-6-astra", input="string"'),
    # OpenAI refuses `conversation` beside `previous_response_id`, which is the first of `RESPONSES` here. All parameters at once, such as
    # a prompt that OpenAI keeps, are heeded by a provider of the same dialect alone.
    ("test_responses.py", r'\s+conversation="string",', ""),
    ("test_responses.py", r'"previous_response_id"', f'"{RESPONSES[0]}"'),
    ("test_responses.py", r'(create\([^)]*)model="gpt-6-astra",\n', r'\1model="native",\n'),
    ("responses/test_input_tokens.py", r'\s+conversation="string",', ""),
    ("responses/test_input_tokens.py", r'"resp_123"', f'"{RESPONSES[0]}"'),
    ("responses/test_input_tokens.py", r'model="model"', 'model="gpt-6-astra"'),
    # An answer of no tokens, a page of no items and what comes behind an item that is not there are refused, by OpenAI as well.
    ("chat/test_completions.py", r"(max_(?:completion_)?tokens)=0", r"\1=16"),
    ("responses/test_input_items.py", r'\s+after="after",|limit=0,', ""),
    # The image models that took it are gone, and the scripted provider refuses it as the others do.
    ("test_images.py", r'\s+response_format="url",', ""),
    # Asked for nothing the SDK asks for base64, which it does not read in raw answers.
    ("test_embeddings.py", r'(with_\w+_response\.create\(\s+)', r'\1encoding_format="float", '),
    # Speech is asked of a mock inside the process, which `FIXTURE` takes away; it cannot stand before every client.
    ("../conftest.py", r'if "respx2_mock" not in item.fixturenames:', "if True:"),
]

# Tests by their names, and why they cannot pass. The first that fits counts.
CANNOT = [
    (r"chat.*_(retrieve|update|list|delete)", "chat completions are not stored: OpenAI's dashboard route"),
    (r"test_models.*_delete", "models of the configuration are not deleted by callers"),
    (r"test_images.*variation", "variations are gone with the models that made them"),
    (r"test_embeddings.*test_method_create\[(strict|aiohttp)\]", "the SDK judges base64, which it asked for, before it reads it"),
    (r"test_responses.*compact", "conversations are not compacted: whoever wants less sends less"),
    (r"test_speech.*test_method_create", "it wants JSON where sound comes: the words of the mock that it brings"),
]

# Beside their own fixtures: speech is asked of the gateway, not of a mock in its place, and before each test the responses are there,
# begun in the background and ended.
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


@pytest.fixture
def respx2_mock():
    class _PassesOn:
        def post(self, path):
            return self

        def mock(self, **answer):
            return self

    return _PassesOn()


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
    # What the SDK itself refuses, before it asks anybody.
    if "test_path_params" in name:
        return None
    return next((why for pattern, why in CANNOT if re.search(pattern, name)), None)


def amend(suite):
    for file, pattern, instead in AMENDED:
        place = suite / "tests" / "api_resources" / file
        text, found = re.subn(pattern, instead, place.read_text())
        assert found, f"{file} has no {pattern} any more"
        place.write_text(text)


def test_the_sdks_own_api_tests(suite, many_models, tmp_path):
    amend(suite)
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
    wrong, passed, unused = [], 0, {why for _, why in CANNOT}
    for case in xml.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        why, failure = why_not(name), case.find("failure")
        failure = failure if failure is not None else case.find("error")
        if failure is None and case.find("skipped") is None:
            passed += 1
            if why:
                wrong.append(f"{name} passes, although {why}")
        elif failure is not None and why is None:
            wrong.append(f"{name}: {failure.get('message', '')[:200]}")
        elif failure is not None:
            unused.discard(why)
    assert not wrong, "\n".join(wrong)
    assert not unused, unused
    assert passed >= 480, passed
