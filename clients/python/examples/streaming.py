"""Prints an answer as it is made: `python examples/streaming.py MODEL "a question"`."""

import sys

from tollgate import Client, TollgateError


def main() -> int:
    """Streams one answer, then says what it cost."""
    model, question = sys.argv[1:3]
    with Client() as client, client.stream(model, question, max_output_tokens=300) as stream:
        try:
            for piece in stream.text:
                print(piece, end="", flush=True)
        except TollgateError as error:
            print(f"\nbroke after {len(stream.so_far().text)} characters: {error}", file=sys.stderr)
            return 1
        answer = stream.collect()
    print(f"\n{answer.finish_reason}, {answer.usage.output.total} tokens, {answer.usage.cost_nano_usd / 1e9:.6f} dollars")
    return 0


if __name__ == "__main__":
    sys.exit(main())
