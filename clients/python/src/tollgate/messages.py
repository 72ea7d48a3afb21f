"""Short ways to write what a completion is asked with."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from tollgate.v1 import (
    ROLE_ASSISTANT,
    ROLE_DEVELOPER,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    TOOL_CHOICE_MODE_AUTO,
    TOOL_CHOICE_MODE_NONE,
    TOOL_CHOICE_MODE_REQUIRED,
    CompletionRequest,
    FunctionTool,
    GatewayOptions,
    ImagePart,
    JsonSchemaFormat,
    Message,
    Part,
    ResponseFormat,
    Role,
    StopSequences,
    TextPart,
    Tool,
    ToolChoice,
    ToolResultPart,
)

Content = str | Part
"""What a message is made of: text, or any part."""
Messages = str | Message | Iterable[Message]
"""A conversation; a text is one message of the user."""

_MODES = {"auto": TOOL_CHOICE_MODE_AUTO, "none": TOOL_CHOICE_MODE_NONE, "required": TOOL_CHOICE_MODE_REQUIRED}


class CallOptions(TypedDict, total=False):
    """What any call may be given besides."""

    timeout: float | None
    """Seconds until the call ends with `DeadlineExceeded`, at the provider as well; None: never. Default: the client's."""
    traceparent: str
    """The W3C trace context to go along; default: OpenTelemetry's current one, where its API is installed."""
    metadata: Sequence[tuple[str, str]]
    """Further gRPC metadata."""


class CompletionOptions(CallOptions, total=False):
    """What a completion may be given besides model and messages; `CompletionRequest` of the contract has the units and defaults."""

    tools: Iterable[Tool]
    """Tools that the model may call; see `function`."""
    tool_choice: str | ToolChoice
    """`auto`, `none`, `required`, or the name of the function to call."""
    parallel_tool_calls: bool
    """Whether several calls may come in one turn."""
    response_format: ResponseFormat
    """The form of the answer; see `json_schema`."""
    temperature: float
    """0 to 2."""
    top_p: float
    """0 to 1."""
    seed: int
    """Best-effort determinism."""
    stop: str | Iterable[str]
    """Where to stop."""
    n: int
    """Number of choices."""
    max_output_tokens: int
    """Output limit in tokens, reasoning included."""
    reasoning_effort: str
    """`low`, `medium`, `high`, ..., as the model knows them."""
    reasoning_budget_tokens: int
    """Tokens that may go into reasoning, for providers that count them."""
    user: str
    """The caller's own end user."""
    tags: Iterable[str]
    """Labels for routing and accounting."""
    labels: Mapping[str, str]
    """Free labels kept in the audit record (`GatewayOptions.metadata`)."""
    idempotency_key: str
    """Same key and same request: never billed twice."""
    max_cost_nano_usd: int
    """Refuse the call when its worst case costs more."""
    fallbacks: Iterable[str]
    """Models to try in order when the deployments of `model` fail."""
    want_routing: bool
    """Tell how the call was routed."""
    receipt: bool
    """End the answer with a signed promise that the audit log holds the call's record."""


def user(*content: Content) -> Message:
    """A message of the person or program asking."""
    return _message(ROLE_USER, content)


def system(*content: Content) -> Message:
    """Instructions of the application."""
    return _message(ROLE_SYSTEM, content)


def developer(*content: Content) -> Message:
    """Instructions of the developer."""
    return _message(ROLE_DEVELOPER, content)


def assistant(*content: Content) -> Message:
    """What the model said; `Answer.message` is one, whole."""
    return _message(ROLE_ASSISTANT, content)


def tool_result(tool_call_id: str, *content: Content, is_error: bool | None = None) -> Message:
    """What a tool gave back to the call with this id."""
    result = ToolResultPart(tool_call_id=tool_call_id, content=[_part(one) for one in content])
    if is_error is not None:
        result.is_error = is_error
    return Message(role=ROLE_TOOL, parts=[Part(tool_result=result)])


def image(url: str | None = None, *, data: bytes | None = None, media_type: str | None = None, detail: str | None = None) -> Part:
    """An image by reference, or by value with its media type."""
    if (url is None) == (data is None):
        raise ValueError("an image has either `url` or `data`")
    if data is not None and media_type is None:
        raise ValueError("`media_type` is needed with `data`, such as image/png")
    return Part(image=ImagePart(url=url, data=data, media_type=media_type, detail=detail))


