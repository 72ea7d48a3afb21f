"""Writes `src/tollgate/_sync` from `src/tollgate/_async`: one text, two manners. `--check` only tells whether they agree."""

import re
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "tollgate"

# In this order.
RULES = [
    (r"\bawait asyncio\.to_thread\((.+)\)", r"\1()"),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"import grpc\n(import grpc\.aio\n)", "import grpc\n"),
    (r"import asyncio\nimport time\n", "import time\n"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\banext\(", "next("),
    (r"\bgrpc\.aio\.", "grpc."),
    (r"\b_async\b", "_sync"),
    (r"\bAsync(Client|Stream|Records|Speech|Iterator|Iterable|Generator)\b", r"\1"),
    (r"\b__a(iter|next|enter|exit)__\b", r"__\1__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\baclose\b", "close"),
]
HEAD = "# Made from `_async` by tools/unasync.py; change that one.\n"


def written() -> dict[Path, str]:
    """The synchronous half, by file."""
    made = {}
    for file in sorted((SOURCE / "_async").glob("*.py")):
        text = file.read_text()
        for pattern, replacement in RULES:
            text = re.sub(pattern, replacement, text)
        made[SOURCE / "_sync" / file.name] = HEAD + text
    return made


def main() -> int:
    """Writes the files, or with `--check` names those that differ."""
    stale = [file for file, text in written().items() if not file.is_file() or file.read_text() != text]
    if "--check" in sys.argv:
        for file in stale:
            print(f"{file.name} of _sync is not what _async says: run tools/unasync.py", file=sys.stderr)
        return 1 if stale else 0
    (SOURCE / "_sync").mkdir(exist_ok=True)
    for file, text in written().items():
        file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
