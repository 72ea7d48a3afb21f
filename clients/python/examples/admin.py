"""Gives a team a key with five dollars a month, and tells where all keys stand: `python examples/admin.py TEAM` with an admin's key."""

import sys

from tollgate import Client, v1
from tollgate.errors import TollgateError


def main() -> int:
    """Makes a team, a key and a budget, then lists budgets and spend."""
    with Client() as client:
        try:
            team = client.teams.create(v1.Team(display_name=sys.argv[1]), request_id=f"example-team-{sys.argv[1]}")
        except TollgateError as error:
            print(error, file=sys.stderr)
            return 1
        month = v1.BudgetWindow(calendar=v1.CalendarWindow(unit=v1.CALENDAR_UNIT_MONTH))
        made = client.keys.create(
            v1.Key(display_name="example", models=["*"], team_id=team.id),
            budgets=[v1.Budget(limit_nano_usd=5_000_000_000, window=month)],
        )
        print(f"{made.key.id}, shown once: {made.secret}")
        for budget in client.budgets.list():
            print(f"{budget.id}: {budget.spent_nano_usd / 1e9:.6f} of {budget.limit_nano_usd / 1e9:.2f} dollars")
        for row in client.spend.get(group_by=v1.SPEND_GROUP_MODEL).rows:
            print(f"{row.group}: {row.entries} entries, {row.cost_nano_usd / 1e9:.6f} dollars")
    return 0


if __name__ == "__main__":
    sys.exit(main())
