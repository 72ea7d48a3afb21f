// The tarball in an empty project, and the programs in examples/, against the built gateway.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { type Gateway, scripted, start } from "./gateway.js";

const run = promisify(execFile);
const path = (relative: string) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
const example = (name: string) => path(`build/examples/${name}.js`);

let gateway: Gateway;
before(async () => {
  gateway = await start();
});
after(() => gateway.stop());

const env = (key: string) => ({ ...process.env, TOLLGATE_ADDRESS: gateway.url, TOLLGATE_API_KEY: key });

describe("the package", { concurrency: true }, () => {
  test("installs into an empty project and makes the README's first call", async () => {
    const { stdout } = await run(path("try-package"), { env: env(gateway.key) });
    assert.match(stdout, /\n\d+ tokens for \$0\.\d+\n$/);
  });

  test("its example streams", async () => {
    const { stdout, stderr } = await run("node", [example("streaming"), "gpt", scripted({ text: "word by word" })], { env: env(gateway.key) });
    assert.match(stdout, /^word by word\n[0-9a-f-]{36}: 3 tokens for \$0\.\d+\n$/);
    assert.match(stderr, /^scripted answers with gpt-upstream\n$/);
  });

  test("its example tells what a broken stream cost", async () => {
    const broken = run("node", [example("streaming"), "gpt", scripted({ chunks: 9, cut_after_chunks: 3 })], { env: env(gateway.key) });
    await assert.rejects(broken, (error: { code?: number; stderr?: string }) => {
      assert.equal(error.code, 1);
      assert.match(error.stderr ?? "", /broke off after \$0\.000\d+: /);
      return true;
    });
  });

  test("its example calls a tool until the model has its answer", async () => {
    const { stdout } = await run("node", [example("tools"), "gpt"], { env: env(gateway.key) });
    const [call, ...answer] = stdout.trimEnd().split("\n");
    assert.match(call ?? "", /^weather \{/);
    assert.equal(answer.length, 1);
    assert.doesNotMatch(answer.join(), /^weather/);
  });

  test("its example makes a team with a budget and a key, and takes them away again", async () => {
    const { stdout } = await run("node", [example("admin")], { env: env(gateway.adminKey) });
    assert.match(stdout, /^key_\S+: tg-\S{5}\.\.\., within \$50\.00 a month\nkey_\S+ notebook\nin all \$0\.00\n$/);
  });

  test("its example follows the audit log", async () => {
    const tail = spawn("node", [example("audit-tail")], { env: env(gateway.adminKey), stdio: ["ignore", "pipe", "inherit"] });
    for await (const line of createInterface({ input: tail.stdout })) {
      assert.match(line, /^1 \S+ key\.provision .* ok \$0\.00$/);
      break;
    }
    tail.kill();
    await once(tail, "exit");
  });
});
