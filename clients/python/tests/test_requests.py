"""What is sent: requests from short forms, metadata, retries, ids."""

import sys
from datetime import UTC, datetime

import grpc
import pytest

import tollgate
from gateway import Gateway
from tollgate import Client, v1
from tollgate._settings import Settings, parsed
from tollgate.messages import completion_request
from tollgate.times import stamp


def test_a_text_is_a_message_of_the_user():
    request = completion_request("gpt", "hello", {})

    assert request == v1.CompletionRequest(
        model="gpt", messages=[v1.Message(role=v1.ROLE_USER, parts=[v1.Part(text=v1.TextPart(text="hello"))])]
    )


def test_what_is_not_given_is_absent_and_zero_is_not():
    request = completion_request("gpt", "hello", {"temperature": 0.0, "max_output_tokens": 5, "parallel_tool_calls": False})

    assert request.HasField("temperature")
    assert request.HasField("parallel_tool_calls")
    assert not request.HasField("top_p")
    assert not request.HasField("tollgate")
    assert request.max_output_tokens == 5


def test_every_option_finds_its_field():
    request = completion_request(
        "gpt",
        [tollgate.system("be brief"), tollgate.user("what is this?", tollgate.image("https://example.org/a.png", detail="low"))],
        {
            "tools": [tollgate.function("weather", "tells it", {"type": "object"}, strict=True)],
            "tool_choice": "weather",
            "response_format": tollgate.json_schema("city", {"type": "object"}),
            "stop": "END",
            "reasoning_effort": "low",
            "reasoning_budget_tokens": 1024,
            "tags": ["a"],
            "labels": {"ticket": "7"},
            "idempotency_key": "once",
            "max_cost_nano_usd": 0,
            "fallbacks": ["spare"],
            "want_routing": True,
        },
    )

    assert request.tools[0].function == v1.FunctionTool(
        name="weather", description="tells it", parameters_json='{"type": "object"}', strict=True
    )
    assert request.tool_choice.function_name == "weather"
    assert request.response_format.json_schema.strict
    assert (list(request.stop.sequences), request.stop.single) == (["END"], True)
    assert (request.reasoning.effort_native, request.reasoning.budget_tokens) == ("low", 1024)
    wishes = request.tollgate
    assert (list(wishes.tags), dict(wishes.metadata), list(wishes.fallbacks)) == (["a"], {"ticket": "7"}, ["spare"])
    assert (wishes.idempotency_key, wishes.HasField("max_cost_nano_usd"), wishes.want_routing) == ("once", True, True)
    assert request.messages[1].parts[1].image.url == "https://example.org/a.png"


@pytest.mark.parametrize(
    ("word", "mode"),
    [("auto", v1.TOOL_CHOICE_MODE_AUTO), ("none", v1.TOOL_CHOICE_MODE_NONE), ("required", v1.TOOL_CHOICE_MODE_REQUIRED)],
)
def test_modes_of_tool_choice_have_words(word, mode):
    assert completion_request("gpt", "hello", {"tool_choice": word}).tool_choice.mode == mode


def test_a_misspelt_option_is_refused():
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="temprature"):
            client.complete("gpt", "hello", temprature=1)
        with pytest.raises(TypeError, match="tmeout"):
            client.stream("gpt", "hello", tmeout=1)
        with pytest.raises(TypeError, match="temperature"):
            client.keys.get(temperature=1)
        with pytest.raises(TypeError, match="tmeout"):
            client.audit.tail(tmeout=1)


def test_a_whole_request_is_not_changed():
    whole = v1.CompletionRequest(model="gpt")
    request = completion_request(whole, "hello", {"seed": 7})

    assert (request.seed, len(request.messages), len(whole.messages), whole.HasField("seed")) == (7, 1, 0, False)


@pytest.mark.parametrize("arguments", [{}, {"url": "https://a", "data": b"b"}, {"data": b"b"}])
def test_an_image_is_one_thing(arguments):
    with pytest.raises(ValueError, match=r"url|media_type"):
        tollgate.image(**arguments)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("http://127.0.0.1:4000", ("127.0.0.1:4000", False)),
        ("https://gate.example.org", ("gate.example.org:443", True)),
        ("https://[::1]:7/", ("[::1]:7", True)),
    ],
)
def test_an_address_says_host_port_and_whether_tls(address, target):
    assert parsed(address) == target