def function(
    name: str,
    description: str | None = None,
    parameters: Mapping[str, Any] | str | None = None,
    *,
    strict: bool | None = None,
) -> Tool:
    """A function of yours that the model may call; `parameters` is a JSON Schema, as a dictionary or as text."""
    text = parameters if parameters is None or isinstance(parameters, str) else json.dumps(parameters)
    made = FunctionTool(name=name, description=description, parameters_json=text)
    if strict is not None:
        made.strict = strict
    return Tool(function=made)


def json_schema(name: str, schema: Mapping[str, Any] | str, *, strict: bool | None = True) -> ResponseFormat:
    """An answer that satisfies this JSON Schema; `Answer.json` reads it."""
    text = schema if isinstance(schema, str) else json.dumps(schema)
    form = JsonSchemaFormat(name=name, schema_json=text)
    if strict is not None:
        form.strict = strict
    return ResponseFormat(json_schema=form)


def completion_request(model: str | CompletionRequest, messages: Messages, options: CompletionOptions) -> CompletionRequest:
    """The request that model, messages and options make; options win over what a whole request says."""
    known(options, CompletionOptions)
    request = CompletionRequest()
    if isinstance(model, CompletionRequest):
        request.CopyFrom(model)
    else:
        request.model = model
    request.messages.extend(_conversation(messages))
    request.tools.extend(options.get("tools", ()))
    if (choice := options.get("tool_choice")) is not None:
        request.tool_choice.CopyFrom(_tool_choice(choice))
    if (form := options.get("response_format")) is not None:
        request.response_format.CopyFrom(form)
    if (stop := options.get("stop")) is not None:
        single = isinstance(stop, str)
        request.stop.CopyFrom(StopSequences(sequences=[stop] if isinstance(stop, str) else stop, single=single))
    named = {name: options.get(name) for name in _PLAIN}
    request.MergeFrom(CompletionRequest(**named))  # type: ignore[arg-type]
    effort, budget = options.get("reasoning_effort"), options.get("reasoning_budget_tokens")
    if effort is not None:
        request.reasoning.effort_native = effort
    if budget is not None:
        request.reasoning.budget_tokens = budget
    _wishes(request, options)
    return request


_PLAIN = (
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "seed",
    "n",
    "max_output_tokens",
    "user",
)
_GATEWAY = {
    "tags": "tags",
    "labels": "metadata",
    "idempotency_key": "idempotency_key",
    "max_cost_nano_usd": "max_cost_nano_usd",
    "fallbacks": "fallbacks",
    "want_routing": "want_routing",
    "receipt": "receipt",
}


def _wishes(request: CompletionRequest, options: CompletionOptions) -> None:
    wished = {field: options.get(name) for name, field in _GATEWAY.items() if options.get(name) is not None}
    if wished:
        request.tollgate.MergeFrom(GatewayOptions(**wished))  # type: ignore[arg-type]


def known(options: Mapping[str, Any], kind: type[CallOptions]) -> None:
    """Refuses what is no option: a misspelt deadline would otherwise be none. Raises TypeError, as Python does for arguments."""
    unknown = sorted(options.keys() - kind.__annotations__.keys())
    if unknown:
        raise TypeError(f"unknown options: {', '.join(unknown)}; there are {', '.join(sorted(kind.__annotations__))}")


def call_options(options: CompletionOptions) -> CallOptions:
    """Those options that are of the call rather than of the completion."""
    return {name: value for name, value in options.items() if name in CallOptions.__annotations__}  # type: ignore[return-value]


def new_id() -> str:
    """An id that makes a create repeatable."""
    return str(uuid.uuid4())


def _message(role: Role, content: Iterable[Content]) -> Message:
    return Message(role=role, parts=[_part(one) for one in content])


def _part(content: Content) -> Part:
    return Part(text=TextPart(text=content)) if isinstance(content, str) else content


def _conversation(messages: Messages) -> Iterable[Message]:
    if isinstance(messages, str):
        return [user(messages)]
    return [messages] if isinstance(messages, Message) else messages


def _tool_choice(choice: str | ToolChoice) -> ToolChoice:
    if isinstance(choice, ToolChoice):
        return choice
    return ToolChoice(mode=_MODES[choice]) if choice in _MODES else ToolChoice(function_name=choice)
