// Makes a team with a monthly budget and a key of its own, and shows what it spends: `node build/examples/admin.js`, with an admin key.
import { CalendarUnit, Client, formatUsd, ScopeKind, SpendGroup, usd } from "@tollgate/client";

const client = new Client();

const team = await client.teams.create({ team: { displayName: "Research" } });
const budget = await client.budgets.create({
  budget: {
    scope: { kind: ScopeKind.TEAM, id: team.id },
    limitNanoUsd: usd("50"),
    window: { window: { case: "calendar", value: { unit: CalendarUnit.MONTH, timeZone: "Europe/Berlin" } } },
  },
});
const { key, secret } = await client.keys.create({ key: { displayName: "notebook", teamId: team.id, models: ["*"] } });
console.log(`${key.id}: ${secret.slice(0, 8)}..., within ${formatUsd(budget.limitNanoUsd)} a month`);

for await (const found of client.keys.list({ teamId: team.id })) console.log(`${found.id} ${found.displayName}`);
const { rows, total } = await client.spend.get({ teamId: team.id, groupBy: SpendGroup.MODEL });
for (const row of rows) console.log(`${row.group}: ${formatUsd(row.costNanoUsd)}`);
console.log(`in all ${formatUsd(total?.costNanoUsd ?? 0n)}`);

await client.keys.revoke(key.id);
await client.budgets.delete(budget.id);
await client.teams.delete(team.id);
