# Made from `_async` by tools/unasync.py; change that one.
"""The client."""

from __future__ import annotations

from types import TracebackType
from typing import Self, Unpack

import grpc

from tollgate import _rpcs
from tollgate._sync.admin import Audit, Budgets, Keys, Organizations, Spend, Teams, Users
from tollgate._sync.connection import Connection
from tollgate._sync.files import Batches, Files
from tollgate._sync.media import Audio, Images
from tollgate._sync.models import Embeddings, Models
from tollgate._sync.stream import Stream
from tollgate._settings import DEFAULT_TIMEOUT, Settings
from tollgate.answer import Answer
from tollgate.messages import CompletionOptions, Messages, call_options, completion_request
from tollgate.v1 import (
    CompletionRequest,
    CountTokensRequest,
    CountTokensResponse,
    CreateCompletionRequest,
    StreamCompletionRequest,
)


class Client:
    """A connection to a gateway, with a key. Use one for the whole program, and close it at its end."""

    keys: Keys
    """Virtual keys."""
    teams: Teams
    """Teams."""
    users: Users
    """Users."""
    organizations: Organizations
    """Organizations."""
    budgets: Budgets
    """Budgets."""
    spend: Spend
    """What was spent: sums, ledger entries, and money as it moves."""
    audit: Audit
    """The audit log."""
    models: Models
    """Models, and where calls of them go."""
    embeddings: Embeddings
    """Texts as vectors."""
    audio: Audio
    """Speech and transcripts."""
    images: Images
    """Images of words, and of other images."""
    files: Files
    """Files at providers."""
    batches: Batches
    """Batches of calls."""

    def __init__(
        self,
        address: str | None = None,
        key: str | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        root_certificates: bytes | None = None,
        certificate: bytes | None = None,
        private_key: bytes | None = None,
    ) -> None:
        """Makes a client; nothing is sent until the first call.

        `address` is `https://host:port`, or `http://host:port` without TLS; default: `TOLLGATE_ADDRESS`, else `http://127.0.0.1:4000`.
        `key` is a virtual key; default: `TOLLGATE_API_KEY`. `timeout` is the default deadline of a call in seconds; None: none.
        `root_certificates` (PEM) replace the system's; `certificate` and `private_key` (PEM) are the client's own, for mutual TLS.
        Raises ValueError for what cannot be.
        """
        settings = Settings.read(address, key, timeout, root_certificates, certificate, private_key)
        self._connection = Connection(settings)
        self.keys = Keys(self._connection)
        self.teams = Teams(self._connection)
        self.users = Users(self._connection)
        self.organizations = Organizations(self._connection)
        self.budgets = Budgets(self._connection)
        self.spend = Spend(self._connection)
        self.audit = Audit(self._connection)
        self.models = Models(self._connection)
        self.embeddings = Embeddings(self._connection)
        self.audio = Audio(self._connection)
        self.images = Images(self._connection)
        self.files = Files(self._connection)
        self.batches = Batches(self._connection)

    @property
    def channel(self) -> grpc.Channel:
        """The gRPC channel, for stubs of `tollgate.v1` that this layer does not wrap. They send no key of themselves."""
        return self._connection.channel

    def complete(self, model: str | CompletionRequest, messages: Messages = (), **options: Unpack[CompletionOptions]) -> Answer:
        """Asks a model and waits for the whole answer. Raises a `TollgateError`. It is never tried again unasked."""
        request = CreateCompletionRequest(request=completion_request(model, messages, options))
        response = self._connection.unary(_rpcs.CREATE_COMPLETION, request, call_options(options))
        return Answer(response.completion)

    def stream(self, model: str | CompletionRequest, messages: Messages = (), **options: Unpack[CompletionOptions]) -> Stream:
        """Asks a model and returns the answer as it is made. Errors are raised while it is read."""
        request = StreamCompletionRequest(request=completion_request(model, messages, options))
        return Stream(self._connection.stream(_rpcs.STREAM_COMPLETION, request, call_options(options)))

    def count_tokens(
        self, model: str | CompletionRequest, messages: Messages = (), **options: Unpack[CompletionOptions]
    ) -> CountTokensResponse:
        """How many tokens the prompt has; nothing is sent to a provider."""
        request = CountTokensRequest(request=completion_request(model, messages, options))
        return self._connection.unary(_rpcs.COUNT_TOKENS, request, call_options(options))

    def close(self) -> None:
        """Ends the connection; calls in flight are cancelled."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
