// A page of another origin, in a headless Chromium, on the package's browser entry.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import { type Browser, chromium, type Page as Tab } from "playwright-core";

import { eventually, type Gateway, scripted, start } from "./gateway.js";
import type { Page } from "./page.js";

declare const page: Page;

const CHROMIUM = [process.env["CHROMIUM"], "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

let gateway: Gateway;
let browser: Browser;
let site: Server;
let script: string;
before(async () => {
  const executablePath = CHROMIUM.find((path) => path !== undefined && existsSync(path));
  if (executablePath === undefined) throw new Error("no Chromium: install the system's package `chromium`, or name it in CHROMIUM");
  const entryPoints = [fileURLToPath(new URL("page.js", import.meta.url))];
  const bundle = await build({ entryPoints, bundle: true, minify: true, format: "esm", platform: "browser", write: false });
  script = bundle.outputFiles[0]?.text ?? "";
  site = createServer(({ url }, answer) => {
    const [type, body] = url === "/page.js" ? ["text/javascript", script] : ["text/html", '<p id="answer"></p><script type="module" src="/page.js"></script>'];
    answer.writeHead(200, { "content-type": type }).end(body);
  });
  await new Promise<void>((done) => site.listen(0, "127.0.0.1", done));
  gateway = await start();
  // Chromium refuses its sandbox to root, and containers have little shared memory.
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
});
after(async () => {
  await browser.close();
  site.close();
  await gateway.stop();
});

async function open(): Promise<Tab> {
  const tab = await browser.newPage();
  await tab.goto(`http://127.0.0.1:${String((site.address() as AddressInfo).port)}/`);
  await tab.waitForFunction(() => "page" in globalThis);
  return tab;
}

const ask = (tab: Tab, question: string, model = "gpt") =>
  tab.evaluate(([address, key, model, question]) => page.ask(address, key, model, question), [gateway.url, gateway.key, model, question] as const);
const shown = (tab: Tab) => tab.locator("#answer").textContent();

describe("a page in a browser", { concurrency: true }, () => {
  test("streams a completion over gRPC-Web, and learns what it cost", async () => {
    const tab = await open();
    const types: string[] = [];
    tab.on("response", (response) => types.push(response.headers()["content-type"] ?? ""));
    const cost = await ask(tab, scripted({ text: "hello from the gate" }));

    assert.equal(await shown(tab), "hello from the gate");
    assert.ok(BigInt(cost) > 0n);
    assert.ok(types.some((type) => type.startsWith("application/grpc-web")), types.join());
  });

  test("shows words before the answer is finished, and leaving ends the call at the provider within a second", async () => {
    const [tab, word] = [await open(), randomUUID()];
    const asked = ask(tab, scripted({ chunks: 600, chunk_delay_ms: 50 }, word));
    await tab.waitForFunction(() => (document.querySelector("#answer")?.textContent ?? "").split(" ").length > 3);
    const leftAt = Date.now();
    await tab.evaluate(() => {
      page.leave();
    });

    assert.match(await asked, /^Cancelled/);
    const call = await eventually("the provider sees the hang-up", async () => (await gateway.calls(word))[0] ?? false);
    assert.ok(call.hung_up);
    assert.ok(call.ended_at_ms - leftAt < 1000);
  });

  test("reads a refusal by its type", async () => {
    assert.equal(await ask(await open(), "hello", "nobody"), "there is no nobody");
  });

  test("takes little to load", () => {
    const bytes = gzipSync(script).length;
    assert.ok(bytes < 70_000, `${String(bytes)} bytes, compressed`);
  });
});
