// A gateway over the scripted provider: real processes, free ports.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomInt } from "node:crypto";
import { crc32 } from "node:zlib";

const ROOT = process.env.TOLLGATE_ROOT;
const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** `tg-`, 32 random base62 characters, and CRC-32 of them in six base62 digits. */
export function virtualKey() {
  const body = Array.from({ length: 32 }, () => BASE62[randomInt(62)]).join("");
  let value = checksum(body);
  let check = "";
  for (let i = 0; i < 6; i++) {
    check = BASE62[value % 62] + check;
    value = Math.floor(value / 62);
  }
  return `tg-${body}${check}`;
}

function checksum(text) {
  if (crc32) return crc32(text);
  let crc = 0xffffffff;
  for (const byte of Buffer.from(text)) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function until(what, holds) {
  const end = Date.now() + 10_000;
  while (Date.now() < end) {
    if (await holds().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what}: not within ten seconds`);
}

/** Starts both; `stop()` ends them. */
export async function start() {
  const directory = mkdtempSync(join(tmpdir(), "tollgate-"));
  const [providerPort, port] = [await freePort(), await freePort()];
  const [key, poor] = [virtualKey(), virtualKey()];
  const base_url = `http://127.0.0.1:${providerPort}/v1`;
  const price = { input: "0.15", output: "0.60" };
  const model = (name) => ({
    name,
    deployments: [{ provider: "scripted", model: `${name}-upstream`, price, max_output_tokens: 4096 }],
  });
  const config = {
    data_dir: join(directory, "data"),
    providers: { scripted: { kind: "openai", base_url, api_key: "sk-upstream-test" } },
    models: [model("gpt"), model("embed")],
    keys: [
      { name: "tests", secret: key, models: ["*"] },
      { name: "poor", secret: poor, models: ["*"], budget_usd: "0" },
    ],
  };
  writeFileSync(join(directory, "tollgate.yaml"), JSON.stringify(config));
  const binary = (name) => join(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target"), "debug", name);
  const run = (name, ...args) => spawn(binary(name), args, { stdio: "ignore" });
  const processes = [
    run("tollgate-load", "provider", "--listen", `127.0.0.1:${providerPort}`),
    run("tollgate", "serve", "--config", join(directory, "tollgate.yaml"), "--listen", `127.0.0.1:${port}`),
  ];
  const url = `http://127.0.0.1:${port}`;
  await until("the provider answers", async () => (await fetch(`http://127.0.0.1:${providerPort}/_control/log`)).ok);
  await until("the gateway is ready", async () => (await fetch(`${url}/health/readiness`)).ok);
  const stop = async () => {
    for (const child of processes) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
    }
    rmSync(directory, { recursive: true });
  };
  return { url, key, poor, stop };
}
