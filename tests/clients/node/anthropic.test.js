// The official Anthropic SDK for Node against the gateway, with models of any dialect behind it.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

import { eventually, start, virtualKey } from "./processes.js";

const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const WEATHER = { name: "read_weather", description: "Reads the weather.", input_schema: schema };
const CLOCK = { name: "read_clock", input_schema: schema };
const LIMIT = { max_tokens: 100 };

const say = (content) => [{ role: "user", content }];

let world;
let client;
before(async () => {
  world = await start();
  client = new Anthropic({ baseURL: world.url, apiKey: world.key });
});
after(() => world?.stop());

for (const model of ["gpt", "claude"]) {
  describe(`messages with ${model}`, { concurrency: true }, () => {
    test("a message comes whole", async () => {
      const message = await client.messages.create({ model, ...LIMIT, messages: say('[[script {"text": "Good day"}]]') });

      assert.deepEqual(message.content.map((block) => [block.type, block.text]), [["text", "Good day"]]);
      assert.equal(message.stop_reason, "end_turn");
      assert.equal(message.usage.output_tokens, 2);
      assert.ok(message._request_id);
    });

    test("the SDK's helper gathers a stream", async () => {
      const pieces = [];
      const messages = say('[[script {"text": "one two three"}]]');
      const stream = client.messages.stream({ model, ...LIMIT, messages }).on("text", (text) => pieces.push(text));
      const final = await stream.finalMessage();

      assert.deepEqual(pieces, ["one", " two", " three"]);
      assert.equal(final.content[0].text, "one two three");
      assert.equal(final.usage.output_tokens, 3);
      assert.ok(final.usage.input_tokens > 0);
    });

    test("streamed parallel tool calls make the round trip", async () => {
      const messages = say('[[script {"parallel": true}]]');
      const asked = { model, ...LIMIT, tools: [WEATHER, CLOCK], messages };
      const first = await client.messages.stream(asked).finalMessage();
      const calls = first.content.filter((block) => block.type === "tool_use");
      assert.equal(first.stop_reason, "tool_use");
      assert.deepEqual(calls.map((call) => call.name), ["read_weather", "read_clock"]);
      for (const call of calls) assert.ok("city" in call.input);

      const results = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: "fine" }));
      messages.push({ role: "assistant", content: first.content }, { role: "user", content: results });
      assert.equal((await client.messages.create(asked)).stop_reason, "end_turn");
    });

    test("the SDK's runner calls the tool and goes on to the answer", async () => {
      const asked = [];
      const read = { type: "custom", ...WEATHER, parse: (input) => input, run: (input) => (asked.push(input), "fine") };
      const messages = say("How is Lima?");
      const final = await client.beta.messages.toolRunner({ model, ...LIMIT, tools: [read], messages });

      assert.equal(asked.length, 1);
      assert.equal(final.stop_reason, "end_turn");
    });

    test("thinking goes along through a tool loop", async () => {
      const messages = say("How is Lima?");
      const thinking = { type: "enabled", budget_tokens: 2000 };
      const asked = { model, max_tokens: 4000, tools: [WEATHER], thinking, messages };
      const first = await client.messages.stream(asked).finalMessage();
      const call = first.content.find((block) => block.type === "tool_use");
      if (model === "claude") assert.ok(first.content[0].signature);

      const result = { type: "tool_result", tool_use_id: call.id, content: "fine" };
      messages.push({ role: "assistant", content: first.content }, { role: "user", content: [result] });
      assert.equal((await client.messages.create(asked)).stop_reason, "end_turn");
    });

    test("an answer is parsed by the zod schema that was its form", async () => {
      const Receipt = z.object({ shop: z.string(), paid: z.boolean() });
      const output_config = { format: zodOutputFormat(Receipt) };
      const message = await client.messages.parse({ model, ...LIMIT, messages: say("a receipt"), output_config });

      assert.doesNotThrow(() => Receipt.parse(message.parsed_output));
    });

    test("tokens are counted", async () => {
      const counted = await client.messages.countTokens({ model, messages: say("hello"), tools: [WEATHER] });

      assert.ok(counted.input_tokens > 5);
    });

    test("a stream that breaks is an error of the SDK's", async () => {
      const broken = new Anthropic({ baseURL: world.url, apiKey: world.key, maxRetries: 0 });
      const messages = say('[[script {"chunks": 10, "cut_after_chunks": 4}]]');

      await assert.rejects(broken.messages.stream({ model, ...LIMIT, messages }).finalMessage(), Anthropic.APIError);
    });

    test("leaving a stream ends the call at the provider within a second", async () => {
      const word = randomUUID();
      const messages = say(`${word} [[script {"chunks": 90, "chunk_delay_ms": 100}]]`);
      const stream = await client.messages.create({ model, ...LIMIT, messages, stream: true });
      for await (const event of stream) if (event.type === "content_block_delta") break;
      const leftAt = Date.now();
      stream.controller.abort();

      const [record] = await eventually("the provider sees the hang-up", async () => {
        const calls = await world.calls(word);
        return calls.length > 0 && calls;
      });
      assert.ok(record.hung_up);
      assert.ok(record.ended_at_ms - leftAt < 1000);
    });
  });
}

describe("models and refusals", { concurrency: true }, () => {
  const refusal = async (call, kind) => {
    const error = await call.then(() => assert.fail("it was not refused"), (error) => error);
    assert.ok(error instanceof kind, `${error}`);
    assert.equal(error.error.type, "error");
    return error;
  };
  const create = (more, options = {}) => {
    const impatient = new Anthropic({ baseURL: world.url, apiKey: world.key, maxRetries: 0, ...options });
    return impatient.messages.create({ model: "gpt", ...LIMIT, messages: say("hello"), ...more });
  };

  test("models are listed", async () => {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);

    assert.deepEqual(names, ["claude", "embed", "gpt", "native"]);
  });

  test("a key may come as a token", async () => {
    assert.ok(await create({}, { apiKey: null, authToken: world.key }));
  });

  test("refusals are the SDK's own classes", async () => {
    await refusal(create({}, { apiKey: virtualKey() }), Anthropic.AuthenticationError);
    await refusal(create({ model: "nobody" }), Anthropic.NotFoundError);
    const bad = await refusal(create({ temperature: "hot" }), Anthropic.BadRequestError);
    assert.match(bad.message, /temperature/);
    await refusal(create({ messages: say('[[script {"status": 429}]]') }), Anthropic.RateLimitError);
    await refusal(create({ messages: say('[[script {"status": 503}]]') }), Anthropic.InternalServerError);
    const long = await refusal(create({ messages: say("toll ".repeat(400_000)) }), Anthropic.BadRequestError);
    assert.match(long.message, /prompt is too long/);
  });
});
