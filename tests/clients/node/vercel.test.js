// Vercel's AI SDK against the gateway.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { start } from "./processes.js";

let world;
let toll;
let openai;
before(async () => {
  world = await start();
  toll = createOpenAICompatible({
    name: "toll",
    baseURL: `${world.url}/v1`,
    apiKey: world.key,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  openai = createOpenAI({ baseURL: `${world.url}/v1`, apiKey: world.key });
});
after(() => world?.stop());

// Its provider for OpenAI asks for responses, the one for the compatible asks for chat completions.
const APIS = { "chat completions": (name) => toll(name), responses: (name) => openai(name) };

for (const [api, name] of Object.keys(APIS).flatMap((api) => ["gpt", "claude"].map((name) => [api, name]))) {
  describe(`Vercel's AI SDK with ${name}, by ${api}`, { concurrency: true }, () => {
    const model = APIS[api];
    const script = (text) => `[[script ${JSON.stringify({ text })}]]`;

    test("an answer comes whole, with its usage", async () => {
      const { text, usage, finishReason } = await generateText({ model: model(name), prompt: script("one two three") });
      assert.deepEqual([text, finishReason, usage.outputTokens], ["one two three", "stop", 3]);
    });

    test("a streamed answer arrives piece by piece", async () => {
      const { textStream, usage } = streamText({ model: model(name), prompt: script("one two three") });
      const pieces = [];
      for await (const piece of textStream) pieces.push(piece);
      assert.deepEqual([pieces.length, pieces.join("")], [3, "one two three"]);
      assert.equal((await usage).outputTokens, 3);
    });

    test("a tool runs and the model goes on", async () => {
      const cities = [];
      const weather = tool({
        description: "Tells the weather.",
        inputSchema: z.object({ city: z.string() }),
        execute: async ({ city }) => {
          cities.push(city);
          return "fine";
        },
      });
      const { text, steps } = await generateText({
        model: model(name), prompt: "Weather?", tools: { weather }, stopWhen: stepCountIs(3),
      });
      assert.deepEqual([cities.length, steps.length], [1, 2]);
      assert.ok(text);
    });

    test("an answer fills a schema", async () => {
      const schema = z.object({ name: z.string(), people: z.number() });
      const { output } = await generateText({ model: model(name), prompt: "Which?", output: Output.object({ schema }) });
      assert.equal(typeof output.people, "number");
    });

    test("an error is one of the SDK's, with the gateway's words", async () => {
      const ask = generateText({ model: model("nobody"), prompt: "x", maxRetries: 0 });
      await assert.rejects(ask, (error) => error.statusCode === 404 && /nobody/.test(error.message));
    });
  });
}

test("texts are embedded", async () => {
  const { embeddings } = await embedMany({ model: toll.textEmbeddingModel("embed"), values: ["one", "two"] });
  assert.deepEqual([embeddings.length, embeddings[0].length], [2, 64]);
});
