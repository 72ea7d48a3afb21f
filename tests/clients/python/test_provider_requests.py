"""What providers would receive, judged by the types of their own libraries: one request in OpenAI's form, through the gateway, to each kind.

Bedrock's is judged by botocore, in `test_bedrock_signing.py`.
"""

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from cohere.types import ChatMessageV2, ToolV2
from google.genai import types as google
from mistralai.client.models import ChatCompletionStreamRequest
from ollama._types import ChatRequest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter

from played import FIXTURES
from processes import UPSTREAM_KEY, Gateway

REQUEST = json.loads((FIXTURES / "request-mapping.json").read_text())["openai_request"]


def check_google(body):
    for content in [*body["contents"], body["systemInstruction"]]:
        google.Content.model_validate(content)
    for tool in body["tools"]:
        google.Tool.model_validate(tool)
    google.ToolConfig.model_validate(body["toolConfig"])
    google.GenerationConfig.model_validate(body["generationConfig"])


def check_cohere(body):
    for message in body["messages"]:
        TypeAdapter(ChatMessageV2).validate_python(message)
    for tool in body["tools"]:
        TypeAdapter(ToolV2).validate_python(tool)


def by(kind_of_parameters):
    """Fails where a member is missing, or is not of its type."""
    return TypeAdapter(kind_of_parameters).validate_python


# The model matters where a kind goes by its name.
JUDGES = {
    "openai": ("gpt-4o", by(CompletionCreateParamsStreaming)),
    "azure": ("gpt-4o", by(CompletionCreateParamsStreaming)),
    "groq": ("m", by(CompletionCreateParamsStreaming)),
    "openai_responses": ("gpt-4o", by(ResponseCreateParamsStreaming)),
    "anthropic": ("claude-sonnet-4-5", by(MessageCreateParamsStreaming)),
    "gemini": ("gemini-2.5-flash", check_google),
    "vertex": ("gemini-2.5-flash", check_google),
    "mistral": ("m", ChatCompletionStreamRequest.model_validate),
    "cohere": ("m", check_cohere),
    "ollama": ("m", ChatRequest.model_validate),
}


class Recorder:
    """Remembers what is sent to each kind, and refuses it. It ends with the block."""

    def __enter__(self):
        bodies = self.bodies = {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                bodies[self.path.split("/")[1]] = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(400)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()


class GatewayOfKinds(Gateway):
    """The gateway with a provider and a model for each kind."""

    def _configuration(self, data_dir, base_url):
        def model(kind, name):
            price = {"input": "1", "output": "1"}
            return {"name": kind, "retries": 0, "deployments": [{"provider": kind, "model": name, "price": price}]}

        providers = {
            kind: {"kind": kind, "base_url": f"{base_url}/{kind}", "api_key": UPSTREAM_KEY} for kind in JUDGES
        }
        return {
            "data_dir": str(data_dir),
            "drop_params": True,
            "providers": providers,
            "models": [model(kind, name) for kind, (name, _) in JUDGES.items()],
            "keys": [{"name": "tests", "secret": self.key, "models": ["*"]}],
        }


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """The bodies that arrived, by kind."""
    with Recorder() as recorder, GatewayOfKinds(tmp_path_factory.mktemp("kinds"), recorder) as gateway:
        for kind in JUDGES:
            body = json.dumps(REQUEST | {"model": kind}).encode()
            headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
            call = urllib.request.Request(f"{gateway.url}/v1/chat/completions", body, headers)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(call)
            assert refused.value.code == 400, refused.value.read()
        yield recorder.bodies


@pytest.mark.parametrize("kind", JUDGES)
def test_the_request_is_one_of_the_providers_own(sent, kind):
    judge = JUDGES[kind][1]
    judge(sent[kind])


@pytest.mark.parametrize("kind", JUDGES)
def test_a_judge_notices_what_is_wrong(sent, kind):
    def spoiled(value):
        """Every list becomes a number."""
        if isinstance(value, dict):
            return {name: spoiled(member) for name, member in value.items()}
        return 7 if isinstance(value, list) else value

    with pytest.raises((ValueError, TypeError)):
        JUDGES[kind][1](spoiled(sent[kind]))
