"""The RPCs that the layer calls, and which of them may be tried again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from tollgate import v1

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


@dataclass(frozen=True)
class Rpc(Generic[Q, A]):
    """One RPC."""

    service: str
    name: str
    answer: type[A]
    # It reads, or it creates under a `request_id`: repeating it does nothing twice.
    safe: bool = False

    @property
    def path(self) -> str:
        """Its path on the wire."""
        return f"/tollgate.v1.{self.service}/{self.name}"


_COMPLETION, _EMBEDDING, _MODEL = "CompletionService", "EmbeddingService", "ModelService"
_AUDIO, _IMAGE, _FILE, _BATCH = "AudioService", "ImageService", "FileService", "BatchService"
_KEY, _TENANCY, _BUDGET, _AUDIT = "KeyAdminService", "TenancyService", "BudgetService", "AuditService"

ALL: list[Rpc[Message, Message]] = []
"""Every RPC, in order."""


def _rpc(service: str, name: str, answer: type[A], *, safe: bool = False) -> Rpc[Message, A]:
    rpc = Rpc[Message, A](service, name, answer, safe)
    ALL.append(rpc)  # type: ignore[arg-type]
    return rpc


def _read(service: str, name: str, answer: type[A]) -> Rpc[Message, A]:
    return _rpc(service, name, answer, safe=True)


# A create carries its `request_id`: a second try gives what the first one made.
_create = _read

STREAM_COMPLETION = _rpc(_COMPLETION, "StreamCompletion", v1.StreamCompletionResponse)
CREATE_COMPLETION = _rpc(_COMPLETION, "CreateCompletion", v1.CreateCompletionResponse)
COUNT_TOKENS = _read(_COMPLETION, "CountTokens", v1.CountTokensResponse)
CREATE_EMBEDDING = _rpc(_EMBEDDING, "CreateEmbedding", v1.CreateEmbeddingResponse)

LIST_MODELS = _read(_MODEL, "ListModels", v1.ListModelsResponse)
GET_MODEL = _read(_MODEL, "GetModel", v1.GetModelResponse)
GET_ROUTE_STATE = _read(_MODEL, "GetRouteState", v1.GetRouteStateResponse)
EXPLAIN_ROUTE = _read(_MODEL, "ExplainRoute", v1.ExplainRouteResponse)
LIST_CATALOGUE_MODELS = _read(_MODEL, "ListCatalogueModels", v1.ListCatalogueModelsResponse)
GET_CATALOGUE_MODEL = _read(_MODEL, "GetCatalogueModel", v1.GetCatalogueModelResponse)
CREATE_MODEL = _create(_MODEL, "CreateModel", v1.CreateModelResponse)
LIST_RUNTIME_MODELS = _read(_MODEL, "ListRuntimeModels", v1.ListRuntimeModelsResponse)
DELETE_MODEL = _rpc(_MODEL, "DeleteModel", v1.DeleteModelResponse)

CREATE_SPEECH = _rpc(_AUDIO, "CreateSpeech", v1.CreateSpeechResponse)
CREATE_TRANSCRIPTION = _rpc(_AUDIO, "CreateTranscription", v1.CreateTranscriptionResponse)
GENERATE_IMAGE = _rpc(_IMAGE, "GenerateImage", v1.GenerateImageResponse)
EDIT_IMAGE = _rpc(_IMAGE, "EditImage", v1.EditImageResponse)

CREATE_FILE = _rpc(_FILE, "CreateFile", v1.CreateFileResponse)
GET_FILE = _read(_FILE, "GetFile", v1.GetFileResponse)
LIST_FILES = _read(_FILE, "ListFiles", v1.ListFilesResponse)
DELETE_FILE = _rpc(_FILE, "DeleteFile", v1.DeleteFileResponse)
GET_FILE_CONTENT = _read(_FILE, "GetFileContent", v1.GetFileContentResponse)

CREATE_BATCH = _rpc(_BATCH, "CreateBatch", v1.CreateBatchResponse)
GET_BATCH = _read(_BATCH, "GetBatch", v1.GetBatchResponse)
LIST_BATCHES = _read(_BATCH, "ListBatches", v1.ListBatchesResponse)
CANCEL_BATCH = _rpc(_BATCH, "CancelBatch", v1.CancelBatchResponse)

CREATE_KEY = _create(_KEY, "CreateKey", v1.CreateKeyResponse)
GET_KEY = _read(_KEY, "GetKey", v1.GetKeyResponse)
LIST_KEYS = _read(_KEY, "ListKeys", v1.ListKeysResponse)
UPDATE_KEY = _rpc(_KEY, "UpdateKey", v1.UpdateKeyResponse)
ROTATE_KEY = _rpc(_KEY, "RotateKey", v1.RotateKeyResponse)
BLOCK_KEY = _rpc(_KEY, "BlockKey", v1.BlockKeyResponse)
UNBLOCK_KEY = _rpc(_KEY, "UnblockKey", v1.UnblockKeyResponse)
REVOKE_KEY = _rpc(_KEY, "RevokeKey", v1.RevokeKeyResponse)
MOVE_KEY = _rpc(_TENANCY, "MoveKey", v1.MoveKeyResponse)

CREATE_ORGANIZATION = _create(_TENANCY, "CreateOrganization", v1.CreateOrganizationResponse)
GET_ORGANIZATION = _read(_TENANCY, "GetOrganization", v1.GetOrganizationResponse)
LIST_ORGANIZATIONS = _read(_TENANCY, "ListOrganizations", v1.ListOrganizationsResponse)
UPDATE_ORGANIZATION = _rpc(_TENANCY, "UpdateOrganization", v1.UpdateOrganizationResponse)
DELETE_ORGANIZATION = _rpc(_TENANCY, "DeleteOrganization", v1.DeleteOrganizationResponse)
CREATE_TEAM = _create(_TENANCY, "CreateTeam", v1.CreateTeamResponse)
GET_TEAM = _read(_TENANCY, "GetTeam", v1.GetTeamResponse)
LIST_TEAMS = _read(_TENANCY, "ListTeams", v1.ListTeamsResponse)
UPDATE_TEAM = _rpc(_TENANCY, "UpdateTeam", v1.UpdateTeamResponse)
DELETE_TEAM = _rpc(_TENANCY, "DeleteTeam", v1.DeleteTeamResponse)
ADD_TEAM_MEMBER = _rpc(_TENANCY, "AddTeamMember", v1.AddTeamMemberResponse)
REMOVE_TEAM_MEMBER = _rpc(_TENANCY, "RemoveTeamMember", v1.RemoveTeamMemberResponse)
CREATE_USER = _create(_TENANCY, "CreateUser", v1.CreateUserResponse)
GET_USER = _read(_TENANCY, "GetUser", v1.GetUserResponse)
LIST_USERS = _read(_TENANCY, "ListUsers", v1.ListUsersResponse)
UPDATE_USER = _rpc(_TENANCY, "UpdateUser", v1.UpdateUserResponse)
DELETE_USER = _rpc(_TENANCY, "DeleteUser", v1.DeleteUserResponse)

CREATE_BUDGET = _create(_BUDGET, "CreateBudget", v1.CreateBudgetResponse)
GET_BUDGET = _read(_BUDGET, "GetBudget", v1.GetBudgetResponse)
LIST_BUDGETS = _read(_BUDGET, "ListBudgets", v1.ListBudgetsResponse)
UPDATE_BUDGET = _rpc(_BUDGET, "UpdateBudget", v1.UpdateBudgetResponse)
INCREASE_BUDGET = _rpc(_BUDGET, "IncreaseBudget", v1.IncreaseBudgetResponse)
DELETE_BUDGET = _rpc(_BUDGET, "DeleteBudget", v1.DeleteBudgetResponse)
GET_SPEND = _read(_BUDGET, "GetSpend", v1.GetSpendResponse)
LIST_LEDGER_ENTRIES = _read(_BUDGET, "ListLedgerEntries", v1.ListLedgerEntriesResponse)
WATCH_SPEND = _rpc(_BUDGET, "WatchSpend", v1.WatchSpendResponse)
LIST_BUDGET_ALERTS = _read(_BUDGET, "ListBudgetAlerts", v1.ListBudgetAlertsResponse)
LIST_HOLDS = _read(_BUDGET, "ListHolds", v1.ListHoldsResponse)

QUERY_RECORDS = _read(_AUDIT, "QueryRecords", v1.QueryRecordsResponse)
TAIL_RECORDS = _rpc(_AUDIT, "TailRecords", v1.TailRecordsResponse)


def service_config() -> str:
    """The service config: safe calls are tried up to four times when the gateway is UNAVAILABLE, all others once."""
    safe = [{"service": f"tollgate.v1.{rpc.service}", "method": rpc.name} for rpc in ALL if rpc.safe]
    retries = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": safe, "retryPolicy": retries}]})
