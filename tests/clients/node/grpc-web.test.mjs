// gRPC-Web as a browser speaks it: fetch over HTTP/1.1, code generated from the contract.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { CompletionService, StreamCompletionRequestSchema } from "../gen/tollgate/v1/completion_pb.js";
import { ModelService } from "../gen/tollgate/v1/model_pb.js";
import { Role } from "../gen/tollgate/v1/message_pb.js";
import { start } from "./world.mjs";

let world;
let transport;
before(async () => {
  world = await start();
  transport = createGrpcWebTransport({ baseUrl: world.url });
});
after(() => world.stop());

const headers = () => ({ authorization: `Bearer ${world.key}` });
const hello = () =>
  create(StreamCompletionRequestSchema, {
    request: {
      model: "gpt",
      messages: [{ role: Role.USER, parts: [{ content: { case: "text", value: { text: "Say hello" } } }] }],
    },
  });

test("a unary call answers", async () => {
  const { models } = await createClient(ModelService, transport).listModels({}, { headers: headers() });
  assert.deepEqual(models.map((m) => m.name), ["embed", "gpt"]);
});

test("a completion is streamed", async () => {
  const kinds = [];
  let text = "";
  for await (const { event } of createClient(CompletionService, transport).streamCompletion(hello(), { headers: headers() })) {
    kinds.push(event.event.case);
    if (event.event.case === "delta") text += event.event.value.piece.value;
  }
  assert.ok(text.length > 0);
  assert.deepEqual([kinds[0], kinds.at(-1)], ["started", "usage"]);
});

test("an error carries its code and details", async () => {
  const call = createClient(ModelService, transport).listModels({}, { headers: { authorization: "Bearer tg-no" } });
  await assert.rejects(call, (error) => {
    assert.equal(ConnectError.from(error).code, Code.Unauthenticated);
    return error.details.some((d) => d.type === "google.rpc.ErrorInfo");
  });
});

test("a browser's preflight is allowed", async () => {
  const reply = await fetch(`${world.url}/tollgate.v1.ModelService/ListModels`, {
    method: "OPTIONS",
    headers: {
      origin: "https://app.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type,x-grpc-web",
    },
  });
  assert.ok(reply.ok);
  assert.equal(reply.headers.get("access-control-allow-origin"), "*");
});
