// gRPC-Web as a browser speaks it: generated code, connect-web, fetch over HTTP/1.1.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { BinaryReader } from "@bufbuild/protobuf/wire";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { AuditService } from "./.cache/contract/tollgate/v1/audit_pb.js";
import { BudgetService } from "./.cache/contract/tollgate/v1/budget_pb.js";
import { CompletionService, FinishReason } from "./.cache/contract/tollgate/v1/completion_pb.js";
import { KeyAdminService } from "./.cache/contract/tollgate/v1/key_admin_pb.js";
import { Role } from "./.cache/contract/tollgate/v1/message_pb.js";
import { ModelService } from "./.cache/contract/tollgate/v1/model_pb.js";
import { eventually, start } from "./processes.js";

let world;
let transport;
before(async () => {
  world = await start();
  transport = createGrpcWebTransport({ baseUrl: world.gateway });
});
after(() => world?.stop());

const bearer = (key = world.key) => ({ headers: { authorization: `Bearer ${key}` } });
const ask = (text, model = "gpt") => ({
  request: { model, messages: [{ role: Role.USER, parts: [{ content: { case: "text", value: { text } } }] }] },
});

/** What a program acts on: `google.rpc.ErrorInfo`, whose fields 1 to 3 are reason, domain and metadata. */
function errorInfo(error) {
  const detail = error.details.find((detail) => detail.type === "google.rpc.ErrorInfo");
  assert.ok(detail, `no ErrorInfo in ${error}`);
  const reader = new BinaryReader(detail.value);
  const found = [];
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field <= 2) found[field - 1] = reader.string();
    else reader.skip(wire);
  }
  return found;
}

async function refusal(call) {
  const error = await call.then(() => assert.fail("it was not refused"), (error) => error);
  return ConnectError.from(error);
}

const drain = async (stream) => {
  const all = [];
  for await (const message of stream) all.push(message);
  return all;
};

