// The official OpenAI SDK for Node against the gateway.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import OpenAI, { AzureOpenAI, toFile } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { KeyAdminService } from "./.cache/contract/tollgate/v1/key_admin_pb.js";
import { eventually, start, virtualKey } from "./processes.js";

const CLOCK = {
  type: "function",
  function: {
    name: "read_clock",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, seconds: { type: "boolean" } },
      required: ["city", "seconds"],
    },
  },
};
const WEATHER = {
  type: "function",
  function: { name: "read_weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

const say = (content) => [{ role: "user", content }];

let world;
let client;
before(async () => {
  world = await start();
  client = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: world.key });
});
after(() => world?.stop());

async function newKey(request) {
  const transport = createGrpcWebTransport({ baseUrl: world.gateway });
  const admin = { headers: { authorization: `Bearer ${world.adminKey}` } };
  return (await createClient(KeyAdminService, transport).createKey(request, admin)).secret;
}

/** A client with the SDK's default retries that counts what it sends. */
function counting(apiKey) {
  const counted = { requests: 0 };
  const counter = (...request) => {
    counted.requests += 1;
    return fetch(...request);
  };
  counted.client = new OpenAI({ baseURL: `${world.url}/v1`, apiKey, fetch: counter });
  return counted;
}

for (const model of ["gpt", "claude"]) {
  describe(`chat with ${model}`, { concurrency: true }, () => {
    test("an answer comes whole", async () => {
      const answer = await client.chat.completions.create({ model, messages: say('[[script {"text": "Good day"}]]') });

      assert.equal(answer.choices[0].message.content, "Good day");
      assert.equal(answer.choices[0].finish_reason, "stop");
      assert.equal(answer.usage.completion_tokens, 2);
    });

    test("a streamed answer arrives piece by piece", async () => {
      // The provider never finishes this answer: whoever waited for its end would wait for ever.
      const messages = say('[[script {"text": "one two three four five", "stall_after_chunks": 3}]]');
      const pieces = [];
      for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
        if (chunk.choices[0]?.delta.content) pieces.push(chunk.choices[0].delta.content);
        if (pieces.length === 3) break;
      }

      assert.deepEqual(pieces, ["one", " two", " three"]);
    });

    test("a stream tells usage when asked and only then", async () => {
      const usages = async (options) => {
        const stream = await client.chat.completions.create({ model, messages: say("hello"), stream: true, ...options });
        const found = [];
        for await (const chunk of stream) if (chunk.usage) found.push(chunk.usage);
        return found;
      };

      assert.deepEqual(await usages({}), []);
      const [usage, ...more] = await usages({ stream_options: { include_usage: true } });
      assert.equal(more.length, 0);
      assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    });

    test("a tool call makes the round trip", async () => {
      const messages = say("what time is it?");
      const [first] = (await client.chat.completions.create({ model, messages, tools: [CLOCK] })).choices;
      assert.equal(first.finish_reason, "tool_calls");
      const [call] = first.message.tool_calls;
      assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["city", "seconds"]);

      messages.push(first.message, { role: "tool", tool_call_id: call.id, content: "noon" });
      const [second] = (await client.chat.completions.create({ model, messages, tools: [CLOCK] })).choices;
      assert.equal(second.finish_reason, "stop");
      assert.ok(second.message.content);
    });

    test("streamed parallel tool calls are put together by the SDK's own helper", async () => {
      const stream = client.chat.completions.stream({
        model, messages: say('[[script {"parallel": true}]]'), tools: [CLOCK, WEATHER],
      });
      const calls = (await stream.finalChatCompletion()).choices[0].message.tool_calls;

      assert.deepEqual(calls.map((call) => call.function.name), ["read_clock", "read_weather"]);
      for (const call of calls) assert.ok("city" in JSON.parse(call.function.arguments));
      assert.notEqual(calls[0].id, calls[1].id);
    });

    test("the SDK's runner calls the tool and goes on to the answer", async () => {
      const asked = [];
      const read = {
        ...CLOCK,
        function: { ...CLOCK.function, parse: JSON.parse, function: (args) => (asked.push(args), "noon") },
      };
      const runner = client.chat.completions.runTools({ model, messages: say("what time is it?"), tools: [read] });

      assert.ok(await runner.finalContent());
      assert.equal(asked.length, 1);
    });

    test("an answer is parsed by the zod schema that was its form", async () => {
      const Receipt = z.object({
        shop: z.string(), paid: z.boolean(), lines: z.array(z.object({ item: z.string(), cents: z.number().int() })),
      });
      const answer = await client.chat.completions.parse({
        model, messages: say("a receipt"), response_format: zodResponseFormat(Receipt, "receipt"),
      });

      assert.doesNotThrow(() => Receipt.parse(answer.choices[0].message.parsed));
    });

    test("leaving a stream ends the call at the provider within a second", async () => {
      const word = randomUUID();
      const messages = say(`${word} [[script {"chunks": 600, "chunk_delay_ms": 100}]]`);
      const stream = await client.chat.completions.create({ model, messages, stream: true });
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
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

describe("embeddings and models", { concurrency: true }, () => {
  test("texts become vectors, the same as floats and as base64", async () => {
    const input = ["first", "second"];
    const decoded = await client.embeddings.create({ model: "embed", input });
    const floats = await client.embeddings.create({ model: "embed", input, encoding_format: "float" });

    assert.deepEqual(decoded.data.map((entry) => entry.index), [0, 1]);
    assert.equal(decoded.data[0].embedding.length, 64);
    for (const [at, value] of decoded.data[1].embedding.entries()) {
      assert.ok(Math.abs(value - floats.data[1].embedding[at]) < 1e-6);
    }
  });

  test("models are listed and retrieved", async () => {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);

    assert.deepEqual(names, ["claude", "embed", "gpt", "native"]);
    assert.equal((await client.models.retrieve("gpt")).object, "model");
  });
});

test("the Azure client finds its paths", async () => {
  const azure = new AzureOpenAI({ endpoint: world.url, apiKey: world.key, apiVersion: "2024-10-21", maxRetries: 0 });
  const answer = await azure.chat.completions.create({ model: "gpt", messages: say('[[script {"text": "Good day"}]]') });

  assert.equal(answer.choices[0].message.content, "Good day");
  assert.equal((await azure.embeddings.create({ model: "embed", input: "x" })).data.length, 1);
});

describe("refusals", { concurrency: true }, () => {
  const refusal = async (call, kind) => {
    const error = await call.then(() => assert.fail("it was not refused"), (error) => error);
    assert.ok(error instanceof kind, `${error}`);
    return error;
  };

  test("a wrong key is an AuthenticationError", async () => {
    const counted = counting(virtualKey());
    const error = await refusal(counted.client.models.list(), OpenAI.AuthenticationError);

    assert.equal(error.code, "invalid_api_key");
    assert.equal(counted.requests, 1);
  });

  test("an unknown model is a NotFoundError", async () => {
    const call = client.chat.completions.create({ model: "nobody", messages: say("hello") });

    assert.equal((await refusal(call, OpenAI.NotFoundError)).code, "model_not_found");
  });

  test("a bad request names the parameter", async () => {
    const call = client.chat.completions.create({ model: "gpt", messages: say("hello"), temperature: "hot" });

    assert.equal((await refusal(call, OpenAI.BadRequestError)).param, "temperature");
  });

  test("a cent affords three calls and then the SDK gives up at once", async () => {
    // Fifteen dollars per million tokens: 200 tokens of output are 0.3 cent.
    const secret = await newKey({ key: { displayName: "a cent", models: ["claude"] }, budgetNanoUsd: 10_000_000n });
    const counted = counting(secret);
    const call = () =>
      counted.client.chat.completions.create({
        model: "claude", max_completion_tokens: 200, messages: say('[[script {"output_tokens": 200, "chunks": 10}]]'),
      });
    for (let count = 0; count < 3; count++) await call();
    counted.requests = 0;

    assert.equal((await refusal(call(), OpenAI.RateLimitError)).code, "budget_exceeded");
    assert.equal(counted.requests, 1, "the SDK retries 429 unless it is told that it would be in vain");
  });

  test("a stream that breaks ends with an error and never silently", async () => {
    const messages = say('[[script {"chunks": 10, "cut_after_chunks": 4}]]');
    let text = "";
    const read = async () => {
      for await (const chunk of await client.chat.completions.create({ model: "gpt", messages, stream: true })) {
        text += chunk.choices[0]?.delta.content ?? "";
      }
    };

    await refusal(read(), OpenAI.APIError);
    assert.ok(text, "what arrived before the break was passed on");
  });
});

describe("sound and images", { concurrency: true }, () => {
  const sound = (size) => toFile(new Uint8Array(size).fill(7), "gate.mp3", { type: "audio/mpeg" });

  test("a text is spoken", async () => {
    const answer = await client.audio.speech.create({ model: "gpt", input: "Hello to the gate", voice: "coral" });
    assert.equal(Buffer.from(await answer.arrayBuffer()).toString(), "Hello to the gate");
  });

  test("a recording whose model stands behind it is written down, small and large", async () => {
    for (const size of [2500, 3 << 20]) {
      const answer = await client.audio.transcriptions.create({ file: await sound(size), model: "gpt" });
      assert.equal(answer.text, `${size} bytes of gate.mp3`);
    }
  });

  test("a transcript is told while it is made", async () => {
    const events = [];
    const asked = { model: "gpt", file: await sound(2500), stream: true };
    for await (const event of await client.audio.transcriptions.create(asked)) events.push(event);
    assert.equal(events.at(-1).text, "2500 bytes of gate.mp3");
    assert.equal(events.slice(0, -1).map((event) => event.delta).join(""), events.at(-1).text);
  });

  test("a recording is translated", async () => {
    const answer = await client.audio.translations.create({ file: await sound(2500), model: "gpt" });
    assert.equal(answer.text, "translated 2500 bytes of gate.mp3");
  });

  test("images are made, whole and streamed", async () => {
    const answer = await client.images.generate({ model: "gpt", prompt: "a gate", n: 2 });
    assert.deepEqual(answer.data.map((image) => Buffer.from(image.b64_json, "base64").toString()), ["image 0", "image 1"]);

    const kinds = [];
    const asked = { model: "gpt", prompt: "a gate", stream: true, partial_images: 1 };
    for await (const event of await client.images.generate(asked)) kinds.push(event.type);
    assert.deepEqual(kinds, ["image_generation.partial_image", "image_generation.completed"]);
  });

  test("an image is edited", async () => {
    const image = await toFile(Buffer.from("one"), "one.png", { type: "image/png" });
    const answer = await client.images.edit({ image: [image, image], model: "gpt", prompt: "a gate" });
    assert.equal(Buffer.from(answer.data[0].b64_json, "base64").toString(), "image 0");
    assert.equal(answer.usage.input_tokens_details.image_tokens, 200);
  });
});
