"""Keys, tenants, budgets, spend, audit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from tollgate import _rpcs, v1
from tollgate._async.connection import Connection
from tollgate._async.stream import AsyncRecords
from tollgate.messages import CallOptions, new_id
from tollgate.times import stamp


class _Resource:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection


class Keys(_Resource):
    """Virtual keys. Errors besides those of every call: `PermissionDenied`, `ResourceNotFound`, `InvalidRequest`, `EtagMismatch`."""

    async def create(
        self,
        key: v1.Key,
        *,
        budget_nano_usd: int | None = None,
        budgets: Iterable[v1.Budget] = (),
        request_id: str | None = None,
        **options: Unpack[CallOptions],
    ) -> v1.CreateKeyResponse:
        """Makes a key. The answer holds its secret, the only time that it can be read.

        The same `request_id` gives the same key; one is made when none is given, so that a retry makes no second key.
        """
        request = v1.CreateKeyRequest(key=key, budget_nano_usd=budget_nano_usd, budgets=budgets, request_id=request_id or new_id())
        return await self._connection.unary(_rpcs.CREATE_KEY, request, options)

    async def get(self, id: str = "", *, secret: str = "", **options: Unpack[CallOptions]) -> v1.Key:
        """One key: by id, by secret, or without either the client's own."""
        request = v1.GetKeyRequest(id=id, secret=secret)
        return (await self._connection.unary(_rpcs.GET_KEY, request, options)).key

    def list(
        self,
        *,
        organization_id: str = "",
        team_id: str = "",
        user_id: str = "",
        page_size: int = 0,
        **options: Unpack[CallOptions],
    ) -> AsyncIterator[v1.Key]:
        """Keys by creation time, over all pages."""
        request = v1.ListKeysRequest(organization_id=organization_id, team_id=team_id, user_id=user_id, page_size=page_size)
        return self._connection.pages(_rpcs.LIST_KEYS, request, lambda page: page.keys, options)

    async def update(self, key: v1.Key, fields: Iterable[str] = (), **options: Unpack[CallOptions]) -> v1.Key:
        """Changes the named fields of the key with this `id`; none named: those that are set."""
        request = v1.UpdateKeyRequest(key=key, update_mask=FieldMask(paths=fields))
        return (await self._connection.unary(_rpcs.UPDATE_KEY, request, options)).key

    async def rotate(self, id: str, *, grace_seconds: int | None = None, **options: Unpack[CallOptions]) -> v1.RotateKeyResponse:
        """Gives the key a new secret; the old one ends at once, or after the grace period."""
        request = v1.RotateKeyRequest(id=id, grace_seconds=grace_seconds)
        return await self._connection.unary(_rpcs.ROTATE_KEY, request, options)

    async def block(self, id: str, **options: Unpack[CallOptions]) -> v1.Key:
        """Refuses the key's calls until it is unblocked."""
        return (await self._connection.unary(_rpcs.BLOCK_KEY, v1.BlockKeyRequest(id=id), options)).key

    async def unblock(self, id: str, **options: Unpack[CallOptions]) -> v1.Key:
        """Takes the block away."""
        return (await self._connection.unary(_rpcs.UNBLOCK_KEY, v1.UnblockKeyRequest(id=id), options)).key

    async def revoke(self, id: str, **options: Unpack[CallOptions]) -> v1.Key:
        """Ends the key for good; its history stays."""
        return (await self._connection.unary(_rpcs.REVOKE_KEY, v1.RevokeKeyRequest(id=id), options)).key

    async def move(self, id: str, *, team_id: str | None = None, user_id: str | None = None, **options: Unpack[CallOptions]) -> v1.Key:
        """Moves the key to a team or user; an empty id takes it away from there."""
        request = v1.MoveKeyRequest(id=id, team_id=team_id, user_id=user_id)
        return (await self._connection.unary(_rpcs.MOVE_KEY, request, options)).key


