"""Programs that people already have, pointed at the gateway: what they make of its answers. docs/compatibility.md lists them."""

import os
import subprocess
import sys

import pytest
from pydantic import BaseModel

WORDS = ["one", "two", "three"]


def script(text, **more):
    import json

    return f"[[script {json.dumps({'text': text} | more)}]]"


class City(BaseModel):
    name: str
    people: int


@pytest.fixture(params=["gpt", "claude"])
def model(request):
    return request.param


class TestLangChain:
    @pytest.fixture(params=["chat completions", "responses"])
    def chat(self, request, rest, model):
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            model=model, base_url=f"{rest.url}/v1", api_key=rest.key, max_retries=0, use_responses_api=request.param == "responses"
        )

    def test_it_answers_and_streams(self, chat):
        assert chat.invoke(script("one two three")).text == "one two three"
        pieces = [chunk.text for chunk in chat.stream(script("one two three"))]
        assert "".join(pieces).split() == WORDS
        assert len([piece for piece in pieces if piece]) == 3

    def test_it_counts_tokens(self, chat):
        usage = chat.invoke(script("one two three")).usage_metadata
        assert usage["output_tokens"] == 3
        assert usage["total_tokens"] == usage["input_tokens"] + 3

    def test_it_calls_tools_and_goes_on(self, chat):
        from langchain_core.messages import HumanMessage, ToolMessage
        from langchain_core.tools import tool

        @tool
        def weather(city: str) -> str:
            """Tells the weather."""
            return "fine"

        asked = [HumanMessage("Weather?")]
        called = chat.bind_tools([weather]).invoke(asked)
        [call] = called.tool_calls
        assert call["name"] == "weather" and isinstance(call["args"]["city"], str)
        result = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
        assert chat.bind_tools([weather]).invoke([*asked, called, result]).content

    def test_it_fills_a_schema(self, chat):
        assert isinstance(chat.with_structured_output(City, method="json_schema").invoke("Which?"), City)

    def test_embeddings(self, rest):
        from langchain_openai import OpenAIEmbeddings

        embed = OpenAIEmbeddings(model="embed", base_url=f"{rest.url}/v1", api_key=rest.key, check_embedding_ctx_length=False)
        assert len(embed.embed_documents(["one", "two"])) == 2


def test_litellm_as_a_client(rest, model):
    import litellm

    def ask(**more):
        return litellm.completion(
            model=f"openai/{model}", api_base=f"{rest.url}/v1", api_key=rest.key,
            messages=[{"role": "user", "content": script("one two three")}], **more,
        )

    assert ask().choices[0].message.content == "one two three"
    said = [chunk.choices[0].delta.content or "" for chunk in ask(stream=True)]
    assert "".join(said) == "one two three"
    with pytest.raises(litellm.exceptions.AuthenticationError):
        litellm.completion(
            model=f"openai/{model}", api_base=f"{rest.url}/v1", api_key="tg-nobody",
            messages=[{"role": "user", "content": "x"}],
        )


class TestPydanticAi:
    @pytest.fixture(params=["chat completions", "responses"])
    def chat(self, request, rest, model):
        from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
        from pydantic_ai.providers.openai import OpenAIProvider

        kind = OpenAIChatModel if request.param == "chat completions" else OpenAIResponsesModel
        return kind(model, provider=OpenAIProvider(base_url=f"{rest.url}/v1", api_key=rest.key))

    def test_it_answers(self, chat):
        from pydantic_ai import Agent

        assert Agent(chat).run_sync(script("one two three")).output == "one two three"

    async def test_it_streams(self, chat):
        from pydantic_ai import Agent

        async with Agent(chat).run_stream(script("one two three")) as answer:
            pieces = [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]
        assert "".join(pieces).split() == WORDS
        assert len(pieces) == 3

    def test_it_runs_a_tool_and_goes_on(self, chat):
        from pydantic_ai import Agent

        agent, cities = Agent(chat), []

        @agent.tool_plain
        def weather(city: str) -> str:
            cities.append(city)
            return "fine"

        assert agent.run_sync("Weather?").output
        assert len(cities) == 1

    def test_it_fills_a_type(self, chat):
        from pydantic_ai import Agent, NativeOutput

        assert isinstance(Agent(chat, output_type=NativeOutput(City)).run_sync("Which?").output, City)


class TestOpenaiAgents:
    @pytest.fixture(params=["chat completions", "responses"])
    def chat(self, request, rest, model):
        from agents import OpenAIChatCompletionsModel, OpenAIResponsesModel, set_tracing_disabled
        from openai import AsyncOpenAI

        set_tracing_disabled(True)
        kind = OpenAIChatCompletionsModel if request.param == "chat completions" else OpenAIResponsesModel
        return kind(model=model, openai_client=AsyncOpenAI(base_url=f"{rest.url}/v1", api_key=rest.key))

    async def test_an_agent_runs_a_tool_and_goes_on(self, chat):
        from agents import Agent, Runner, function_tool

        cities = []

        @function_tool
        def weather(city: str) -> str:
            """Tells the weather."""
            cities.append(city)
            return "fine"

        assert (await Runner.run(Agent(name="clerk", tools=[weather], model=chat), "Weather?")).final_output
        assert len(cities) == 1

    async def test_an_agent_fills_a_type(self, chat):
        from agents import Agent, Runner

        answer = await Runner.run(Agent(name="clerk", output_type=City, model=chat), "Which?")
        assert isinstance(answer.final_output, City)

    async def test_an_agent_streams(self, chat):
        from agents import Agent, Runner

        run = Runner.run_streamed(Agent(name="clerk", model=chat), script("one two three"))
        kinds = [event.data.type async for event in run.stream_events() if event.type == "raw_response_event"]
        assert kinds.count("response.output_text.delta") == 3
        assert run.final_output == "one two three"


def test_llm_on_the_command_line(rest, model, tmp_path):
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: toll\n  model_name: {model}\n  api_base: {rest.url}/v1\n  api_key_name: toll\n"
    )
    answer = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "toll", "--key", rest.key, script("one two three")],
        env=os.environ | {"LLM_USER_PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60,
    )
    assert answer.stdout.strip() == "one two three", answer.stderr
