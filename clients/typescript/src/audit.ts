import type { MessageInitShape } from "@bufbuild/protobuf";

import type { Calls, CallOptions } from "./calls.js";
import { type AuditRecord, AuditService, type QueryRecordsRequestSchema, type TailRecordsRequestSchema } from "./contract.js";

/** The audit log: one record per call and per admin act. */
export class Audit {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Records that match, oldest first, up to the last that exists now. */
  query(
    request: MessageInitShape<typeof QueryRecordsRequestSchema> = {},
    options?: CallOptions,
  ): AsyncGenerator<AuditRecord, void, undefined> {
    return records(this.#calls.stream(AuditService.method.queryRecords, request, options));
  }

  /**
   * Records as they are made. It ends only when the loop is left; a reader that falls too far behind gets `Overloaded` and may go on with
   * `afterSequence`, the last `sequence` that it saw.
   */
  tail(
    request: MessageInitShape<typeof TailRecordsRequestSchema> = {},
    options?: CallOptions,
  ): AsyncGenerator<AuditRecord, void, undefined> {
    return records(this.#calls.endless(AuditService.method.tailRecords, request, options));
  }
}

async function* records(answers: AsyncIterable<{ record?: AuditRecord | undefined }>): AsyncGenerator<AuditRecord, void, undefined> {
  for await (const { record } of answers) if (record) yield record;
}
