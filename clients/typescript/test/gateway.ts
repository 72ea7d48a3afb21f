// The built gateway with a scripted provider, as the tests of stock Node clients start them.

/** A running gateway. */
export interface Gateway {
  /** Its address. */
  readonly url: string;
  /** A key for every model. */
  readonly key: string;
  /** A platform admin's key. */
  readonly adminKey: string;
  /** The provider's ended calls whose body holds this word. */
  readonly calls: (word: string) => Promise<{ hung_up: boolean; ended_at_ms: number }[]>;
  /** Ends both. */
  readonly stop: () => Promise<void>;
}

interface Processes {
  start: () => Promise<Gateway>;
  eventually: <T>(what: string, look: () => Promise<T | false>) => Promise<T>;
}

const { start, eventually } = (await import(new URL("../../../../tests/clients/node/processes.js", import.meta.url).href)) as Processes;
export { eventually, start };

/** A question that tells the scripted provider what to do. */
export const scripted = (step: object, word = "") => `${word} [[script ${JSON.stringify(step)}]]`;
