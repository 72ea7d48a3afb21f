import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";

import { create } from "@bufbuild/protobuf";
import * as tollgate from "@tollgate/client";
import { Client as WebClient } from "@tollgate/client/web";

import { Fold } from "#dist/fold.js";
import { maskOf, withRequestId } from "#dist/update.js";
import { toCompletionRequest } from "#dist/completion.js";

const root = new URL("../../", import.meta.url);
const source = (path: string) => readFileSync(new URL(path, root), "utf8");

describe("money", () => {
  test("dollars become nano-dollars without a floating-point number in between", () => {
    assert.equal(tollgate.usd("0.1"), 100_000_000n);
    assert.equal(tollgate.usd("9007199.254740993"), 9_007_199_254_740_993n);
    assert.equal(tollgate.usd("-1.5"), -1_500_000_000n);
    for (const wrong of ["", "1e3", "1,5", "0.0000000001", "$1"]) assert.throws(() => tollgate.usd(wrong), /usd: /);
  });

  test("nano-dollars are written with every digit that counts", () => {
    const written = [0n, 1n, 2_700n, 12_500_000_000n, -1_230_000_000n].map(tollgate.formatUsd);
    assert.deepEqual(written, ["$0.00", "$0.000000001", "$0.0000027", "$12.50", "-$1.23"]);
  });
});

