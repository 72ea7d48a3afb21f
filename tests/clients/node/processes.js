// The built gateway and the scripted provider as processes: started on free ports, watched, ended with the tests.
import { execFileSync, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const REPOSITORY = new URL("../../..", import.meta.url).pathname;
const UPSTREAM_KEY = "sk-upstream-test";
const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** A new key: `tg-`, 32 random characters, and their CRC-32 as six base62 digits. */
export function virtualKey() {
  const secret = Array.from({ length: 32 }, () => BASE62[randomInt(62)]).join("");
  let rest = crc32(secret);
  let digits = "";
  for (let count = 0; count < 6; count++) {
    digits = BASE62[rest % 62] + digits;
    rest = Math.floor(rest / 62);
  }
  return `tg-${secret}${digits}`;
}

// node:zlib has it from Node 22 on.
function crc32(text) {
  let crc = ~0;
  for (const byte of Buffer.from(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

let targetDirectory;

/** The program named by the variable, else the debug build. */
function binary(name, variable) {
  const named = process.env[variable];
  if (named) return named;
  const metadata = () => execFileSync("cargo", ["metadata", "--no-deps", "--format-version", "1"], { cwd: REPOSITORY });
  targetDirectory ??= JSON.parse(metadata()).target_directory;
  const path = join(targetDirectory, "debug", name);
  if (!existsSync(path)) throw new Error(`${path} is missing: run \`cargo build --workspace --bins\`, or set ${variable}`);
  return path;
}

/** Asks again and again until the answer is true, and returns it. */
export async function eventually(what, look, patience = 20_000) {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${patience} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A child whose output is kept. */
class Child {
  output = "";

  constructor(program, ...words) {
    this.process = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on("data", (data) => (this.output += data));
  }

  wrote(pattern) {
    return eventually(`${this.process.spawnfile} writes ${pattern}`, () => {
      if (this.process.exitCode !== null) throw new Error(`${this.process.spawnfile} ended:\n${this.output}`);
      return pattern.exec(this.output);
    });
  }

  kill() {
    return new Promise((resolve) => {
      this.process.once("exit", resolve);
      this.process.kill("SIGKILL");
    });
  }
}

function configuration(directory, baseUrl, key, adminKey) {
  const price = (input, output) => ({ price: { input, output } });
  const limits = { max_output_tokens: 4096, context_window: 128_000 };
  const gpt = { provider: "scripted", model: "gpt-upstream", ...price("0.15", "0.60"), ...limits };
  const claude = { provider: "claude", model: "claude-upstream", ...price("3", "15"), ...limits };
  const native = { provider: "responses", model: "o4-upstream", ...price("1", "4"), ...limits };
  const embed = { provider: "scripted", model: "embed-upstream", ...price("0.02", "0") };
  return {
    data_dir: join(directory, "data"),
    providers: {
      scripted: { kind: "openai", base_url: baseUrl, api_key: UPSTREAM_KEY },
      claude: { kind: "anthropic", base_url: baseUrl, api_key: UPSTREAM_KEY },
      responses: { kind: "openai_responses", base_url: baseUrl, api_key: UPSTREAM_KEY },
    },
    // All tests share one gateway: what one makes fail is not left alone for the next.
    routing: { cooldown: { time: "0s" } },
    models: Object.entries({ gpt, claude, embed, native }).map(([name, deployment]) => ({
      name, deployments: [deployment],
    })),
    keys: [
      { name: "tests", secret: key, models: ["*"] },
      { name: "admin", secret: adminKey, role: "platform_admin" },
    ],
  };
}

/**
 * Starts a provider and a gateway in front of it: `url` for REST, `gateway` for gRPC-Web, `key`, `adminKey`, `calls(word)`, `stop()`. With
 * `TOLLGATE_SHIM=standalone` REST goes through a shim of its own process, so that the same tests run in both modes.
 */
export async function start() {
  const directory = mkdtempSync(join(tmpdir(), "tollgate-node-"));
  const children = [];
  const run = (...command) => children[children.push(new Child(...command)) - 1];
  const stop = async () => {
    await Promise.all(children.map((child) => child.kill()));
    rmSync(directory, { recursive: true });
  };
  try {
    const provider = run(binary("tollgate-load", "TOLLGATE_LOAD_BIN"), "provider", "--listen", "127.0.0.1:0", "--keep-bodies");
    const baseUrl = (await provider.wrote(/scripted provider at (http:\S+)/))[1];
    const [key, adminKey] = [virtualKey(), virtualKey()];
    const file = join(directory, "tollgate.yaml");
    writeFileSync(file, JSON.stringify(configuration(directory, baseUrl, key, adminKey))); // JSON is YAML
    const serving = async (...command) => {
      const url = (await run(...command, "--listen", "127.0.0.1:0").wrote(/listens on (http:\S+)/))[1];
      await eventually(`${url} is ready`, async () => (await fetch(`${url}/health/readiness`)).ok);
      return url;
    };
    const gateway = await serving(binary("tollgate", "TOLLGATE_BIN"), "serve", "--config", file);
    const isStandalone = process.env.TOLLGATE_SHIM === "standalone";
    const url = isStandalone ? await serving(binary("tollgate-http", "TOLLGATE_HTTP_BIN"), "--upstream", gateway) : gateway;

    /** The ended calls whose body holds this word. */
    const calls = async (word) => {
      const log = await (await fetch(baseUrl.replace("/v1", "/_control/log"))).text();
      const records = log.split("\n").filter(Boolean).map((line) => JSON.parse(line));
      return records.filter((record) => JSON.stringify(record.body ?? null).includes(word));
    };
    return { url, gateway, key, adminKey, calls, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