describe("gRPC-Web", { concurrency: true }, () => {
  test("a unary call is answered", async () => {
    const { models } = await createClient(ModelService, transport).listModels({}, bearer());

    assert.deepEqual(models.map((model) => model.name), ["claude", "embed", "gpt", "native"]);
  });

  test("a completion comes whole", async () => {
    const text = '[[script {"text": "across the web"}]]';
    const { completion } = await createClient(CompletionService, transport).createCompletion(ask(text), bearer());

    assert.equal(completion.choices[0].message.parts[0].content.value.text, "across the web");
    assert.equal(completion.choices[0].finished.reason, FinishReason.STOP);
  });

  for (const model of ["gpt", "claude"]) {
    test(`a completion of ${model} streams event by event`, async () => {
      const text = '[[script {"text": "one two three"}]]';
      const kinds = [];
      let said = "";
      for await (const { event } of createClient(CompletionService, transport).streamCompletion(ask(text, model), bearer())) {
        if (event.event.case) kinds.push(event.event.case);
        if (event.event.case === "delta") said += event.event.value.piece.value;
      }

      assert.equal(said, "one two three");
      assert.deepEqual(kinds, ["started", "delta", "delta", "delta", "partDone", "finished", "usage"]);
    });

    test(`events of ${model} arrive before the answer is finished`, async () => {
      // The provider never finishes it.
      const text = '[[script {"text": "one two three four five", "stall_after_chunks": 3}]]';
      const said = [];
      for await (const { event } of createClient(CompletionService, transport).streamCompletion(ask(text, model), bearer())) {
        if (event.event.case === "delta") said.push(event.event.value.piece.value);
        if (said.length === 3) break;
      }

      assert.deepEqual(said, ["one", " two", " three"]);
    });
  }

  test("an error has its code and its reason", async () => {
    const call = createClient(CompletionService, transport).createCompletion(ask("hello", "nobody"), bearer());
    const error = await refusal(call);

    assert.equal(error.code, Code.NotFound);
    assert.deepEqual(errorInfo(error), ["MODEL_NOT_FOUND", "tollgate.dev"]);
  });

  test("a wrong key is told so on a stream as well", async () => {
    const stream = createClient(CompletionService, transport).streamCompletion(ask("hello"), bearer("tg-wrong"));
    const error = await refusal(drain(stream));

    assert.equal(error.code, Code.Unauthenticated);
    assert.deepEqual(errorInfo(error), ["API_KEY_INVALID", "tollgate.dev"]);
  });

  test("a stream that breaks ends with a status in its trailers", async () => {
    const text = '[[script {"chunks": 10, "cut_after_chunks": 4}]]';
    let deltas = 0;
    const read = async () => {
      for await (const { event } of createClient(CompletionService, transport).streamCompletion(ask(text), bearer())) {
        deltas += event.event.case === "delta" ? 1 : 0;
      }
    };
    const error = await refusal(read());

    assert.equal(deltas, 4);
    assert.equal(error.code, Code.Unavailable);
    assert.deepEqual(errorInfo(error), ["STREAM_TRUNCATED", "tollgate.dev"]);
  });

  test("a deadline ends a stalled call", async () => {
    const text = '[[script {"delay_ms": 30000}]]';
    const call = createClient(CompletionService, transport).createCompletion(ask(text), { ...bearer(), timeoutMs: 400 });

    assert.equal((await refusal(call)).code, Code.DeadlineExceeded);
  });

  test("aborting ends the call at the provider within a second", async () => {
    const word = randomUUID();
    const abort = new AbortController();
    const text = `${word} [[script {"chunks": 600, "chunk_delay_ms": 100}]]`;
    const options = { ...bearer(), signal: abort.signal };
    let leftAt;
    const read = async () => {
      for await (const { event } of createClient(CompletionService, transport).streamCompletion(ask(text), options)) {
        if (event.event.case !== "delta" || leftAt) continue;
        leftAt = Date.now();
        abort.abort();
      }
    };
    assert.equal((await refusal(read())).code, Code.Canceled);

    const [record] = await eventually("the provider sees the hang-up", async () => {
      const calls = await world.calls(word);
      return calls.length > 0 && calls;
    });
    assert.ok(record.hung_up);
    assert.ok(record.ended_at_ms - leftAt < 1000);
  });

  test("an admin page makes a key, uses it, and reads spend and records", async () => {
    const admin = bearer(world.adminKey);
    const request = { key: { displayName: "from a browser", models: ["gpt"] }, budgetNanoUsd: 1_000_000_000n };
    const { key, secret } = await createClient(KeyAdminService, transport).createKey(request, admin);
    const { completion } = await createClient(CompletionService, transport).createCompletion(ask("hello"), bearer(secret));

    const { total } = await createClient(BudgetService, transport).getSpend({ keyId: key.id }, admin);
    assert.equal(total.costNanoUsd, completion.usage.costNanoUsd);
    const filter = { filter: { keyId: key.id } };
    const records = await drain(createClient(AuditService, transport).queryRecords(filter, admin));
    assert.deepEqual(records.map(({ record }) => record.action), ["completion.create"]);
    assert.equal(records[0].record.callId, completion.started.callId);
  });

  test("the preflight of a browser is answered", async () => {
    for (const path of ["/tollgate.v1.CompletionService/StreamCompletion", "/v1/chat/completions"]) {
      const answer = await fetch(world.gateway + path, {
        method: "OPTIONS",
        headers: {
          origin: "https://app.example",
          "access-control-request-method": "POST",
          "access-control-request-headers": "authorization,content-type,grpc-timeout,x-grpc-web,x-user-agent",
        },
      });

      assert.ok(answer.ok, path);
      assert.match(answer.headers.get("access-control-allow-origin"), /^(\*|https:\/\/app\.example)$/);
      assert.match(answer.headers.get("access-control-allow-methods"), /POST/);
      assert.match(answer.headers.get("access-control-allow-headers"), /\*|authorization/i);
    }
  });

  test("the preflight allows `authorization` by name", async () => {
    const answer = await fetch(`${world.gateway}/v1/chat/completions`, {
      method: "OPTIONS",
      headers: {
        origin: "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
      },
    });

    assert.match(answer.headers.get("access-control-allow-headers"), /authorization/i);
  });

  test("an answer to another origin may be read, trailers included", async () => {
    const answer = await fetch(`${world.gateway}/tollgate.v1.ModelService/ListModels`, {
      method: "POST",
      headers: { origin: "https://app.example", "content-type": "application/grpc-web+proto", "x-grpc-web": "1" },
      body: new Uint8Array(5),
    });

    assert.match(answer.headers.get("access-control-allow-origin"), /^(\*|https:\/\/app\.example)$/);
    assert.match(answer.headers.get("access-control-expose-headers"), /\*|grpc-status/);
  });
});

