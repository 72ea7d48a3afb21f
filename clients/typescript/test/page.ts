// What runs in the browser: streams an answer into the page. `browser.test.ts` bundles and opens it.
import { Client, ModelNotFound, usd } from "@tollgate/client/web";

/** What the page is asked to do, and what it shows. */
export interface Page {
  /** Streams an answer into `#answer`; the settled cost in nano-dollars. */
  ask: (address: string, key: string, model: string, question: string) => Promise<string>;
  /** Leaves the stream that is being read. */
  leave: () => void;
}

let leave: () => void = () => undefined;
const page: Page = {
  async ask(address, key, model, question) {
    const shown = document.querySelector("#answer") ?? document.body;
    shown.textContent = "";
    const client = new Client({ address, key });
    const stream = client.stream({ model, messages: question, tollgate: { maxCostNanoUsd: usd("1") } });
    leave = () => {
      stream.cancel();
    };
    try {
      for await (const piece of stream.text) shown.textContent += piece;
      return String((await stream.collect()).usage?.costNanoUsd);
    } catch (error) {
      return error instanceof ModelNotFound ? `there is no ${String(error.model)}` : String(error);
    }
  },
  leave: () => {
    leave();
  },
};
Object.assign(globalThis, { page });
