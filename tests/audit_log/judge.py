"""Answers, line by line, what docs/verify_audit.py finds wrong with exports that differ a little from a first one."""

import base64
import functools
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs"))
sys.dont_write_bytecode = True
import verify_audit

# Most of an export is the same each time: what it hashes to and says is computed once.
for name in ["leaf_hash", "node_hash", "fields", "check_signature"]:
    setattr(verify_audit, name, functools.lru_cache(200_000)(getattr(verify_audit, name)))


def main():
    def unpacked(files):
        return {path: base64.b64decode(data) for path, data in files.items()}

    first = json.loads(sys.stdin.readline())
    whole, since = unpacked(first["files"]), [base64.b64decode(first["since"])]
    for line in sys.stdin:
        asked = json.loads(line)
        files = {path: data for path, data in whole.items() if path not in asked["gone"]} | unpacked(asked["set"])
        print(json.dumps(verify_audit.verify(files, first["key"], since, base64.b64decode(asked["ledger"]))), flush=True)


main()
