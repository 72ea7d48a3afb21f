"""Tollgate's client: completions, embeddings, keys, budgets, spend and audit over gRPC.

```python
from tollgate import Client

with Client() as client:
    print(client.complete("gpt", "Say hello.").text)
```

`Client` blocks, `AsyncClient` is for asyncio; both have the same members. Messages of the contract are in `tollgate.v1`, errors in
`tollgate.errors`.
"""

from tollgate import errors, v1
from tollgate._async.client import AsyncClient
from tollgate._async.media import AsyncSpeech
from tollgate._async.stream import AsyncRecords, AsyncStream
from tollgate._sync.client import Client
from tollgate._sync.media import Speech
from tollgate._sync.stream import Records, Stream
from tollgate._version import VERSION as __version__
from tollgate.answer import Answer, ToolCall
from tollgate.errors import TollgateError
from tollgate.made import EditedImages, Transcription
from tollgate.messages import (
    CallOptions,
    CompletionOptions,
    assistant,
    developer,
    function,
    image,
    json_schema,
    system,
    tool_result,
    user,
)
from tollgate.uploads import Upload

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncRecords",
    "AsyncSpeech",
    "AsyncStream",
    "CallOptions",
    "Client",
    "CompletionOptions",
    "EditedImages",
    "Records",
    "Speech",
    "Stream",
    "TollgateError",
    "ToolCall",
    "Transcription",
    "Upload",
    "__version__",
    "assistant",
    "developer",
    "errors",
    "function",
    "image",
    "json_schema",
    "system",
    "tool_result",
    "user",
    "v1",
]