class Organizations(_Resource):
    """Organizations."""

    async def create(
        self, organization: v1.Organization, *, request_id: str | None = None, **options: Unpack[CallOptions]
    ) -> v1.Organization:
        """Makes an organization; the same `request_id` gives the same one."""
        request = v1.CreateOrganizationRequest(organization=organization, request_id=request_id or new_id())
        return (await self._connection.unary(_rpcs.CREATE_ORGANIZATION, request, options)).organization

    async def get(self, id: str, **options: Unpack[CallOptions]) -> v1.Organization:
        """One organization."""
        request = v1.GetOrganizationRequest(id=id)
        return (await self._connection.unary(_rpcs.GET_ORGANIZATION, request, options)).organization

    def list(self, *, page_size: int = 0, **options: Unpack[CallOptions]) -> AsyncIterator[v1.Organization]:
        """Organizations, over all pages."""
        request = v1.ListOrganizationsRequest(page_size=page_size)
        return self._connection.pages(_rpcs.LIST_ORGANIZATIONS, request, lambda page: page.organizations, options)

    async def update(self, organization: v1.Organization, fields: Iterable[str] = (), **options: Unpack[CallOptions]) -> v1.Organization:
        """Changes the named fields; none named: those that are set."""
        request = v1.UpdateOrganizationRequest(organization=organization, update_mask=FieldMask(paths=fields))
        return (await self._connection.unary(_rpcs.UPDATE_ORGANIZATION, request, options)).organization

    async def delete(self, id: str, **options: Unpack[CallOptions]) -> None:
        """Takes an empty organization away; `ResourceInUse` else."""
        await self._connection.unary(_rpcs.DELETE_ORGANIZATION, v1.DeleteOrganizationRequest(id=id), options)


class Teams(_Resource):
    """Teams."""

    async def create(self, team: v1.Team, *, request_id: str | None = None, **options: Unpack[CallOptions]) -> v1.Team:
        """Makes a team; the same `request_id` gives the same one."""
        request = v1.CreateTeamRequest(team=team, request_id=request_id or new_id())
        return (await self._connection.unary(_rpcs.CREATE_TEAM, request, options)).team

    async def get(self, id: str, **options: Unpack[CallOptions]) -> v1.Team:
        """One team."""
        return (await self._connection.unary(_rpcs.GET_TEAM, v1.GetTeamRequest(id=id), options)).team

    def list(self, *, organization_id: str = "", page_size: int = 0, **options: Unpack[CallOptions]) -> AsyncIterator[v1.Team]:
        """Teams, over all pages."""
        request = v1.ListTeamsRequest(organization_id=organization_id, page_size=page_size)
        return self._connection.pages(_rpcs.LIST_TEAMS, request, lambda page: page.teams, options)

    async def update(self, team: v1.Team, fields: Iterable[str] = (), **options: Unpack[CallOptions]) -> v1.Team:
        """Changes the named fields; none named: those that are set."""
        request = v1.UpdateTeamRequest(team=team, update_mask=FieldMask(paths=fields))
        return (await self._connection.unary(_rpcs.UPDATE_TEAM, request, options)).team

    async def delete(self, id: str, **options: Unpack[CallOptions]) -> None:
        """Takes a team without keys away; `ResourceInUse` else."""
        await self._connection.unary(_rpcs.DELETE_TEAM, v1.DeleteTeamRequest(id=id), options)

    async def add_member(self, team_id: str, user_id: str, **options: Unpack[CallOptions]) -> v1.Team:
        """Adds a user to a team."""
        request = v1.AddTeamMemberRequest(team_id=team_id, user_id=user_id)
        return (await self._connection.unary(_rpcs.ADD_TEAM_MEMBER, request, options)).team

    async def remove_member(self, team_id: str, user_id: str, **options: Unpack[CallOptions]) -> v1.Team:
        """Takes a user out of a team."""
        request = v1.RemoveTeamMemberRequest(team_id=team_id, user_id=user_id)
        return (await self._connection.unary(_rpcs.REMOVE_TEAM_MEMBER, request, options)).team


