"""A gateway over the scripted provider: real processes, free ports, one pair for the whole run."""

import json
import os
import pathlib
import secrets
import socket
import string
import subprocess
import tempfile
import time
import urllib.request
import zlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def virtual_key() -> str:
    """`tg-`, 32 random base62 characters, and CRC-32 of them in six base62 digits."""
    body = "".join(secrets.choice(BASE62) for _ in range(32))
    value, check = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        check = BASE62[digit] + check
    return f"tg-{body}{check}"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def binary(name: str) -> str:
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return str(pathlib.Path(target) / "debug" / name)


def until(what: str, holds, seconds: float = 10.0):
    """Polls until `holds` is true; a failure to answer counts as not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := holds():
                return found
        except OSError:
            pass
        assert time.monotonic() < end, f"{what}: not within {seconds} seconds"
        time.sleep(0.02)


class Provider:
    def __init__(self, port: int):
        self.root = f"http://127.0.0.1:{port}"

    def log(self) -> list[dict]:
        with urllib.request.urlopen(f"{self.root}/_control/log") as reply:
            text = reply.read().decode()
        return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines() if line]

    def script(self, model: str, *steps: dict, repeat: bool = False):
        body = json.dumps({"model": model, "steps": list(steps), "repeat": repeat}).encode()
        request = urllib.request.Request(f"{self.root}/_control/script", body, {"content-type": "application/json"})
        urllib.request.urlopen(request).read()


class World:
    def __init__(self, url: str, provider: Provider, key: str, admin: str):
        self.url, self.provider, self.key, self.admin = url, provider, key, admin
        self.target = url.removeprefix("http://")

    def bearer(self, key: str | None = None):
        return (("authorization", f"Bearer {key or self.key}"),)


@pytest.fixture(scope="session")
def world():
    provider_port, port, shim_port = free_port(), free_port(), free_port()
    key, admin, poor = virtual_key(), virtual_key(), virtual_key()
    priced = {"input": "0.15", "output": "0.60"}
    config = {
        "providers": {
            "scripted": {"kind": "openai", "base_url": f"http://127.0.0.1:{provider_port}/v1", "api_key": "sk-upstream-test"},
            "claude": {"kind": "anthropic", "base_url": f"http://127.0.0.1:{provider_port}/v1", "api_key": "sk-upstream-test"},
        },
        "models": [
            {"name": name, "deployments": [{"provider": provider, "model": f"{name}-upstream", "price": priced, "max_output_tokens": 4096}]}
            for name, provider in [("gpt", "scripted"), ("claude", "claude"), ("embed", "scripted"), ("slow", "scripted")]
        ],
        "keys": [
            {"name": "tests", "secret": key, "models": ["*"]},
            {"name": "poor", "secret": poor, "models": ["*"], "budget_usd": "0"},
            {"name": "admin", "secret": admin, "role": "platform_admin"},
        ],
    }
    with tempfile.TemporaryDirectory() as directory:
        config["data_dir"] = f"{directory}/data"
        path = pathlib.Path(directory) / "tollgate.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        logs = open(f"{directory}/log", "w")
        processes = [
            subprocess.Popen([binary("tollgate-load"), "provider", "--listen", f"127.0.0.1:{provider_port}"], stdout=logs, stderr=logs),
            subprocess.Popen([binary("tollgate"), "serve", "--config", str(path), "--listen", f"127.0.0.1:{port}"], stdout=logs, stderr=logs),
        ]
        shim = [binary("tollgate-http"), "--upstream", f"http://127.0.0.1:{port}", "--listen", f"127.0.0.1:{shim_port}"]
        processes.append(subprocess.Popen(shim, stdout=logs, stderr=logs))
        try:
            url = f"http://127.0.0.1:{port}"
            provider = Provider(provider_port)
            until("the provider answers", lambda: provider.log() is not None)
            until("the gateway is ready", lambda: urllib.request.urlopen(f"{url}/health/readiness").status == 200)
            built = World(url, provider, key, admin)
            built.poor, built.standalone = poor, f"http://127.0.0.1:{shim_port}"
            until("the shim is ready", lambda: urllib.request.urlopen(f"{built.standalone}/health/readiness").status == 200)
            yield built
        finally:
            for process in reversed(processes):  # the shim before the gateway that it holds a connection to
                process.terminate()
            for process in processes:
                process.wait(10)
