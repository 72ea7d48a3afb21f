import { Internal } from "./errors.js";

/** The message that the contract promises in an answer. */
export function one<T>(message: T | undefined): T {
  if (message !== undefined) return message;
  throw new Internal({ code: "INTERNAL", message: "the gateway's answer lacks what the contract promises", metadata: {}, violations: [] });
}
