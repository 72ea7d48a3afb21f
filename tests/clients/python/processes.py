"""The built gateway and the scripted provider as processes: started on free ports, watched, ended with the tests."""

import json
import os
import re
import secrets
import subprocess
import time
import urllib.request
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
UPSTREAM_KEY = "sk-upstream-test"
PATIENCE = 20.0

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def virtual_key() -> str:
    """A new key: `tg-`, 32 random characters, and their CRC-32 as six base62 digits."""
    secret = "".join(secrets.choice(BASE62) for _ in range(32))
    rest, digits = zlib.crc32(secret.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = BASE62[digit] + digits
    return f"tg-{secret}{digits}"


def bearer(key: str) -> list[tuple[str, str]]:
    """The gRPC metadata that carries a key."""
    return [("authorization", f"Bearer {key}")]


@cache
def target_directory() -> Path:
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    )
    return Path(json.loads(metadata.stdout)["target_directory"])


def binary(name: str, variable: str) -> Path:
    """The program named by the variable, else the debug build."""
    path = Path(os.environ.get(variable) or target_directory() / "debug" / name)
    assert path.is_file(), f"{path} is missing: run `cargo build --workspace --bins`, or set {variable}"
    return path


def eventually(what: str, look, patience: float = PATIENCE):
    """Asks again and again until the answer is true, and returns it."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {patience} s"
        time.sleep(0.01)


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/health/readiness", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@dataclass
class Process:
    """A child that writes its output to a file. It is killed when the block ends."""

    command: list[str]
    output: Path
    directory: Path | None = None
    child: subprocess.Popen | None = field(default=None, init=False)

    def __enter__(self):
        with self.output.open("wb") as output:
            self.child = subprocess.Popen(
                self.command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def written(self) -> str:
        return self.output.read_text(errors="replace")

    def wrote(self, pattern: str) -> re.Match:
        """Waits for a line."""

        def look():
            assert self.child.poll() is None, f"{self.command} ended with {self.child.returncode}:\n{self.written()}"
            return re.search(pattern, self.written())

        return eventually(f"{self.command[0]} writes {pattern}", look)


class Provider(Process):
    """The scripted provider. A test finds its own calls by a word in their bodies."""

    def __init__(self, directory: Path):
        command = [binary("tollgate-load", "TOLLGATE_LOAD_BIN"), "provider", "--listen", "127.0.0.1:0", "--keep-bodies"]
        super().__init__([str(word) for word in command], directory / "provider.log")

    def __enter__(self):
        super().__enter__()
        self.base_url = self.wrote(r"scripted provider at (http://\S+/v1)")[1]
        return self

    def _control(self, verb: str) -> str:
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + f"/_control/{verb}", timeout=5) as answer:
            return answer.read().decode()

    def calls(self, word: str) -> list[dict]:
        """The ended calls whose body holds this word."""
        records = [json.loads(line) for line in self._control("log").splitlines()]
        return [record for record in records if word in json.dumps(record.get("body"))]

    def end_batches(self, word: str, status: str, answered: int | None = None):
        """Ends the batches whose input holds this word; so many of their lines are answered, else all."""
        body = json.dumps({"word": word, "status": status, "answered": answered}).encode()
        url = self.base_url.removesuffix("/v1") + "/_control/end_batches"
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=5):
            pass

    def open_calls(self) -> int:
        return json.loads(self._control("stats"))["open"]

    def hung_up(self, word: str, patience: float = 5.0) -> dict:
        """Waits until the one call with this word is known to have been left by its caller."""
        [record] = eventually("the provider sees the hang-up", lambda: self.calls(word), patience)
        assert record["hung_up"], record
        return record


class Gateway(Process):
    """The gateway, in front of the provider."""

    def __init__(self, directory: Path, provider: Provider):
        self.key, self.admin_key = virtual_key(), virtual_key()
        self.config = directory / "tollgate.yaml"
        self.config.write_text(yaml.safe_dump(self._configuration(directory / "data", provider.base_url)))
        command = [binary("tollgate", "TOLLGATE_BIN"), "serve", "--config", self.config, "--listen", "127.0.0.1:0"]
        super().__init__([str(word) for word in command], directory / "gateway.log")

    def _configuration(self, data_dir: Path, base_url: str) -> dict:
        def deployment(provider, model, **rest):
            return {"provider": provider, "model": model} | rest

        gpt = deployment("scripted", "gpt-upstream", price={"input": "0.15", "output": "0.60"},
                         max_output_tokens=4096, context_window=128_000)
        claude = deployment("claude", "claude-upstream", price={"input": "3", "output": "15"},
                            max_output_tokens=4096, context_window=200_000)
        llama = deployment("vllm", "llama-upstream", price={"input": "0.1", "output": "0.3"},
                           max_output_tokens=4096, context_window=128_000)
        native = deployment("responses", "o4-upstream", price={"input": "1", "output": "4"},
                            max_output_tokens=4096, context_window=200_000)
        embed = deployment("scripted", "embed-upstream", price={"input": "0.02", "output": "0"})
        return {
            "data_dir": str(data_dir),
            "providers": {
                "scripted": {"kind": "openai", "base_url": base_url, "api_key": UPSTREAM_KEY},
                "claude": {"kind": "anthropic", "base_url": base_url, "api_key": UPSTREAM_KEY},
                "responses": {"kind": "openai_responses", "base_url": base_url, "api_key": UPSTREAM_KEY},
                "vllm": {"kind": "vllm", "base_url": base_url, "api_key": UPSTREAM_KEY},
            },
            # All tests share one gateway: what one makes fail is not left alone for the next.
            "routing": {"cooldown": {"time": "0s"}},
            "models": [
                {"name": "gpt", "deployments": [gpt]},
                {"name": "claude", "deployments": [claude]},
                {"name": "native", "deployments": [native]},
                {"name": "llama", "deployments": [llama]},
                {"name": "embed", "deployments": [embed]},
            ],
            "keys": [
                {"name": "tests", "secret": self.key, "models": ["*"]},
                {"name": "admin", "secret": self.admin_key, "role": "platform_admin"},
            ],
        }

    def __enter__(self):
        super().__enter__()
        self.url = self.wrote(r"listens on (http://\S+)")[1]
        self.address = self.url.removeprefix("http://")
        eventually("the gateway is ready", lambda: is_ready(self.url))
        return self


@dataclass
class Rest:
    """Where a REST client calls, and its key."""

    url: str
    key: str


class Shim(Process):
    """The OpenAI shim in a process of its own, in front of the gateway."""

    def __init__(self, directory: Path, gateway: Gateway):
        command = [binary("tollgate-http", "TOLLGATE_HTTP_BIN"), "--upstream", gateway.url, "--listen", "127.0.0.1:0"]
        super().__init__([str(word) for word in command], directory / "shim.log")

    def __enter__(self):
        super().__enter__()
        self.url = self.wrote(r"listens on (http://\S+)")[1]
        eventually("the shim is ready", lambda: is_ready(self.url))
        return self
