"""What the gateway books for every fixture with usage, against a computation of its own: the facts of `price-facts.json`, charged as
`server/providers/catalogue/README.md` says, in decimal arithmetic, rounded up once to the nano-dollar."""

import json
import re
from decimal import ROUND_CEILING, Decimal
from urllib.parse import unquote

import grpc
import pytest
from grpc_status import rpc_status

from played import Fixture, PlayedGateway, Player, fixtures
from processes import REPOSITORY, bearer

FACTS = json.loads((REPOSITORY / "server/providers/catalogue/price-facts.json").read_text())["models"]
ROWS = {(row["provider"], name): row for row in FACTS for name in [row["model"], *row["aliases"]]}

# The row that prices a provider's fixtures where the model of the fixture is not listed.
FIXED = {
    "openai": "gpt-4o",
    "azure": "gpt-4o",
    "anthropic": "claude-sonnet-5",
    "gemini": "gemini-2.5-flash",
    "vertex": "gemini-2.5-flash",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "mistral": "mistral-large-2512",
    "cohere": "command-a-03-2025",
    "groq": "openai/gpt-oss-120b",
    "deepseek": "deepseek-flash",
    "xai": "grok-4.3",
    "together": "MiniMaxAI/MiniMax-M2.7",
    "fireworks": "accounts/fireworks/models/kimi-k2p6",
    "openrouter": "anthropic/claude-sonnet-5",
}
EMBEDDERS = {"openai": "text-embedding-3-small", "azure": "text-embedding-3-small", "cohere": "embed-v4.0",
             "gemini": "gemini-embedding-001", "mistral": "mistral-embed"}
# A second dialect of a provider has its prices.
LISTED_AS = {"openai_responses": "openai"}
# Servers of one's own have no list price: the operator gives one, here that of this row.
OWN = ("gemini", "gemini-2.5-flash")

# Answers that do not count everything: Ollama leaves out a prompt that it had cached.
INCOMPLETE = ["ollama/usage_cached"]

# Operations that this test does not call, by their path.
NOT_CALLED = ["/audio/", "/moderations", "/completions"]


def is_called(fixture: Fixture) -> bool:
    path = fixture.path.split("?")[0]
    if path.endswith("/chat/completions"):
        return True
    return not any(part in path for part in NOT_CALLED)


def is_embedding(fixture: Fixture) -> bool:
    return "prompt_tokens" in fixture.expect["usage"] and "completion_tokens" not in fixture.expect["usage"]


def is_image(fixture: Fixture) -> bool:
    return "/images/" in fixture.path


def with_usage() -> list[Fixture]:
    found = [f for f in fixtures() if f.expect.get("usage") and f.expect.get("ok")]
    return [f for f in found if is_called(f)]


# --- the computation ------------------------------------------------------------------------------------------------------


def served_tier(fixture: Fixture) -> str:
    """The service tier that the answer names, as a prefix of prices; empty: the standard one."""
    named = re.findall(rb'"(?:service_tier|trafficType)"\s*:\s*"([^"]+)"', fixture.body)
    word = named[-1].decode().lower().removeprefix("on_demand_") if named else ""
    return word if word in ("flex", "priority", "batch") else ""


def figures(row: dict, prompt: int, tier: str) -> dict[str, Decimal]:
    """Dollars per million tokens by class, for a prompt of this length served at this tier."""
    base = {name: Decimal(text) for name, text in row["price_per_million_usd"].items()}
    parents = {"cached_read": "input", "audio_input": "input", "image_input": "input", "reasoning": "output",
               "audio_output": "output", "image_output": "output", "cache_write_5m": "input", "cache_write_1h": "input"}
    # Listed at the very price of the class that it belongs to: no class of its own.
    holds = {name: figure for name, figure in base.items() if base.get(parents.get(name, "")) != figure}
    longer = [t for t in row.get("tiers", []) if prompt > t["above_prompt_tokens"]]
    long = {name: Decimal(text) for name, text in longer[-1]["price"].items()} if longer else {}
    holds |= long
    for name in ("input", "output", "cached_read") if tier else ():
        served = f"{tier}_{name}"
        if served in long:
            holds[name] = long[served]
        elif served in base:
            # Nobody lists the two together: the dearer.
            holds[name] = max(base[served], long.get(name, base[served]))
    return holds


