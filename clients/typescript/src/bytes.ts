import { Cancelled } from "./errors.js";

/**
 * Bytes as they come: `for await`, or all at once. They are read once, and the call is sent when they are first read. Leaving a loop early
 * ends the call, at the provider as well.
 */
export class ByteStream implements AsyncIterable<Uint8Array> {
  readonly #pieces: AsyncGenerator<Uint8Array, void, undefined>;

  /** Over what `pieces` yields. */
  constructor(pieces: AsyncGenerator<Uint8Array, void, undefined>) {
    this.#pieces = pieces;
  }

  /** Piece by piece: what Node's `writeFile(path, stream)` and `pipeline` take, too. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#pieces;
  }

  /** All of them. */
  async bytes(): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this.#pieces) pieces.push(piece);
    const all = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  /** As a stream of the web's: the body of a `Response`, say. */
  readable(): ReadableStream<Uint8Array> {
    const pieces = this.#pieces;
    return new ReadableStream({
      async pull(controller) {
        const next = await pieces.next();
        if (next.done === true) controller.close();
        else controller.enqueue(next.value);
      },
      async cancel() {
        await pieces.return(undefined);
      },
    });
  }
}

/** What somebody gets who waits for a batch and gives up. */
export function gaveUp(message: string): Cancelled {
  return new Cancelled({ code: "CANCELLED", message, metadata: {}, violations: [] });
}
