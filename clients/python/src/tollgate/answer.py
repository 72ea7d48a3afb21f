"""A collected completion, and the fold of events that makes one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tollgate.v1 import (
    ROLE_ASSISTANT,
    Choice,
    Completion,
    CompletionEvent,
    Delta,
    FinishReason,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)

_MAX_PARTS = 10_000


@dataclass(frozen=True)
class ToolCall:
    """The model asks for a tool."""

    id: str
    """Id that the result quotes."""
    name: str
    """The tool."""
    arguments: str
    """Arguments as the model wrote them: text that is usually, not always, a JSON object."""

    def json(self) -> Any:
        """The arguments, read. Raises ValueError when the model wrote no JSON."""
        return json.loads(self.arguments or "{}")


@dataclass(frozen=True)
class Answer:
    """A completion, read by its first choice; `completion` has all of it."""

    completion: Completion
    """The message of the contract."""

    @property
    def message(self) -> Message:
        """The assistant's message, to go on with the conversation."""
        return self.completion.choices[0].message if self.completion.choices else Message(role=ROLE_ASSISTANT)

    @property
    def text(self) -> str:
        """All text."""
        return "".join(part.text.text for part in self.message.parts if part.HasField("text"))

    @property
    def reasoning(self) -> str:
        """The reasoning in words, where the model shows it."""
        return "".join(part.reasoning.text for part in self.message.parts if part.HasField("reasoning"))

    @property
    def refusal(self) -> str:
        """The words with which the model declined, or nothing."""
        return "".join(part.refusal.text for part in self.message.parts if part.HasField("refusal"))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that the model waits for."""
        calls = [part.tool_call for part in self.message.parts if part.HasField("tool_call")]
        return tuple(ToolCall(call.id, call.name, call.arguments_json) for call in calls)

    @property
    def finish_reason(self) -> str:
        """Why it ended: `STOP`, `LENGTH`, `TOOL_CALLS`, `CONTENT_FILTER`, `ERROR`, or `UNSPECIFIED`."""
        reason = self.completion.choices[0].finished.reason if self.completion.choices else 0
        try:
            return FinishReason.Name(reason).removeprefix("FINISH_REASON_")
        except ValueError:
            return str(reason)

    @property
    def usage(self) -> Usage:
        """What it consumed and cost."""
        return self.completion.usage

    @property
    def call_id(self) -> str:
        """The call in ledger and audit log."""
        return self.completion.started.call_id

    def json(self) -> Any:
        """The text, read as JSON. Raises ValueError when it is none."""
        return json.loads(self.text)


class Collector:
    """Folds events into a completion, as the gateway does for callers that wait for the whole."""

    def __init__(self) -> None:
        self._completion = Completion()
        self._choices: dict[int, Choice] = {}

    def take(self, event: CompletionEvent) -> None:
        """Takes the next event."""
        if event.HasField("native") and not self._completion.HasField("native"):
            self._completion.native.CopyFrom(event.native)
        match event.WhichOneof("event"):
            case "restarted" if event.restarted.HasField("discard_from_seq"):
                # What came so far is void; where the answer goes on, it does so in the same parts.
                self._choices.clear()
                self._completion.ClearField("native")
            case "started":
                self._completion.started.CopyFrom(event.started)
            case "delta":
                self._delta(event.delta)
            case "finished":
                self._choice(event.finished.choice).finished.CopyFrom(event.finished)
            case "usage":
                self._completion.usage.CopyFrom(event.usage)
            case "routing":
                self._completion.routing.CopyFrom(event.routing)
            case "receipt":
                self._completion.receipt.CopyFrom(event.receipt)

    def answer(self) -> Answer:
        """What has come so far."""
        completion = Completion()
        completion.CopyFrom(self._completion)
        for index in sorted(self._choices):
            choice = completion.choices.add()
            choice.CopyFrom(self._choices[index])
            said = [part for part in choice.message.parts if part.WhichOneof("content")]
            del choice.message.parts[:]
            choice.message.parts.extend(said)
        return Answer(completion)

    def _choice(self, index: int) -> Choice:
        if index not in self._choices:
            self._choices[index] = Choice(index=index, message=Message(role=ROLE_ASSISTANT))
        return self._choices[index]

    def _delta(self, delta: Delta) -> None:
        choice = self._choice(delta.choice)
        if delta.logprobs_json:
            choice.logprobs_json = _joined(choice.logprobs_json, delta.logprobs_json)
        piece = delta.WhichOneof("piece")
        if piece is None or delta.part >= _MAX_PARTS:
            return
        parts = choice.message.parts
        while len(parts) <= delta.part:
            parts.add()
        _grow(parts[delta.part], piece, delta)


def _grow(part: Part, piece: str, delta: Delta) -> None:
    match part.WhichOneof("content"), piece:
        case None, "text":
            part.text.CopyFrom(TextPart(text=delta.text))
        case None, "refusal":
            part.refusal.CopyFrom(RefusalPart(text=delta.refusal))
        case None, "tool_call_start":
            start = delta.tool_call_start
            part.tool_call.CopyFrom(ToolCallPart(id=start.id, name=start.name, type_native=start.type_native))
        case None, "tool_arguments":
            part.tool_call.CopyFrom(ToolCallPart(arguments_json=delta.tool_arguments))
        case None, "opaque_json":
            part.opaque.CopyFrom(OpaquePart(json=delta.opaque_json))
        case None, "reasoning":
            part.reasoning.CopyFrom(ReasoningPart(text=delta.reasoning))
        case "text", "text":
            part.text.text += delta.text
        case "refusal", "refusal":
            part.refusal.text += delta.refusal
        case "tool_call", "tool_arguments":
            part.tool_call.arguments_json += delta.tool_arguments
        case "reasoning", "reasoning":
            part.reasoning.text += delta.reasoning
        case None | "reasoning", "reasoning_signature":
            part.reasoning.signature = delta.reasoning_signature
        case None, "reasoning_redacted":
            part.reasoning.redacted = delta.reasoning_redacted
    if part.HasField("reasoning") and delta.reasoning_format:
        part.reasoning.format = delta.reasoning_format


def _joined(before: str, more: str) -> str:
    """Joins two objects of arrays, `{"content": [...]}`, member by member."""
    if not before:
        return more
    joined, new = json.loads(before), json.loads(more)
    for name, items in new.items():
        if isinstance(items, list):
            joined[name] = [*(joined.get(name) or []), *items]
    return json.dumps(joined, separators=(",", ":"))
