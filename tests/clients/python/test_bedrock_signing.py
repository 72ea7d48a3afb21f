"""What Bedrock would receive, judged by AWS's own library: botocore signs it again, and knows every member of the body."""

import json
import threading
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.validate import ParamValidator

from processes import Gateway

REGION = "us-east-1"
KEYS = Credentials("ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEXAMPLETOKEN==")
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Lima."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 14, "outputTokens": 6, "totalTokens": 20},
    "metrics": {"latencyMs": 12},
}


@dataclass
class Arrived:
    """A request as it came over the wire; the path is not decoded."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def authorization(arrived: Arrived, keys: Credentials, region: str) -> str:
    """What botocore would have written for the same request at the same moment, over the same headers."""
    headers = {name.lower(): value for name, value in arrived.headers.items()}
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    request = AWSRequest(
        method=arrived.method,
        url=f"http://{headers['host']}{arrived.path}",
        headers={name: headers[name] for name in signed},
        data=arrived.body,
    )
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(keys, "bedrock", region)
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return (
        f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={';'.join(sorted(signed))}, "
        f"Signature={signature}"
    )


def mistakes(arrived: Arrived) -> str:
    """What the service model of bedrock-runtime finds wrong with a Converse request; empty: nothing."""
    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    _, _, model, operation = arrived.path.split("/")
    assert operation == "converse", arrived.path
    parameters = json.loads(arrived.body) | {"modelId": unquote(model)}
    report = ParamValidator().validate(parameters, service.operation_model("Converse").input_shape)
    return report.generate_report()


def check(arrived: Arrived, keys: Credentials, region: str):
    """Fails unless Bedrock could have taken the request."""
    headers = {name.lower(): value for name, value in arrived.headers.items()}
    # What says where a request goes, when, and for whom, is under the signature.
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"content-type", "host", "x-amz-date"} <= set(signed)
    if keys.token:
        assert headers["x-amz-security-token"] == keys.token
        assert "x-amz-security-token" in signed
    assert headers["authorization"] == authorization(arrived, keys, region)
    assert mistakes(arrived) == ""


class Bedrock:
    """Answers every request alike and remembers it. It ends with the block."""

    def __enter__(self):
        arrived = self.arrived = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                arrived.append(Arrived(self.command, self.path, dict(self.headers), body))
                answer = json.dumps(ANSWER).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class BedrockGateway(Gateway):
    """The gateway, in front of Bedrock."""

    def _configuration(self, data_dir, base_url):
        keys = {
            "access_key_id": KEYS.access_key,
            "secret_access_key": KEYS.secret_key,
            "session_token": KEYS.token,
        }
        claude = {"provider": "bedrock", "model": MODEL, "price": {"input": "3", "output": "15"},
                  "max_output_tokens": 4096, "context_window": 200_000}
        return {
            "data_dir": str(data_dir),
            "providers": {"bedrock": {"kind": "bedrock", "region": REGION, "base_url": base_url, "aws": keys}},
            "models": [{"name": "claude", "deployments": [claude]}],
            "keys": [{"name": "tests", "secret": self.key, "models": ["*"]}],
        }


@pytest.fixture(scope="module")
def bedrock():
    with Bedrock() as bedrock:
        yield bedrock


@pytest.fixture(scope="module")
def bedrock_gateway(tmp_path_factory, bedrock):
    with BedrockGateway(tmp_path_factory.mktemp("bedrock"), bedrock) as gateway:
        yield gateway


def ask(gateway, body):
    request = urllib.request.Request(
        f"{gateway.url}/v1/chat/completions",
        data=json.dumps({"model": "claude"} | body).encode(),
        headers={"authorization": f"Bearer {gateway.key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call_A", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Lima"}'}}
PIXEL = "data:image/png;base64,iVBORw0KGgpmYWtl"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "Za\u017c\u00f3\u0142\u0107 \U0001f5fc"}]},
        {
            "messages": [
                {"role": "system", "content": [
                    {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                ]},
                {"role": "user", "content": [
                    {"type": "text", "text": "Weather here?"},
                    {"type": "image_url", "image_url": {"url": PIXEL}},
                ]},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_A", "content": '{"temp":19}'},
            ],
            "tools": [WEATHER],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "temperature": 0.5,
            "max_completion_tokens": 256,
            "stop": ["END"],
        },
        {
            "messages": [{"role": "user", "content": "Which city?"}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "city", "schema": {"type": "object", "properties": {"city": {"type": "string"}}}},
            },
            "reasoning_effort": "high",
            "service_tier": "flex",
            "metadata": {"team": "maps"},
        },
    ],
    ids=["text", "tools", "schema"],
)
def test_bedrock_could_take_what_it_is_sent(bedrock, bedrock_gateway, body):
    bedrock.arrived.clear()
    answer = ask(bedrock_gateway, body)

    assert answer["choices"][0]["message"]["content"] == "Lima."
    [arrived] = bedrock.arrived
    assert arrived.path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    check(arrived, KEYS, REGION)


def test_the_check_would_find_a_wrong_signature_and_a_wrong_body(bedrock, bedrock_gateway):
    bedrock.arrived.clear()
    ask(bedrock_gateway, {"messages": [{"role": "user", "content": "Hi"}]})
    [arrived] = bedrock.arrived

    for changed in [
        Arrived(arrived.method, arrived.path, arrived.headers, arrived.body + b" "),
        Arrived(arrived.method, arrived.path.replace("%3A", ":"), arrived.headers, arrived.body),
    ]:
        assert authorization(changed, KEYS, REGION) != arrived.headers["authorization"]
    body = json.loads(arrived.body) | {"maxTokens": 5}
    assert "maxTokens" in mistakes(Arrived(arrived.method, arrived.path, arrived.headers, json.dumps(body).encode()))