def independent_nano(fixture: Fixture, row: dict, usage: dict) -> int:
    if "search_units" in usage:
        return int(Decimal(row["other_price"]["per_query_usd"]) * usage["search_units"] * 10**9)
    count = {name: usage.get(name) or 0 for name in (
        "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens",
        "audio_input_tokens", "audio_output_tokens")}
    price = figures(row, count["prompt_tokens"], served_tier(fixture))
    one_hour = sum(int(n) for n in re.findall(rb'"ephemeral_1h_input_tokens"\s*:\s*(\d+)', fixture.body)[-1:])
    five_minutes = count["cache_write_tokens"] - one_hour
    if is_image(fixture):
        price["output"] = price["image_output"]
    fresh = (count["prompt_tokens"] - count["cached_tokens"] - count["cache_write_tokens"] - count["audio_input_tokens"])
    said = count["completion_tokens"] - count["reasoning_tokens"] - count["audio_output_tokens"]
    into, out = price["input"], price.get("output", Decimal(0))
    dollars_per_million = (
        fresh * into
        + count["cached_tokens"] * price.get("cached_read", into)
        + five_minutes * price.get("cache_write_5m", into)
        + one_hour * price.get("cache_write_1h", price.get("cache_write_5m", into))
        + count["audio_input_tokens"] * price.get("audio_input", into)
        + said * out
        + count["reasoning_tokens"] * price.get("reasoning", out)
        + count["audio_output_tokens"] * price.get("audio_output", out)
    )
    # Dollars per million tokens are thousands of nano-dollars per token.
    return int((dollars_per_million * 1000).to_integral_value(ROUND_CEILING))


# --- the fixtures, and what is made of them -------------------------------------------------------------------------------


def row_of(fixture: Fixture) -> dict:
    provider = LISTED_AS.get(fixture.kind, fixture.kind)
    named = re.search(rb'"(?:model|modelVersion)"\s*:\s*"([^"]+)"', fixture.body)
    listed = ROWS.get((provider, named[1].decode())) if named else None
    if listed:
        return listed
    if "/anthropic/" in fixture.path:
        return ROWS[(provider, "claude-haiku-4-5")]
    if fixture.path.endswith("/rerank"):
        return ROWS[(provider, "rerank-v3.5")]
    if is_image(fixture):
        return ROWS[(provider, "gpt-image-2")]
    fixed = EMBEDDERS.get(provider) if is_embedding(fixture) else FIXED.get(provider)
    return ROWS[(provider, fixed)] if fixed else ROWS[OWN]


def deployment_of(fixture: Fixture) -> dict:
    row = row_of(fixture)
    if row["provider"] == LISTED_AS.get(fixture.kind, fixture.kind):
        # How Bedrock is asked for its other operation.
        invoke = "invoke/" if fixture.path.endswith("/invoke-with-response-stream") else ""
        return {"model": invoke + row["model"]}
    given = row["price_per_million_usd"] | {"tiers": [
        {"above_input_tokens": tier["above_prompt_tokens"], "price": tier["price"]} for tier in row.get("tiers", [])
    ]}
    named = re.search(r"/model/([^/]+)/invoke$", fixture.path)
    return {"model": unquote(named[1]) if named else "own", "price": given}


def served_at(tier: str):
    return lambda body: re.sub(rb'("service_tier"\s*:\s*)"[^"]*"', rb'\1"' + tier.encode() + b'"', body)


def of_length(prompt: int, tier: str = "default"):
    def change(body):
        body = re.sub(rb'("prompt_tokens"\s*:\s*)\d+', rb"\g<1>" + str(prompt).encode(), body)
        return served_at(tier)(re.sub(rb'("total_tokens"\s*:\s*)\d+', rb"\g<1>" + str(prompt + 300).encode(), body))
    return change


