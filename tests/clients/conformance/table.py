"""The language x case table, for a terminal and for docs/clients.md."""

from pathlib import Path

from cases import Case

BEGIN, END = "<!-- cases: generated -->", "<!-- cases: end -->"
Results = dict[str, dict[str, list[str]]]


def plain(cases: list[Case], results: Results) -> str:
    width = max(len(case.name) for case in cases)
    head = " " * width + "  " + "  ".join(results)
    rows = [
        f"{case.name:<{width}}  " + "  ".join(f"{'FAILED' if results[name][case.name] else 'ok':<{len(name)}}" for name in results)
        for case in cases
    ]
    return "\n".join([head, *rows])


def markdown(cases: list[Case], results: Results) -> str:
    lines = [
        BEGIN,
        f"{len(cases)} cases.",
        "",
        "| case | what it shows | " + " | ".join(results) + " |",
        "|---|---|" + "---|" * len(results),
    ]
    for case in cases:
        verdicts = " | ".join("**fails**" if results[name][case.name] else "yes" for name in results)
        lines.append(f"| `{case.name}` | {case.get('about').rstrip('.')} | {verdicts} |")
    return "\n".join([*lines, END])


def write(docs: Path, cases: list[Case], results: Results) -> None:
    text = docs.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    docs.write_text(before + markdown(cases, results) + after)


def is_current(docs: Path, cases: list[Case], results: Results) -> bool:
    return docs.is_file() and markdown(cases, results) in docs.read_text()
