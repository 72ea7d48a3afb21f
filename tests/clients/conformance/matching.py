"""What is expected as a part of what is seen."""

import re
from typing import Any

MATCHERS = {
    "$any": lambda seen, wanted: (seen is not None) == wanted,
    "$gte": lambda seen, wanted: seen is not None and number(seen) >= wanted,
    "$lte": lambda seen, wanted: seen is not None and number(seen) <= wanted,
    "$match": lambda seen, wanted: isinstance(seen, str) and re.search(wanted, seen) is not None,
    "$in": lambda seen, wanted: seen in wanted,
    "$size": lambda seen, wanted: len(seen or []) == wanted,
    "$has": lambda seen, wanted: all(any(not list(differences(want, one)) for one in seen or []) for want in wanted),
    "$same": lambda seen, wanted: is_same([at_path(one, wanted) for one in seen or []]),
    "$not": lambda seen, wanted: bool(list(differences(wanted, seen))),
}


def at_path(value: Any, path: str) -> Any:
    """The member at `key.id`, or None."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def is_same(values: list[Any]) -> bool:
    """Whether there are values, and all are the same one."""
    return bool(values) and values[0] is not None and all(value == values[0] for value in values)


def number(value: Any) -> float:
    return float(value)


def is_default(value: Any) -> bool:
    """Whether proto3's JSON form leaves the value out. What is told apart from its default is asked for by `$any`."""
    return value in (None, False, 0, "", "0", [], {})


def differences(expected: Any, seen: Any, path: str = ""):
    """Says where what was seen is not what is expected, one line for each place."""
    if isinstance(expected, dict):
        if any(name.startswith("$") for name in expected):
            for name, wanted in expected.items():
                if not MATCHERS[name](seen, wanted):
                    yield f"{path or 'it'}: expected {name} {wanted!r}, saw {shorten(seen)}"
            return
        if not isinstance(seen, dict):
            if not (seen is None and all(is_default(value) for value in expected.values())):
                yield f"{path or 'it'}: expected {expected!r}, saw {shorten(seen)}"
            return
        for name, value in expected.items():
            yield from differences(value, seen.get(name), f"{path}.{name}" if path else name)
    elif isinstance(expected, list) and isinstance(seen, list) and len(expected) == len(seen):
        for at, (wanted, value) in enumerate(zip(expected, seen, strict=True)):
            yield from differences(wanted, value, f"{path}[{at}]")
    elif expected != seen and not (seen is None and is_default(expected)):
        yield f"{path or 'it'}: expected {expected!r}, saw {shorten(seen)}"


def shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + "..."