class Users(_Resource):
    """Users."""

    async def create(self, user: v1.User, *, request_id: str | None = None, **options: Unpack[CallOptions]) -> v1.User:
        """Makes a user; the same `request_id` gives the same one."""
        request = v1.CreateUserRequest(user=user, request_id=request_id or new_id())
        return (await self._connection.unary(_rpcs.CREATE_USER, request, options)).user

    async def get(self, id: str, **options: Unpack[CallOptions]) -> v1.User:
        """One user."""
        return (await self._connection.unary(_rpcs.GET_USER, v1.GetUserRequest(id=id), options)).user

    def list(self, *, organization_id: str = "", page_size: int = 0, **options: Unpack[CallOptions]) -> AsyncIterator[v1.User]:
        """Users, over all pages."""
        request = v1.ListUsersRequest(organization_id=organization_id, page_size=page_size)
        return self._connection.pages(_rpcs.LIST_USERS, request, lambda page: page.users, options)

    async def update(self, user: v1.User, fields: Iterable[str] = (), **options: Unpack[CallOptions]) -> v1.User:
        """Changes the named fields; none named: those that are set."""
        request = v1.UpdateUserRequest(user=user, update_mask=FieldMask(paths=fields))
        return (await self._connection.unary(_rpcs.UPDATE_USER, request, options)).user

    async def delete(self, id: str, **options: Unpack[CallOptions]) -> None:
        """Takes a user without keys away; `ResourceInUse` else."""
        await self._connection.unary(_rpcs.DELETE_USER, v1.DeleteUserRequest(id=id), options)


class Budgets(_Resource):
    """Budgets. Amounts are nano-dollars: 1_000_000_000 is one dollar."""

    async def create(
        self,
        budget: v1.Budget,
        *,
        opening_nano_usd: int | None = None,
        request_id: str | None = None,
        **options: Unpack[CallOptions],
    ) -> v1.Budget:
        """Makes a budget on its scope; the same `request_id` gives the same one."""
        request = v1.CreateBudgetRequest(budget=budget, opening_nano_usd=opening_nano_usd, request_id=request_id or new_id())
        return (await self._connection.unary(_rpcs.CREATE_BUDGET, request, options)).budget

    async def get(self, id: str = "", *, key_id: str = "", **options: Unpack[CallOptions]) -> v1.Budget:
        """A budget and where it stands: by id, or the oldest of a key; without either that of the client's own key."""
        request = v1.GetBudgetRequest(id=id, key_id=key_id)
        return (await self._connection.unary(_rpcs.GET_BUDGET, request, options)).budget

    def list(self, *, scope: v1.BudgetScope | None = None, page_size: int = 0, **options: Unpack[CallOptions]) -> AsyncIterator[v1.Budget]:
        """Budgets, each as it stands, over all pages."""
        request = v1.ListBudgetsRequest(scope=scope, page_size=page_size)
        return self._connection.pages(_rpcs.LIST_BUDGETS, request, lambda page: page.budgets, options)

    async def update(self, budget: v1.Budget, fields: Iterable[str] = (), **options: Unpack[CallOptions]) -> v1.Budget:
        """Changes the named fields; none named: the limit."""
        request = v1.UpdateBudgetRequest(budget=budget, update_mask=FieldMask(paths=fields))
        return (await self._connection.unary(_rpcs.UPDATE_BUDGET, request, options)).budget

    async def increase(self, id: str, increase: v1.BudgetIncrease | None, **options: Unpack[CallOptions]) -> v1.Budget:
        """Raises the limit for a time; None ends the increase in force."""
        request = v1.IncreaseBudgetRequest(id=id, increase=increase)
        return (await self._connection.unary(_rpcs.INCREASE_BUDGET, request, options)).budget

    async def delete(self, id: str, **options: Unpack[CallOptions]) -> None:
        """Takes the budget away; ledger entries stay."""
        await self._connection.unary(_rpcs.DELETE_BUDGET, v1.DeleteBudgetRequest(id=id), options)

    def alerts(self, budget_id: str = "", *, page_size: int = 0, **options: Unpack[CallOptions]) -> AsyncIterator[v1.BudgetAlert]:
        """Alerts that budgets have raised, oldest first."""
        request = v1.ListBudgetAlertsRequest(budget_id=budget_id, page_size=page_size)
        return self._connection.pages(_rpcs.LIST_BUDGET_ALERTS, request, lambda page: page.alerts, options)

    async def holds(self, budget_id: str = "", **options: Unpack[CallOptions]) -> v1.ListHoldsResponse:
        """Money that is held for calls in flight."""
        return await self._connection.unary(_rpcs.LIST_HOLDS, v1.ListHoldsRequest(budget_id=budget_id), options)


