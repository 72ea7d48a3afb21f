// The package against the built gateway. What every client must do is in tests/cases; here is what only this one has.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer, connect as dial, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";

import { type Context, context, type ContextManager, propagation, ROOT_CONTEXT } from "@opentelemetry/api";
import * as tollgate from "@tollgate/client";
import { openTelemetry } from "@tollgate/client/opentelemetry";
import { Client as WebClient } from "@tollgate/client/web";

import { eventually, type Gateway, scripted, start } from "./gateway.js";

let gateway: Gateway;
before(async () => {
  gateway = await start();
});
after(() => gateway.stop());

const node = (options: tollgate.ClientOptions = {}) => new tollgate.Client({ address: gateway.url, key: gateway.key, ...options });
const web = () => new WebClient({ address: gateway.url, key: gateway.key });
const ended = async (word: string) =>
  eventually("the provider sees the call end", async () => {
    const calls = await gateway.calls(word);
    return calls[0] ?? false;
  });

for (const [entry, make] of [["Node", node], ["the web", web]] as const) {
  describe(`a client for ${entry}`, { concurrency: true }, () => {
    test("reads text, then the collected answer, from one call", async () => {
      const word = randomUUID();
      const stream = make().stream({ model: "gpt", messages: scripted({ text: "one two three" }, word) });
      const pieces = [];
      for await (const piece of stream.text) pieces.push(piece);
      const answer = await stream.collect();

      assert.deepEqual(pieces, ["one", " two", " three"]);
      assert.equal(answer.text, "one two three");
      assert.ok((answer.usage?.costNanoUsd ?? 0n) > 0n);
      assert.equal((await gateway.calls(word)).length, 1);
    });

    const waysOut: Record<string, (stream: tollgate.CompletionStream, abort: AbortController) => Promise<unknown>> = {
      "leaving the events": async (stream) => {
        for await (const { event } of stream) if (event.case === "delta") break;
      },
      "leaving the text": async (stream) => {
        for await (const piece of stream.text) if (piece !== "") break;
      },
      "cancelling it": async (stream) => {
        for await (const { event } of stream) if (event.case === "delta") stream.cancel();
      },
      "aborting its signal": async (stream, abort) => {
        for await (const { event } of stream) if (event.case === "delta") abort.abort(new Error("enough"));
      },
    };
    for (const [way, leave] of Object.entries(waysOut)) {
      test(`${way} of a stream ends the call at the provider within a second, and it is charged`, async () => {
        const [client, word, abort] = [make(), randomUUID(), new AbortController()];
        const messages = scripted({ chunks: 600, chunk_delay_ms: 100 }, word);
        const stream = client.stream({ model: "gpt", messages }, { signal: abort.signal });
        const failure: unknown = await leave(stream, abort).then(() => undefined, (error: unknown) => error);
        const leftAt = Date.now();

        assert.ok(failure === undefined || failure instanceof tollgate.Cancelled, String(failure));
        assert.equal(failure === undefined, way.startsWith("leaving"));
        const call = await ended(word);
        assert.ok(call.hung_up);
        assert.ok(call.ended_at_ms - leftAt < 1000);
        await assert.rejects(stream.collect(), tollgate.Cancelled);
        const entry = await eventually("it is settled", async () => {
          const [entry] = await client.spend.entries({ callId: stream.answer.callId }).toArray();
          return entry ?? false;
        });
        assert.equal(entry.outcome, "cancelled");
        assert.ok(entry.costNanoUsd > 0n);
      });
    }

    test("a stream that breaks keeps what came, and every later read tells why", async () => {
      const stream = make().stream({ model: "gpt", messages: scripted({ chunks: 10, cut_after_chunks: 4 }) });
      const truncated = (error: unknown) => {
        assert.ok(error instanceof tollgate.StreamTruncated);
        assert.ok((error.partialUsage?.usage?.costNanoUsd ?? 0n) > 0n);
        return true;
      };
      await assert.rejects(stream.collect(), truncated);
      await assert.rejects(stream.collect(), truncated);
      assert.notEqual(stream.answer.text, "");
    });

    test("calls any service of the contract, with errors that can be typed", async () => {
      const ranking = make().service(tollgate.RerankService).rerank({ model: "nobody", query: "q", documents: [] });
      await assert.rejects(ranking, (error) => tollgate.toTollgateError(error) instanceof tollgate.TollgateError);
    });

    test("a closed client ends its calls", async () => {
      const client = make();
      const stream = client.stream({ model: "gpt", messages: scripted({ chunks: 600, chunk_delay_ms: 100 }) });
      const read = async () => {
        for await (const { event } of stream) if (event.case === "delta") client.close();
      };
      await assert.rejects(read(), tollgate.Cancelled);
      await assert.rejects(client.models.list().toArray(), tollgate.Cancelled);
    });
  });
}

describe("a client without a gateway", { concurrency: true }, () => {
  const refused = { address: "http://127.0.0.1:1", key: "tg-x" };

  test("is told that nobody is there", async () => {
    for (const client of [new tollgate.Client(refused), new WebClient(refused)]) {
      await assert.rejects(client.complete({ model: "gpt", messages: "hello" }), tollgate.Unavailable);
    }
  });

  test("tries a read until its deadline at the latest", async () => {
    await assert.rejects(new tollgate.Client(refused).models.list({}, { timeout: 50 }).toArray(), tollgate.DeadlineExceeded);
  });
});

test("a read is repeated over a connection that broke, and a completion is not", async () => {
  const { port, hostname } = new URL(gateway.url);
  const sockets = new Set<Socket>();
  let dialled = 0;
  let refuse = 0;
  const proxy = createServer((near) => {
    dialled++;
    if (refuse-- > 0) return void near.destroy();
    const far = dial(Number(port), hostname);
    for (const [one, other] of [[near, far], [far, near]] as const) {
      sockets.add(one);
      one.on("error", () => other.destroy()).on("close", () => other.destroy()).pipe(other);
    }
  });
  await new Promise<void>((done) => proxy.listen(0, "127.0.0.1", done));
  try {
    const address = `http://127.0.0.1:${String((proxy.address() as AddressInfo).port)}`;
    const client = node({ address });
    refuse = 2;
    assert.ok((await client.models.list().toArray()).length > 0);
    assert.equal(dialled, 3);
    for (const socket of sockets) socket.destroy();
    [dialled, refuse] = [0, 1];
    await assert.rejects(node({ address }).complete({ model: "gpt", messages: "hello" }), tollgate.Unavailable);
    assert.equal(dialled, 1);
  } finally {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  }
});

test("the active trace of OpenTelemetry goes with the call, unless it has one of its own", async () => {
  const traced = ROOT_CONTEXT.setValue(Symbol.for("test"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  const active: ContextManager = {
    active: () => traced,
    with: (_context, work, self, ...given) => work.apply(self, given),
    bind: (_context, target) => target,
    enable: () => active,
    disable: () => active,
  };
  context.setGlobalContextManager(active);
  propagation.setGlobalPropagator({
    inject: (from: Context, carrier, setter) => {
      setter.set(carrier, "traceparent", String(from.getValue(Symbol.for("test"))));
    },
    extract: (from) => from,
    fields: () => ["traceparent"],
  });
  const sent: (string | null)[] = [];
  const client = node({
    interceptors: [
      openTelemetry(),
      (next) => (request) => {
        sent.push(request.header.get("traceparent"));
        return next(request);
      },
    ],
  });
  await client.models.list().toArray();
  await client.models.list({}, { traceparent: "00-1-2-00" }).toArray();
  assert.deepEqual(sent, ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1-2-00"]);
});
