"""A provider that plays the adapters' fixtures, and a gateway with a provider of the right kind in front of each."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from processes import REPOSITORY, UPSTREAM_KEY, Gateway

FIXTURES = REPOSITORY / "server/providers/fixtures"

@dataclass(frozen=True)
class Fixture:
    """An answer of a provider: `openai/text`, its envelope, the bytes of its body."""

    name: str
    envelope: dict
    body: bytes

    @property
    def kind(self) -> str:
        return self.name.split("/")[0]

    @property
    def alias(self) -> str:
        return self.name.replace("/", ".")

    @property
    def expect(self) -> dict:
        return self.envelope["expect"]

    @property
    def streams(self) -> bool:
        return bool(self.envelope["request"].get("stream"))

    @property
    def path(self) -> str:
        return self.envelope["request"]["path"]

    def changed(self, name: str, change) -> "Fixture":
        """The same with another body, under a name of its own."""
        return Fixture(f"{self.name}+{name}", self.envelope, change(self.body))


def fixtures() -> list[Fixture]:
    found = []
    for file in sorted(FIXTURES.glob("*/*.fixture.json")):
        envelope = json.loads(file.read_text())
        body = (file.parent / envelope["response"]["body_file"]).read_bytes()
        found.append(Fixture(envelope["fixture"], envelope, body))
    return found


class Player:
    """Answers every request below `/<fixture>/` with that fixture, whatever is asked there."""

    def __init__(self, played: list[Fixture]):
        by_alias = {fixture.alias: fixture for fixture in played}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers.get("content-length", 0)))
                fixture = by_alias[self.path.split("/")[1]]
                response = fixture.envelope["response"]
                self.send_response(response["status"])
                for name, value in response["headers"]:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(fixture.body)))
                self.end_headers()
                self.wfile.write(fixture.body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def provider_settings(kind: str, base_url: str) -> dict:
    return {"kind": kind, "base_url": base_url, "api_key": UPSTREAM_KEY}


class PlayedGateway(Gateway):
    """The gateway with a model for each fixture, named as it: `deployment_of(fixture)` says of which upstream model, at which price."""

    def __init__(self, directory: Path, player: Player, played: list[Fixture], deployment_of):
        self.played, self.deployment_of = played, deployment_of
        super().__init__(directory, player)

    def _configuration(self, data_dir: Path, base_url: str) -> dict:
        def model(fixture):
            return {
                "name": fixture.alias,
                "retries": 0,
                "deployments": [{"provider": fixture.alias, "name": fixture.alias} | self.deployment_of(fixture)],
            }

        return {
            "data_dir": str(data_dir),
            "providers": {f.alias: provider_settings(f.kind, f"{base_url}/{f.alias}") for f in self.played},
            "models": [model(fixture) for fixture in self.played],
            "keys": [
                {"name": "tests", "secret": self.key, "models": ["*"]},
                {"name": "admin", "secret": self.admin_key, "role": "platform_admin"},
            ],
        }