class Spend(_Resource):
    """What was spent: sums, ledger entries, and money as it moves."""

    async def get(
        self,
        *,
        key_id: str = "",
        organization_id: str = "",
        team_id: str = "",
        user_id: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        group_by: v1.SpendGroup = v1.SPEND_GROUP_UNSPECIFIED,
        **options: Unpack[CallOptions],
    ) -> v1.GetSpendResponse:
        """What was spent, grouped. Exact: every call that was settled before is in it."""
        request = v1.GetSpendRequest(
            key_id=key_id,
            organization_id=organization_id,
            team_id=team_id,
            user_id=user_id,
            start_time=stamp(start),
            end_time=stamp(end),
            group_by=group_by,
        )
        return await self._connection.unary(_rpcs.GET_SPEND, request, options)

    def ledger(
        self,
        *,
        key_id: str = "",
        call_id: str = "",
        organization_id: str = "",
        team_id: str = "",
        user_id: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        page_size: int = 0,
        **options: Unpack[CallOptions],
    ) -> AsyncIterator[v1.LedgerEntry]:
        """Ledger entries, oldest first, over all pages."""
        request = v1.ListLedgerEntriesRequest(
            key_id=key_id,
            call_id=call_id,
            organization_id=organization_id,
            team_id=team_id,
            user_id=user_id,
            start_time=stamp(start),
            end_time=stamp(end),
            page_size=page_size,
        )
        return self._connection.pages(_rpcs.LIST_LEDGER_ENTRIES, request, lambda page: page.entries, options)

    def watch(
        self, *, key_id: str = "", team_id: str = "", organization_id: str = "", **options: Unpack[CallOptions]
    ) -> AsyncRecords[v1.WatchSpendResponse]:
        """What happens to money, as it happens; ends only when it is closed. Without deadline unless one is given."""
        request = v1.WatchSpendRequest(key_id=key_id, team_id=team_id, organization_id=organization_id)
        call = self._connection.stream(_rpcs.WATCH_SPEND, request, _endless(options))
        return AsyncRecords[v1.WatchSpendResponse](call, lambda response: response)


class Audit(_Resource):
    """The audit log, for platform admins and auditors."""

    def query(
        self,
        *,
        key_id: str = "",
        action_prefix: str = "",
        call_id: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        after_sequence: int = 0,
        limit: int = 0,
        **options: Unpack[CallOptions],
    ) -> AsyncRecords[v1.AuditRecord]:
        """Records that match, oldest first, up to the last that there is now."""
        chosen = _filter(key_id, action_prefix, call_id, start, end)
        request = v1.QueryRecordsRequest(filter=chosen, after_sequence=after_sequence, limit=limit)
        call = self._connection.stream(_rpcs.QUERY_RECORDS, request, options)
        return AsyncRecords[v1.AuditRecord](call, lambda response: response.record)

    def tail(
        self,
        *,
        key_id: str = "",
        action_prefix: str = "",
        call_id: str = "",
        after_sequence: int | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncRecords[v1.AuditRecord]:
        """Records as they are made; ends only when it is closed. Without deadline unless one is given.

        With `after_sequence` all records after that position come first. A reader that falls too far behind gets `Overloaded` and may go on
        from the last `sequence` that it saw.
        """
        chosen = _filter(key_id, action_prefix, call_id, None, None)
        request = v1.TailRecordsRequest(filter=chosen, after_sequence=after_sequence)
        call = self._connection.stream(_rpcs.TAIL_RECORDS, request, _endless(options))
        return AsyncRecords[v1.AuditRecord](call, lambda response: response.record)


def _filter(key_id: str, action_prefix: str, call_id: str, start: datetime | None, end: datetime | None) -> v1.AuditFilter:
    return v1.AuditFilter(key_id=key_id, action_prefix=action_prefix, call_id=call_id, start_time=stamp(start), end_time=stamp(end))


def _endless(options: CallOptions) -> CallOptions:
    return {"timeout": None, **options}