describe("requests", () => {
  test("a string is one message of the user's, and numbers become the contract's", () => {
    const request = toCompletionRequest({ model: "gpt", messages: "Hello", maxOutputTokens: 20, temperature: 0 });
    assert.equal(request.messages.length, 1);
    assert.equal(request.messages[0]?.role, tollgate.Role.USER);
    assert.equal(request.maxOutputTokens, 20n);
    assert.equal(request.temperature, 0);
    assert.equal(request.seed, undefined);
  });

  test("a count that is not whole is refused by name", () => {
    assert.throws(() => toCompletionRequest({ model: "gpt", messages: "Hello", maxOutputTokens: 1.5 }), /maxOutputTokens: 1.5 is not a whole number/);
  });

  test("the result of a tool is text, or JSON", () => {
    for (const [result, expected] of [["plain", "plain"], [{ a: 1 }, '{"a":1}'], [undefined, "null"]] as const) {
      const { messages } = toCompletionRequest({ model: "gpt", messages: [tollgate.toolResult("call_1", result)] });
      const content = messages[0]?.parts[0]?.content;
      assert.ok(content?.case === "toolResult");
      assert.deepEqual(content.value.content[0]?.content, create(tollgate.PartSchema, tollgate.text(expected)).content);
    }
  });

  test("an update changes the members that are there, emptied ones too", () => {
    assert.deepEqual(maskOf(tollgate.KeySchema, { id: "key_1", etag: "e", displayName: "x", models: [] }, undefined), { paths: ["display_name", "models"] });
    assert.deepEqual(maskOf(tollgate.KeySchema, { id: "key_1" }, ["expireTime", "default_output_cap"]), { paths: ["expire_time", "default_output_cap"] });
    assert.equal(maskOf(tollgate.KeySchema, create(tollgate.KeySchema, { id: "key_1", displayName: "x" }), undefined), undefined);
  });

  test("a create has an id of its own unless the caller gives one", () => {
    const made = withRequestId({}).requestId;
    assert.match(made, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.notEqual(withRequestId({ requestId: "" }).requestId, made);
    assert.equal(withRequestId({ requestId: "mine" }).requestId, "mine");
  });
});

describe("lists", () => {
  const pages = [["a", "b"], ["c"], []];
  const fetched: string[] = [];
  const list = new tollgate.Pages((token) => {
    fetched.push(token);
    const at = Number(token === "" ? 0 : token);
    return Promise.resolve({ items: pages[at] ?? [], nextPageToken: at + 1 < pages.length ? String(at + 1) : "" });
  });

  test("go on over pages, and fetch none that is not needed", async () => {
    assert.deepEqual(await list.toArray(), ["a", "b", "c"]);
    assert.deepEqual(fetched.splice(0), ["", "1", "2"]);
    assert.deepEqual(await list.toArray(2), ["a", "b"]);
    assert.deepEqual(fetched.splice(0), [""]);
  });
});

describe("the fold of a stream", () => {
  type Piece = tollgate.Delta["piece"];
  const delta = (part: number, piece: Piece, choice = 0) =>
    create(tollgate.CompletionEventSchema, { event: { case: "delta", value: { choice, part, piece } } });

  test("a part that said nothing hides none behind it, however often it is looked at", () => {
    const fold = new Fold();
    for (const [part, value] of [[0, "a"], [2, "b"], [2, "c"]] as const) {
      fold.take(delta(part, { case: "text", value }));
      fold.completion();
    }
    const parts = fold.completion().choices[0]?.message?.parts ?? [];
    assert.deepEqual(parts.map(({ content }) => content.case === "text" && content.value.text), ["a", "bc"]);
  });

  test("a restart makes void what came, and a continuation does not", () => {
    for (const [discardFromSeq, expected] of [[1n, "new"], [undefined, "oldnew"]] as const) {
      const fold = new Fold();
      fold.take(delta(0, { case: "text", value: "old" }));
      const value = discardFromSeq === undefined ? {} : { discardFromSeq };
      fold.take(create(tollgate.CompletionEventSchema, { event: { case: "restarted", value } }));
      fold.take(delta(0, { case: "text", value: "new" }));
      assert.equal(new tollgate.Answer(fold.completion()).text, expected);
    }
  });

  test("reasoning keeps its signature, choices their order, log probabilities their items", () => {
    const fold = new Fold();
    fold.take(delta(0, { case: "text", value: "second" }, 1));
    fold.take(delta(0, { case: "reasoning", value: "hm" }));
    fold.take(delta(0, { case: "reasoningSignature", value: "sig" }));
    for (const token of ["x", "y"]) {
      const value = { part: 1, piece: { case: "text", value: token } as const, logprobsJson: `{"content":[{"token":"${token}"}]}` };
      fold.take(create(tollgate.CompletionEventSchema, { event: { case: "delta", value } }));
    }
    const { choices } = fold.completion();
    assert.deepEqual(choices.map(({ index }) => index), [0, 1]);
    const reasoning = choices[0]?.message?.parts[0]?.content;
    assert.ok(reasoning?.case === "reasoning");
    assert.equal(reasoning.value.signature, "sig");
    assert.equal(choices[0]?.logprobsJson, '{"content":[{"token":"x"},{"token":"y"}]}');
  });
});

describe("the client", () => {
  test("an address that is none is refused by name, and so is a key that no header takes, without telling it", () => {
    for (const address of ["gate.example:4000", "ftp://gate.example", ""]) {
      assert.throws(() => new tollgate.Client({ address }), /address: /);
      assert.throws(() => new WebClient({ address }), /address: /);
    }
    const key = "tg-secret\n";
    assert.throws(() => new tollgate.Client({ key }), (error: Error) => error.message.startsWith("key: ") && !error.message.includes("secret"));
    assert.throws(() => new tollgate.Client({ address: "http://127.0.0.1:1", tls: { servername: "x" } }), /tls: /);
  });
});

describe("the package", () => {
  test("has the version of the contract", () => {
    const version = (JSON.parse(source("package.json")) as { version: string }).version;
    assert.equal(tollgate.VERSION, version);
    assert.match(source("../../Cargo.toml"), new RegExp(`^version = "${version}"$`, "m"));
    assert.match(source("CHANGELOG.md"), new RegExp(`^## ${version} `, "m"));
  });

  test("exports every file of the contract", () => {
    const files = readdirSync(new URL("../../proto/tollgate/v1", root)).map((file) => file.replace(".proto", "_pb.js"));
    for (const file of files) assert.ok(source("src/contract.ts").includes(`/${file}"`), file);
  });
});
