"""Lets a model use a tool until it has its answer: `python examples/tools.py MODEL "What is the weather in Riga?"`."""

import asyncio
import sys

from tollgate import AsyncClient, function, tool_result, user

WEATHER = function(
    "weather",
    "Tells the weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def weather(city: str) -> str:
    """The tool itself."""
    return f"It rains in {city}."


async def main(model: str, question: str) -> None:
    """Asks, answers the model's calls, and asks again, at most five times."""
    conversation = [user(question)]
    async with AsyncClient() as client:
        for _ in range(5):
            answer = await client.complete(model, conversation, tools=[WEATHER], max_output_tokens=300)
            conversation.append(answer.message)
            if not answer.tool_calls:
                print(answer.text)
                return
            for call in answer.tool_calls:
                try:
                    result = tool_result(call.id, weather(str(call.json()["city"])))
                except (ValueError, KeyError, TypeError) as error:
                    result = tool_result(call.id, f"the arguments cannot be used: {error}", is_error=True)
                conversation.append(result)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
