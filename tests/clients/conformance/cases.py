"""Reads tests/cases: what is called, what the provider does, what must be seen."""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MEMBERS = {
    "name", "about", "key", "as", "via", "relay", "models", "scripts", "script", "before", "while_open", "call", "expect", "after",
    "provider", "ledger", "relayed", "fixtures", "when_seen", "tls",
}
COMPLETIONS = ("complete", "stream", "count_tokens")
# Where the text of other calls stands.
TEXTS = {"speak": "input", "transcribe": "prompt", "generate_image": "prompt", "edit_image": "prompt"}


@dataclass(frozen=True)
class Case:
    """One case, as written."""

    name: str
    document: dict[str, Any]

    def get(self, member: str, default: Any = None) -> Any:
        return self.document.get(member, default)

    @property
    def call(self) -> dict[str, Any]:
        return self.document["call"]


def load(directory: Path) -> list[Case]:
    """All cases, by file and place. Raises ValueError for one that cannot be understood: it would pass unseen."""
    cases = []
    for file in sorted(directory.glob("*.yaml")):
        for document in yaml.safe_load(file.read_text())["cases"]:
            unknown = document.keys() - MEMBERS
            if unknown or not {"name", "about", "call", "expect"} <= document.keys():
                raise ValueError(f"{file.name}: {document.get('name')}: unknown or missing members: {unknown or 'name, about, call, expect'}")
            if not document["name"].startswith(f"{file.stem}/"):
                raise ValueError(f"{file.name}: {document['name']} must begin with {file.stem}/")
            cases.append(Case(document["name"], document))
    twice = {case.name for case in cases if sum(other.name == case.name for other in cases) > 1}
    if twice:
        raise ValueError(f"cases of the same name: {sorted(twice)}")
    return cases


def filled(value: Any, known: dict[str, Any]) -> Any:
    """The same with each `${a.b}` replaced by what is known under that path, and each `{$bytes: TEXT}` by its bytes as JSON has them."""
    if isinstance(value, dict):
        if value.keys() == {"$bytes"}:
            return base64.b64encode(filled(value["$bytes"], known).encode()).decode()
        return {name: filled(inner, known) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, known) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\$\{([\w.]+)\}", lambda found: str(look_up(found[1], known)), value)
    return value


def look_up(path: str, known: dict[str, Any]) -> Any:
    at: Any = known
    for name in path.split("."):
        if not isinstance(at, dict) or name not in at:
            raise ValueError(f"nothing is known as ${{{path}}}")
        at = at[name]
    return at


def marked(call: dict[str, Any], word: str, script: dict[str, Any] | None) -> dict[str, Any]:
    """The call with a word to find it by at the provider, and with the script for the provider, in its last text."""
    call = json.loads(json.dumps(call))
    suffix = f" {word}" + (f" [[script {json.dumps(script)}]]" if script else "")
    texts: list[dict[str, Any]] = []
    if call["do"] in COMPLETIONS:
        users = [message for message in call["request"].get("messages", []) if message["role"] == "ROLE_USER"]
        texts = [part["text"] for part in (users[-1]["parts"] if users else []) if "text" in part]
    elif call["do"] == "embed":
        texts = [one for one in call["request"].get("inputs", []) if "text" in one][:1]
    elif call["do"] in TEXTS:
        member = TEXTS[call["do"]]
        call["request"][member] = call["request"].get(member, "") + suffix
        return call
    if texts:
        texts[-1]["text"] += suffix
    elif script:
        raise ValueError("a script needs a text to stand in")
    return call
