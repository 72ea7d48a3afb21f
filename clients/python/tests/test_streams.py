"""Streams: their text, their collection, their end."""

import asyncio

import pytest

from gateway import Gateway, says, text
from tollgate import AsyncClient, Client, errors, v1

STARTED = v1.CompletionEvent(started=v1.Started(call_id="call-1"))
FINISHED = v1.CompletionEvent(finished=v1.Finished(reason=v1.FINISH_REASON_STOP))


def collected(*events):
    """The answer of these events, and the end of the first choice behind them."""
    with Gateway({"StreamCompletion": says(*events, FINISHED)}) as gateway, Client(gateway.address) as client:
        return client.stream("gpt", "hello").collect()


def test_a_stream_that_ends_before_it_is_finished_is_an_error_and_what_came_stays():
    with Gateway({"StreamCompletion": says(STARTED, text("half"))}) as gateway, Client(gateway.address) as client:
        stream = client.stream("gpt", "hello")
        with pytest.raises(errors.Internal, match="finished"):
            stream.collect()

        assert stream.so_far().text == "half"


def test_text_comes_piece_by_piece_and_is_collected_whole():
    events = [STARTED, text("Hel"), text("other", choice=1), text("lo"), FINISHED]
    with Gateway({"StreamCompletion": says(*events)}) as gateway, Client(gateway.address) as client:
        stream = client.stream("gpt", "hello")

        assert list(stream.text) == ["Hel", "lo"]
        answer = stream.collect()
        assert (answer.text, answer.finish_reason, answer.call_id) == ("Hello", "STOP", "call-1")
        assert [choice.message.parts[0].text.text for choice in answer.completion.choices] == ["Hello", "other"]


def test_the_same_with_asyncio():
    async def scene(address):
        async with AsyncClient(address) as client:
            stream = client.stream("gpt", "hello")
            pieces = [piece async for piece in stream.text]
            return pieces, (await stream.collect()).text

    with Gateway({"StreamCompletion": says(STARTED, text("Hel"), text("lo"), FINISHED)}) as gateway:
        assert asyncio.run(scene(gateway.address)) == (["Hel", "lo"], "Hello")


def test_what_is_void_is_not_collected():
    restarted = v1.CompletionEvent(restarted=v1.Restarted(policy=v1.MIDSTREAM_POLICY_RESTART, discard_from_seq=0))
    goes_on = v1.CompletionEvent(restarted=v1.Restarted(policy=v1.MIDSTREAM_POLICY_CONTINUE))

    assert collected(STARTED, text("void"), restarted, STARTED, text("good"), FINISHED).text == "good"
    assert collected(STARTED, text("on"), goes_on, STARTED, text("wards"), FINISHED).text == "onwards"


def test_tool_calls_are_kept_apart_by_their_part():
    def start(part, name):
        return v1.CompletionEvent(delta=v1.Delta(part=part, tool_call_start=v1.ToolCallStart(id=f"id-{name}", name=name)))

    def arguments(part, piece):
        return v1.CompletionEvent(delta=v1.Delta(part=part, tool_arguments=piece))

    answer = collected(start(0, "a"), start(1, "b"), arguments(1, '{"y":'), arguments(0, '{"x": 1}'), arguments(1, " 2}"))

    assert [(call.id, call.name, call.json()) for call in answer.tool_calls] == [("id-a", "a", {"x": 1}), ("id-b", "b", {"y": 2})]


def test_reasoning_is_collected_with_its_proof():
    answer = collected(
        v1.CompletionEvent(delta=v1.Delta(reasoning="I ")),
        v1.CompletionEvent(delta=v1.Delta(reasoning="think.")),
        v1.CompletionEvent(delta=v1.Delta(reasoning_signature="proof", reasoning_format="anthropic-claude-v1")),
        v1.CompletionEvent(delta=v1.Delta(part=1, reasoning_redacted="sealed")),
        text("Yes.", part=3),
    )

    first, second, third = answer.message.parts
    assert (first.reasoning.text, first.reasoning.signature, first.reasoning.format) == ("I think.", "proof", "anthropic-claude-v1")
    assert second.reasoning.redacted == "sealed"
    assert (third.text.text, answer.reasoning, answer.text) == ("Yes.", "I think.", "Yes.")


def test_log_probabilities_are_joined():
    def piece(letter, logprobs):
        return v1.CompletionEvent(delta=v1.Delta(text=letter, logprobs_json=logprobs))

    answer = collected(piece("a", '{"content":[1.50]}'), piece("b", '{"content":[2],"refusal":null}'))

    assert answer.completion.choices[0].logprobs_json == '{"content":[1.5,2]}'


def endless(_request, context):
    while context.is_active():
        yield v1.StreamCompletionResponse(event=text("more "))


def test_leaving_the_block_cancels_the_call():
    with Gateway({"StreamCompletion": endless}) as gateway, Client(gateway.address) as client:
        with client.stream("gpt", "hello") as stream:
            assert next(stream).delta.text == "more "
        assert gateway.left.wait(5)
        assert list(stream) == []
        assert stream.so_far().text.startswith("more ")


def test_cancelling_the_task_cancels_the_call():
    async def scene(address):
        async with AsyncClient(address) as client:
            reading = asyncio.create_task(client.stream("gpt", "hello").collect())
            await asyncio.sleep(0.1)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

    with Gateway({"StreamCompletion": endless}) as gateway:
        asyncio.run(scene(gateway.address))
        assert gateway.left.wait(5)


def test_closing_an_asynchronous_stream_ends_it_without_an_error():
    async def scene(address):
        async with AsyncClient(address) as client, client.stream("gpt", "hello") as stream:
            async for _ in stream:
                await stream.close()
            return stream.so_far().text

    with Gateway({"StreamCompletion": endless}) as gateway:
        assert asyncio.run(scene(gateway.address)).startswith("more ")
        assert gateway.left.wait(5)


def test_the_deadline_ends_a_stream():
    with Gateway({"StreamCompletion": endless}) as gateway, Client(gateway.address, timeout=0.3) as client:
        with pytest.raises(errors.DeadlineExceeded):
            client.stream("gpt", "hello").collect()
        assert gateway.left.wait(5)
