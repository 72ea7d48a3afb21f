"""Files at providers, and batches of calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Unpack

from tollgate import _rpcs, v1
from tollgate._async.connection import Connection
from tollgate._async.media import saved
from tollgate._async.stream import AsyncRecords
from tollgate.errors import late
from tollgate.messages import CallOptions
from tollgate.uploads import Uploadable, chunks, named

_ENDED = ("completed", "failed", "expired", "cancelled")


class Files:
    """Files at providers: what batches read and write. Each key sees its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def upload(
        self, file: Uploadable, purpose: str | v1.FileHeader, *, model: str = "", filename: str = "", **options: Unpack[CallOptions]
    ) -> v1.File:
        """Uploads a file: a path, bytes, an open file, or an `Upload`; it is read while it is sent."""
        header = v1.FileHeader(model=model, filename=filename)
        if isinstance(purpose, v1.FileHeader):
            header.MergeFrom(purpose)
        else:
            header.purpose = purpose
        own, media_type = named(file)
        header.filename, header.media_type = header.filename or own, header.media_type or media_type

        def parts() -> Iterator[v1.CreateFileRequest]:
            yield v1.CreateFileRequest(header=header)
            for chunk in chunks(file):
                yield v1.CreateFileRequest(chunk=chunk)

        [made] = await self._connection.upload(_rpcs.CREATE_FILE, parts(), options)
        return made.file

    async def get(self, id: str, **options: Unpack[CallOptions]) -> v1.File:
        """One file, as its provider tells it now."""
        return (await self._connection.unary(_rpcs.GET_FILE, v1.GetFileRequest(id=id), options)).file

    def list(
        self, *, purpose: str = "", oldest_first: bool = False, page_size: int = 0, **options: Unpack[CallOptions]
    ) -> AsyncIterator[v1.File]:
        """The key's files, the newest first unless asked otherwise, over all pages."""
        request = v1.ListFilesRequest(purpose=purpose, oldest_first=oldest_first, page_size=page_size)
        return self._connection.pages(_rpcs.LIST_FILES, request, lambda page: page.files, options)

    async def delete(self, id: str, **options: Unpack[CallOptions]) -> None:
        """Deletes a file at its provider."""
        await self._connection.unary(_rpcs.DELETE_FILE, v1.DeleteFileRequest(id=id), options)

    def content(self, id: str, **options: Unpack[CallOptions]) -> AsyncRecords[bytes]:
        """The bytes of a file, piece by piece. Errors are raised while they are read."""
        call = self._connection.stream(_rpcs.GET_FILE_CONTENT, v1.GetFileContentRequest(id=id), options)
        return AsyncRecords(call, lambda told: told.chunk)

    async def save(self, id: str, path: str | Path, **options: Unpack[CallOptions]) -> int:
        """Writes the bytes of a file into one of this machine, which is made when the first have come, and returns how many they are."""
        return await saved(self.content(id, **options), path)


class Batches:
    """Batches of calls, each on an uploaded file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        input_file_id: str | v1.CreateBatchRequest,
        endpoint: str = "/v1/chat/completions",
        *,
        completion_window: str = "24h",
        labels: Mapping[str, str] | None = None,
        **options: Unpack[CallOptions],
    ) -> v1.Batch:
        """Begins a batch on a file of the purpose `batch`; `labels` are kept with it by the provider.

        Never tried again unasked: it would be charged twice.
        """
        if isinstance(input_file_id, v1.CreateBatchRequest):
            request = input_file_id
        else:
            request = v1.CreateBatchRequest(
                input_file_id=input_file_id, endpoint=endpoint, completion_window=completion_window, metadata=labels
            )
        return (await self._connection.unary(_rpcs.CREATE_BATCH, request, options)).batch

    async def get(self, id: str, **options: Unpack[CallOptions]) -> v1.Batch:
        """One batch, as its provider tells it now."""
        return (await self._connection.unary(_rpcs.GET_BATCH, v1.GetBatchRequest(id=id), options)).batch

    def list(self, *, page_size: int = 0, **options: Unpack[CallOptions]) -> AsyncIterator[v1.Batch]:
        """The key's batches, the newest first, over all pages."""
        request = v1.ListBatchesRequest(page_size=page_size)
        return self._connection.pages(_rpcs.LIST_BATCHES, request, lambda page: page.batches, options)

    async def cancel(self, id: str, **options: Unpack[CallOptions]) -> v1.Batch:
        """Asks the provider to stop a batch. What was answered until then is paid for."""
        return (await self._connection.unary(_rpcs.CANCEL_BATCH, v1.CancelBatchRequest(id=id), options)).batch

    async def wait(self, id: str, *, every: float = 30.0, **options: Unpack[CallOptions]) -> v1.Batch:
        """Waits until a batch has ended, well or not, and looks every so many seconds.

        Batches take hours: it waits as long, or `timeout` seconds, and raises `DeadlineExceeded` then. The batch goes on.
        """
        timeout = options.pop("timeout", None)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            batch = await self.get(id, **options)
            if batch.status in _ENDED:
                return batch
            left = every if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise late(f"batch {id} has not ended within {timeout} s")
            await asyncio.sleep(min(every, left))
