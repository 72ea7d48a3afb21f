// The official OpenAI SDK for Node, unchanged but for its base URL.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { start } from "./world.mjs";

let world;
let client;
const messages = [{ role: "user", content: "Say hello" }];
const weather = {
  type: "function",
  function: {
    name: "weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

before(async () => {
  world = await start();
  client = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: world.key });
});
after(() => world.stop());

test("a stream arrives with usage when asked for", async () => {
  const stream = await client.chat.completions.create({
    model: "gpt", messages, stream: true, stream_options: { include_usage: true },
  });
  let text = "";
  let usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.ok(text.length > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
});

test("a tool is called and its result is used", async () => {
  const first = await client.chat.completions.create({ model: "gpt", messages, tools: [weather] });
  const call = first.choices[0].message.tool_calls[0];
  assert.ok("city" in JSON.parse(call.function.arguments));
  const result = { role: "tool", tool_call_id: call.id, content: "19 degrees" };
  const again = [...messages, first.choices[0].message, result];
  const second = await client.chat.completions.create({ model: "gpt", messages: again, tools: [weather] });
  assert.ok(second.choices[0].message.content);
});

test("a streamed tool call is put together by the SDK's own helper", async () => {
  const runner = client.chat.completions.stream({ model: "gpt", messages, tools: [weather] });
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices[0].finish_reason, "tool_calls");
  assert.ok("city" in JSON.parse(final.choices[0].message.tool_calls[0].function.arguments));
});

test("a schema is answered with an object that fits", async () => {
  const Reading = z.object({ city: z.string(), degrees: z.number() });
  const parsed = await client.chat.completions.parse({
    model: "gpt", messages, response_format: zodResponseFormat(Reading, "reading"),
  });
  assert.ok(Reading.safeParse(parsed.choices[0].message.parsed).success);
});

test("embeddings come as numbers", async () => {
  const answer = await client.embeddings.create({ model: "embed", input: ["a", "b"] });
  assert.equal(answer.data.length, 2);
  assert.equal(typeof answer.data[0].embedding[0], "number");
});

test("errors are the SDK's own classes", async () => {
  await assert.rejects(client.chat.completions.create({ model: "gpt-9", messages }), OpenAI.NotFoundError);
  const poor = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: world.poor, maxRetries: 5 });
  const begun = Date.now();
  await assert.rejects(poor.chat.completions.create({ model: "gpt", messages }), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    return error.code === "budget_exceeded";
  });
  assert.ok(Date.now() - begun < 1000, "an exhausted budget is not retried");
});