@pytest.mark.parametrize("address", ["127.0.0.1:4000", "gate.example.org", "grpc://a:1", "https://a/v1", "http://a:port"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError):  # noqa: PT011
        parsed(address)


def test_the_environment_says_what_the_program_does_not(monkeypatch):
    monkeypatch.setenv("TOLLGATE_ADDRESS", "https://gate.example.org:7")
    monkeypatch.setenv("TOLLGATE_API_KEY", "tg-secret")
    settings = Settings.read(None, None, 5, None, None, None)

    assert (settings.target, settings.secure, settings.key) == ("gate.example.org:7", True, "tg-secret")
    assert "tg-secret" not in repr(settings)


def test_certificates_need_tls():
    with pytest.raises(ValueError, match="https"):
        Client("http://127.0.0.1:1", root_certificates=b"pem")
    with pytest.raises(ValueError, match="go together"):
        Client("https://127.0.0.1:1", certificate=b"pem")


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        stamp(datetime(2026, 1, 1))
    assert stamp(datetime(2026, 1, 1, tzinfo=UTC)).seconds == 1767225600


def lists(pages):
    """Answers ListKeys with so many pages of two keys."""

    def answer(request, _context):
        at = int(v1.ListKeysRequest.FromString(request).page_token or 0)
        keys = [v1.Key(id=f"key_{at}_{n}") for n in range(2)]
        yield v1.ListKeysResponse(keys=keys, next_page_token=str(at + 1) if at + 1 < pages else "")

    return answer


def test_a_list_goes_on_over_pages_and_asks_for_no_more_than_is_read():
    with Gateway({"ListKeys": lists(3)}) as gateway, Client(gateway.address, "tg-x") as client:
        assert next(client.keys.list()).id == "key_0_0"
        assert len(gateway.seen) == 1
        assert [key.id for key in client.keys.list(page_size=2)] == [f"key_{page}_{n}" for page in range(3) for n in range(2)]


def test_key_and_trace_context_go_along():
    with Gateway({"GetKey": lambda *_: iter([v1.GetKeyResponse()])}) as gateway, Client(gateway.address, "tg-x") as client:
        client.keys.get(traceparent="00-aa-bb-01", metadata=[("x-more", "1")])

    [(_, metadata, _)] = gateway.seen
    assert (metadata["authorization"], metadata["traceparent"], metadata["x-more"]) == ("Bearer tg-x", "00-aa-bb-01", "1")
    assert metadata["user-agent"].startswith(f"tollgate-python/{tollgate.__version__}")


@pytest.mark.skipif("opentelemetry" not in sys.modules, reason="OpenTelemetry is optional")
def test_opentelemetrys_context_goes_along():
    from opentelemetry import context, trace

    span = trace.NonRecordingSpan(trace.SpanContext(0xAB, 0xCD, is_remote=False, trace_flags=trace.TraceFlags(1)))
    with Gateway({"GetKey": lambda *_: iter([v1.GetKeyResponse()])}) as gateway, Client(gateway.address, "tg-x") as client:
        token = context.attach(trace.set_span_in_context(span))
        try:
            client.keys.get()
        finally:
            context.detach(token)

    assert gateway.seen[0][1]["traceparent"] == f"00-{0xAB:032x}-{0xCD:016x}-01"


def test_a_create_is_repeated_under_one_id_and_a_completion_is_not():
    def away_once(answer):
        def handle(_request, context):
            if len(gateway.seen) == 1:
                context.abort(grpc.StatusCode.UNAVAILABLE, "away")
            yield answer

        return handle

    answers = {"CreateKey": away_once(v1.CreateKeyResponse(secret="tg-new")), "CreateCompletion": away_once(v1.CreateCompletionResponse())}
    with Gateway(answers) as gateway, Client(gateway.address, "tg-x") as client:
        assert client.keys.create(v1.Key(models=["*"])).secret == "tg-new"  # noqa: S105
        tries = [v1.CreateKeyRequest.FromString(request).request_id for _, _, request in gateway.seen]
        assert len(tries) == 2
        assert tries[0] == tries[1] != ""

        gateway.seen.clear()
        with pytest.raises(tollgate.errors.Unavailable):
            client.complete("gpt", "hello")
        assert len(gateway.seen) == 1
