"""Plays tests/cases with the clients and prints a table: `run [--language NAME]... [--case PATTERN]... [--docs]`."""

import argparse
import os
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path
from subprocess import SubprocessError

# gRPC's own words on connections that runners close.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

HERE = Path(__file__).resolve().parent
LANGUAGES = ("rust", "python", "typescript", "go", "java")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    parser.add_argument("--language", action="append", help="only this client (may be given again); default: all that have a runner")
    parser.add_argument("--case", action="append", help="only cases of this name or pattern, such as `keys/*` (may be given again)")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/clients.md, as TOLLGATE_UPDATE_DOCS=1 does")
    parser.add_argument("--repository", type=Path, default=HERE.parents[2])
    parser.add_argument("--cases", type=Path, help="default: tests/cases of the repository")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    repository = options.repository.resolve()
    sys.path.insert(0, str(repository / "tests/clients/python"))
    # Behind the path: they stand on the processes of the other tests.
    import table
    from cases import load
    from contract import Contract
    from play import play

    with_runner = [name for name in LANGUAGES if (repository / "clients" / name / "conformance/command").is_file()]
    languages = options.language or with_runner
    patterns = options.case or ["*"]
    every = load(options.cases or repository / "tests/cases")
    cases = [case for case in every if any(fnmatch(case.name, pattern) for pattern in patterns)]
    if not cases or not languages:
        print(f"nothing to play: {len(cases)} cases, {len(languages)} clients", file=sys.stderr)
        return 2
    contract = Contract.of(repository)
    results: dict[str, dict[str, list[str]]] = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        for language in languages:
            began = time.monotonic()
            try:
                results[language] = play(repository, contract, cases, language, Path(directory) / language)
            except (RuntimeError, OSError, ValueError, SubprocessError) as error:
                print(f"{language}: {error}", file=sys.stderr)
                results[language] = {case.name: ["not played"] for case in cases}
            passed = sum(not wrong for wrong in results[language].values())
            print(f"{language}: {passed} of {len(cases)} cases passed, {time.monotonic() - began:.1f} s")
    print(table.plain(cases, results))
    failed = [(language, name, wrong) for language, by_case in results.items() for name, wrong in by_case.items() if wrong]
    for language, name, wrong in failed:
        print(f"\n{language}: {name}", *wrong, sep="\n  ")
    whole = cases == every and languages == with_runner
    docs = repository / "docs/clients.md"
    if whole and (options.docs or os.environ.get("TOLLGATE_UPDATE_DOCS")):
        table.write(docs, cases, results)
    elif whole and not table.is_current(docs, cases, results):
        print(f"\n{docs.name} does not tell this: run with --docs", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
