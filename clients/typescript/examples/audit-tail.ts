// Follows the audit log, from where a reader that fell behind left it: `node build/examples/audit-tail.js [SEQUENCE]`, with an admin key.
import { Client, ErrorReason, formatUsd, Overloaded, timestampDate } from "@tollgate/client";

const client = new Client();
let after = BigInt(process.argv[2] ?? "0");

for (;;) {
  try {
    for await (const record of client.audit.tail({ afterSequence: after })) {
      after = record.sequence;
      const outcome = record.errorReason === ErrorReason.UNSPECIFIED ? "ok" : ErrorReason[record.errorReason];
      const time = record.time ? timestampDate(record.time).toISOString() : "";
      console.log(`${String(after)} ${time} ${record.action} ${record.keyId} ${outcome} ${formatUsd(record.usage?.costNanoUsd ?? 0n)}`);
    }
  } catch (error) {
    if (!(error instanceof Overloaded)) throw error;
    console.error(`fell behind; going on after ${String(after)}`);
  }
}