def variants() -> list[tuple[Fixture, dict]]:
    """The same answer, served at other tiers and with a long prompt, and its usage."""
    [cached] = [f for f in fixtures() if f.name == "openai/usage_cached"]
    usage = cached.expect["usage"]
    made = [(cached.changed(tier, served_at(tier)), usage) for tier in ("flex", "priority", "batch", "scale")]
    for tier in ("default", "flex", "priority", "batch"):
        made.append((cached.changed(f"long-{tier}", of_length(300_000, tier)), usage | {"prompt_tokens": 300_000}))
    return made


CASES = [(fixture, fixture.expect["usage"]) for fixture in with_usage()] + variants()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    directory = tmp_path_factory.mktemp("played")
    played = [fixture for fixture, _ in CASES]
    with Player(played) as player, PlayedGateway(directory, player, played, deployment_of) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def channel(gateway):
    with grpc.insecure_channel(gateway.address) as channel:
        yield channel


def booked(channel, gateway, fixture: Fixture):
    """What the gateway says that the call has used and costs, be it beside the error of an answer that nobody can use."""
    from tollgate.v1 import error_pb2

    try:
        return answered(channel, gateway, fixture)
    except grpc.RpcError as error:
        assert fixture.expect["finish_reason"] == "error", error
        partial = error_pb2.PartialUsage()
        [found] = [detail for detail in rpc_status.from_call(error).details if detail.Is(partial.DESCRIPTOR)]
        found.Unpack(partial)
        return partial.usage


def answered(channel, gateway, fixture: Fixture):
    from tollgate.v1 import completion_pb2, completion_pb2_grpc, embedding_pb2, embedding_pb2_grpc, message_pb2
    from tollgate.v1 import image_pb2, image_pb2_grpc, rerank_pb2, rerank_pb2_grpc

    how = {"metadata": bearer(gateway.key), "timeout": 20}
    if is_embedding(fixture):
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        inputs = [embedding_pb2.EmbeddingInput(text="Hi")]
        return stub.CreateEmbedding(embedding_pb2.CreateEmbeddingRequest(model=fixture.alias, inputs=inputs), **how).usage
    if fixture.path.endswith("/rerank"):
        asked = rerank_pb2.RerankRequest(model=fixture.alias, query="q", documents=["a", "b"])
        return rerank_pb2_grpc.RerankServiceStub(channel).Rerank(asked, **how).usage
    if is_image(fixture):
        asked = image_pb2.GenerateImageRequest(model=fixture.alias, prompt="a gate")
        return image_pb2_grpc.ImageServiceStub(channel).GenerateImage(asked, **how).usage
    stub = completion_pb2_grpc.CompletionServiceStub(channel)
    part = message_pb2.Part(text=message_pb2.TextPart(text="Hi"))
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[part])
    request = completion_pb2.CompletionRequest(model=fixture.alias, messages=[message])
    if not fixture.streams:
        return stub.CreateCompletion(completion_pb2.CreateCompletionRequest(request=request), **how).completion.usage
    responses = stub.StreamCompletion(completion_pb2.StreamCompletionRequest(request=request), **how)
    [usage] = [r.event.usage for r in responses if r.event.WhichOneof("event") == "usage"]
    return usage


@pytest.mark.parametrize(("fixture", "counts"), CASES, ids=[fixture.name for fixture, _ in CASES])
def test_a_call_costs_what_the_facts_say(channel, gateway, fixture, counts):
    usage = booked(channel, gateway, fixture)
    assert usage.estimated == (fixture.name in INCOMPLETE)
    assert usage.input.total == counts.get("prompt_tokens", 0)
    assert usage.output.total == counts.get("completion_tokens", 0)
    assert usage.cost_nano_usd == independent_nano(fixture, row_of(fixture), counts)
    assert usage.cost_nano_usd > 0
