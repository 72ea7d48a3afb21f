// Lets a model call a function until it has its answer: `node build/examples/tools.js MODEL`.
import { Client, type MessageInput, tool, toolResult, user } from "@tollgate/client";

const [model = "gpt"] = process.argv.slice(2);
const client = new Client();

const tools = [
  tool({
    name: "weather",
    description: "The weather of a city now",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  }),
];
const messages: MessageInput[] = [user("What is the weather in Paris?")];

// A model may ask again and again; five turns are enough for this question.
for (let turn = 0; turn < 5; turn++) {
  const answer = await client.complete({ model, messages, tools });
  if (answer.message) messages.push(answer.message);
  if (answer.toolCalls.length === 0) {
    console.log(answer.text);
    break;
  }
  for (const call of answer.toolCalls) {
    console.log(`${call.name} ${call.arguments}`);
    try {
      call.parse();
      messages.push(toolResult(call.id, { sky: "clear", celsius: 21 }));
    } catch (error) {
      messages.push(toolResult(call.id, `the arguments are no JSON: ${String(error)}`, { isError: true }));
    }
  }
}
