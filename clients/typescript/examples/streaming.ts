// Streams an answer word by word, and tells what it cost: `node build/examples/streaming.js MODEL "a question"`.
import { Client, formatUsd, StreamTruncated } from "@tollgate/client";

const [model = "gpt", question = "Why is the sky blue?"] = process.argv.slice(2);
const client = new Client();

const stream = client.stream({ model, messages: question, maxOutputTokens: 400 }, { timeout: 60_000 });
// Leaving the loop ends the call at the provider too.
process.once("SIGINT", () => {
  stream.cancel();
});
try {
  for await (const { event } of stream) {
    if (event.case === "started") console.error(`${event.value.provider} answers with ${event.value.servedModel}`);
    if (event.case === "delta" && event.value.piece.case === "text") process.stdout.write(event.value.piece.value);
  }
  const { usage, callId } = await stream.collect();
  console.log(`\n${callId}: ${String(usage?.output?.total)} tokens for ${formatUsd(usage?.costNanoUsd ?? 0n)}`);
} catch (error) {
  if (!(error instanceof StreamTruncated)) throw error;
  console.error(`\nbroke off after ${formatUsd(error.partialUsage?.usage?.costNanoUsd ?? 0n)}: ${error.message}`);
  process.exitCode = 1;
}
