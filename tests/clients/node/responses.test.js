// The official OpenAI SDK for Node against the gateway: responses.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { start } from "./processes.js";

const CLOCK = {
  type: "function",
  name: "read_clock",
  strict: true,
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
};

let world;
let client;
before(async () => {
  world = await start();
  client = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: world.key });
});
after(() => world?.stop());

for (const model of ["gpt", "claude", "native"]) {
  describe(`responses with ${model}`, { concurrency: true }, () => {
    test("a response comes whole", async () => {
      const response = await client.responses.create({ model, input: '[[script {"text": "Good day"}]]' });

      assert.equal(response.output_text, "Good day");
      assert.equal(response.status, "completed");
      assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
    });

    test("a streamed response arrives piece by piece", async () => {
      // The provider never finishes this answer: whoever waited for its end would wait for ever.
      const input = '[[script {"text": "one two three four five", "stall_after_chunks": 3}]]';
      const pieces = [];
      for await (const event of await client.responses.create({ model, input, stream: true })) {
        if (event.type === "response.output_text.delta") pieces.push(event.delta);
        if (pieces.length === 3) break;
      }

      assert.deepEqual(pieces, ["one", " two", " three"]);
    });

    test("the SDK's helper puts a stream together", async () => {
      const stream = client.responses.stream({ model, input: '[[script {"text": "one two"}]]' });
      const kinds = [];
      for await (const event of stream) kinds.push(event.type);

      assert.equal(kinds[0], "response.created");
      assert.equal(kinds.at(-1), "response.completed");
      assert.equal((await stream.finalResponse()).output_text, "one two");
    });

    test("a tool call makes the round trip by previous_response_id", async () => {
      const first = await client.responses.create({ model, input: "what time is it?", tools: [CLOCK] });
      const call = first.output.find((item) => item.type === "function_call");
      assert.deepEqual(Object.keys(JSON.parse(call.arguments)), ["city"]);

      const result = { type: "function_call_output", call_id: call.call_id, output: "noon" };
      const asked = { model, input: [result], previous_response_id: first.id, tools: [CLOCK] };
      const second = await client.responses.create(asked);
      assert.ok(second.output_text);
      assert.equal(second.previous_response_id, first.id);
    });

    test("an answer is parsed by the zod schema that was its form", async () => {
      const Receipt = z.object({ shop: z.string(), paid: z.boolean() });
      const text = { format: zodTextFormat(Receipt, "receipt") };
      const response = await client.responses.parse({ model, input: "a receipt", text });

      assert.doesNotThrow(() => Receipt.parse(response.output_parsed));
    });

    test("what is kept is read, listed and forgotten", async () => {
      const response = await client.responses.create({ model, input: "hello" });
      assert.deepEqual((await client.responses.retrieve(response.id)).output, response.output);
      const items = [];
      for await (const item of client.responses.inputItems.list(response.id)) items.push(item);
      assert.equal(items[0].content[0].text, "hello");
      await client.responses.delete(response.id);
      await assert.rejects(client.responses.retrieve(response.id), OpenAI.NotFoundError);
    });
  });
}
