import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { create, type MessageShape, type DescMessage, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import * as tollgate from "@tollgate/client";

// The details that a status carries, as the wire has them.
import * as google from "#dist/gen/google/rpc/error_details_pb.js";

const incoming = <D extends DescMessage>(schema: D, message: MessageShape<D>) => ({ type: schema.typeName, value: toBinary(schema, message) });

function refusal(code: Code, reason: string, metadata: Record<string, string> = {}, domain = "tollgate.dev") {
  const error = new ConnectError("no", code);
  error.details = [incoming(google.ErrorInfoSchema, create(google.ErrorInfoSchema, { reason, domain, metadata }))];
  return error;
}

describe("errors", () => {
  test("every reason of the contract has a class of its own kind", () => {
    const reasons = Object.keys(tollgate.ErrorReason).filter((name) => Number.isNaN(Number(name)) && name !== "UNSPECIFIED");
    assert.ok(reasons.length >= 43);
    for (const reason of reasons) {
      const error = tollgate.toTollgateError(refusal(Code.Unknown, reason));
      assert.equal(error.reason, reason);
      assert.notEqual(error.name, "TollgateError", reason);
      assert.equal(error.name, error.constructor.name, reason);
    }
  });

  test("a reason that this version does not know is the base class", () => {
    const error = tollgate.toTollgateError(refusal(Code.ResourceExhausted, "MOON_TOO_FULL"));
    assert.equal(error.constructor, tollgate.TollgateError);
    assert.equal(error.reason, "MOON_TOO_FULL");
  });

  test("a reason of somebody else's domain is not taken for ours", () => {
    const error = tollgate.toTollgateError(refusal(Code.Unavailable, "MODEL_NOT_FOUND", {}, "mesh.example"));
    assert.ok(error instanceof tollgate.Unavailable);
    assert.equal(error.reason, undefined);
  });

  test("a budget's amounts are exact and its reset is a date", () => {
    const metadata = { scope: "key:key_1", limitNanoUsd: "9007199254740993", resetTime: "2026-12-01T00:00:00Z" };
    const error = tollgate.toTollgateError(refusal(Code.ResourceExhausted, "BUDGET_EXHAUSTED", metadata));
    assert.ok(error instanceof tollgate.BudgetExceeded);
    assert.equal(error.limitNanoUsd, 9007199254740993n);
    assert.deepEqual(error.resetsAt, new Date("2026-12-01T00:00:00Z"));
    assert.equal(error.spentNanoUsd, undefined);
    assert.equal(error.code, "RESOURCE_EXHAUSTED");
  });

  test("metadata that is no number is left out, not misread", () => {
    const error = tollgate.toTollgateError(refusal(Code.ResourceExhausted, "RATE_LIMITED", { limit: "many" }));
    assert.ok(error instanceof tollgate.RateLimited);
    assert.equal(error.limit, undefined);
  });

  test("the wait of RetryInfo is in milliseconds", () => {
    const status = refusal(Code.ResourceExhausted, "RATE_LIMITED");
    const retry = create(google.RetryInfoSchema, { retryDelay: { seconds: 1n, nanos: 500_000_000 } });
    status.details.push(incoming(google.RetryInfoSchema, retry));
    assert.equal(tollgate.toTollgateError(status).retryAfterMs, 1500);
  });

  test("a network that fails is Unavailable, in Node's words and in fetch's", () => {
    const reset = new ConnectError("aborted", Code.Aborted, undefined, undefined, Object.assign(new Error("reset"), { code: "ECONNRESET" }));
    const fetched = ConnectError.from(new TypeError("Failed to fetch"));
    for (const error of [reset, fetched]) assert.ok(tollgate.toTollgateError(error) instanceof tollgate.Unavailable);
  });

  test("a typed error stays what it is", () => {
    const error = tollgate.toTollgateError(refusal(Code.NotFound, "MODEL_NOT_FOUND"));
    assert.equal(tollgate.toTollgateError(error), error);
  });
});
