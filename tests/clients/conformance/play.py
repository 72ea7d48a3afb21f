"""Plays the cases with one client: the world around it, its runner, and what must be true afterwards."""

import json
import os
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from cases import Case, filled, marked
from contract import Contract, Refused
from matching import differences
from played import Fixture, Player, fixtures, provider_settings
from processes import Gateway, Provider
from relay import Relay
from secure import Secured

RUNNER_PATIENCE = 180.0
EFFECTS_PATIENCE = 8.0


class WorldGateway(Gateway):
    """The gateway with the models that cases bring along, and a model for each recorded answer that they play."""

    def __init__(self, directory: Path, provider: Provider, cases: list[Case], player: Player, played: list[Fixture]):
        self.cases, self.player, self.played = cases, player, played
        super().__init__(directory, provider)

    def _configuration(self, data_dir: Path, base_url: str) -> dict[str, Any]:
        configuration = super()._configuration(data_dir, base_url)
        configuration["models"] += [model for case in self.cases for model in case.get("models", [])]
        for fixture in self.played:
            url = f"{self.player.base_url}/{fixture.alias}"
            configuration["providers"][fixture.alias] = provider_settings(fixture.kind, url)
            served = {"provider": fixture.alias, "model": fixture.alias, "price": {"input": "1", "output": "4"}}
            limits = {"max_output_tokens": 4096, "context_window": 128_000}
            configuration["models"].append({"name": fixture.alias, "retries": 0, "deployments": [served | limits]})
        return configuration


@dataclass
class Staged:
    """A case with everything made that it stands on."""

    case: Case
    word: str
    known: dict[str, Any]
    secret: str | None
    call: dict[str, Any]
    relay: Relay | None = None
    address: str | None = None
    tls: dict[str, str] = field(default_factory=dict)

    def for_runner(self) -> dict[str, Any]:
        staged = {"name": self.case.name, "call": self.call}
        if self.secret:
            staged["key"] = self.secret
        if self.address:
            staged["address"] = self.address
        if self.tls:
            staged["tls"] = self.tls
        return staged


@dataclass
class World:
    """A provider, a gateway before it, and the admin's hand."""

    contract: Contract
    provider: Provider
    gateway: Gateway
    channel: grpc.Channel
    stack: ExitStack
    secured: dict[str, Secured]
    problems: dict[str, list[str]] = field(default_factory=dict)

    # --- before ----------------------------------------------------------------------------------------------------------

    def rpc(self, step: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """One call of the harness itself, as `before`, `while_open` and `after` write it."""
        key = {"admin": self.gateway.admin_key, "key": known["key"]["secret"], "none": None}[step.get("as", "admin")]
        request = filled(step.get("requests", step.get("request", {})), known)
        answer = {}
        for _ in range(step.get("times", 1)):
            answer = self.contract.call(self.channel, step["rpc"], request, key)
        if "save" in step:
            known[step["save"]] = answer
        return answer

    def stage(self, case: Case) -> Staged:
        word = f"case{uuid.uuid4().hex}"
        wanted = {"key": {"displayName": case.name, "models": ["*"]}}
        wanted["key"] |= case.get("key", {}).get("key", {})
        made = self.contract.call(
            self.channel, "KeyAdminService/CreateKey", case.get("key", {}) | wanted, self.gateway.admin_key
        )
        known = {
            "case": word,
            "key": {"id": made["key"]["id"], "secret": made["secret"]},
            "budget_id": made.get("budgetId", ""),
        }
        for step in case.get("before", []):
            self.rpc(step, known)
        for model, steps in case.get("scripts", {}).items():
            self.control("script", {"model": model, "steps": steps})
        secrets = {"key": made["secret"], "admin": self.gateway.admin_key, "none": None}
        chosen = case.get("as", "key")
        call = filled(marked(case.call, word, case.get("script")), known)
        staged = Staged(case, word, known, secrets.get(chosen, chosen), call)
        if case.get("via") == "relay":
            staged.relay = self.stack.enter_context(Relay(self.gateway.address, **case.get("relay", {})))
            staged.address = staged.relay.address
        elif case.get("via") in ("tls", "mtls"):
            # A gateway of its own, which knows the keys of its configuration.
            secured = self.secured[case.get("via")]
            staged.address, staged.secret = secured.url, secured.key
            staged.tls = {name: str(secured.files[name]) for name in case.get("tls", [])}
        return staged

    def control(self, verb: str, document: dict[str, Any]) -> None:
        url = self.provider.base_url.removesuffix("/v1") + f"/_control/{verb}"
        request = urllib.request.Request(url, json.dumps(document).encode(), {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=5).close()

    # --- meanwhile -------------------------------------------------------------------------------------------------------

    def keep_busy(self, staged: list[Staged], stopped: threading.Event) -> None:
        """Makes the calls of `while_open` as long as a call is open at the relay of their case, and once what `when_seen` waits for."""
        waiting = [one for one in staged if "when_seen" in one.case.document]
        while not stopped.wait(0.1):
            for one in [one for one in waiting if one.relay and len(one.relay.seen) >= one.case.document["when_seen"]["calls"]]:
                waiting.remove(one)
                self.control("end_batches", {"word": one.word, "status": one.case.document["when_seen"]["end_batches"]})
            for one in staged:
                if one.relay and one.relay.open:
                    for step in one.case.get("while_open", []):
                        try:
                            self.rpc(step, one.known)
                        except Refused as refused:
                            self.problems.setdefault(one.case.name, []).append(f"while open: {refused}")

    # --- after -----------------------------------------------------------------------------------------------------------

    def verdict(self, staged: Staged, saw: dict[str, Any] | None) -> list[str]:
        """What is wrong with a case; empty: nothing."""
        case = staged.case
        if saw is None:
            return ["the runner said nothing of it"]
        wrong = list(self.problems.get(case.name, []))
        wrong += differences(filled(case.get("expect"), staged.known), saw, "saw")
        if wrong and "error" in saw:
            wrong.append(f"saw.error: {saw['error']}")
        for effect, check in (("provider", self.at_provider), ("ledger", self.in_ledger), ("relayed", self.at_relay)):
            if effect in case.document:
                expected = filled(case.document[effect], staged.known)
                wrong += settled(lambda check=check, expected=expected: check(staged, expected, saw))
        for step in case.get("after", []):
            wrong += self.afterwards(step, staged)
        return wrong

    def at_provider(self, staged: Staged, expected: dict[str, Any], saw: dict[str, Any]) -> list[str]:
        records = self.provider.calls(staged.word)
        wrong = list(differences(expected.get("calls", len(records)), len(records), "provider.calls"))
        for which, at in (("first", 0), ("last", -1)):
            if which in expected:
                wrong += differences(expected[which], records[at] if records else None, f"provider.{which}")
        if not expected.get("hung_up"):
            return wrong
        if not records or not records[-1]["hung_up"]:
            return [*wrong, "provider: it did not see the caller hang up"]
        if "ended_within_ms" in expected:
            took = records[-1]["ended_at_ms"] - saw.get("cancelled_at_ms", 0)
            wrong += differences({"$lte": expected["ended_within_ms"]}, took, "provider.ended_within_ms")
        return wrong

    def in_ledger(self, staged: Staged, expected: dict[str, Any], _: dict[str, Any]) -> list[str]:
        request = {"keyId": staged.known["key"]["id"]}
        listed = self.contract.call(
            self.channel, "BudgetService/ListLedgerEntries", request, self.gateway.admin_key
        ).get("entries", [])
        wrong = list(differences(expected.get("entries", len(listed)), len(listed), "ledger.entries"))
        for which, at in (("first", 0), ("last", -1)):
            if which in expected:
                wrong += differences(expected[which], listed[at] if listed else None, f"ledger.{which}")
        if expected.get("no_more_than_produced") and listed:
            booked = int(listed[-1]["usage"]["output"]["total"])
            produced = sum(record["completion_tokens"] for record in self.provider.calls(staged.word))
            wrong += differences({"$lte": produced}, booked, "ledger.usage.output.total")
        return wrong

    def at_relay(self, staged: Staged, expected: dict[str, Any], _: dict[str, Any]) -> list[str]:
        assert staged.relay, f"{staged.case.name}: `relayed` needs `via: relay`"
        seen = staged.relay.seen
        wrong = list(differences(expected.get("calls", len(seen)), len(seen), "relayed.calls"))
        if "metadata" in expected:
            wrong += differences(expected["metadata"], seen[-1].metadata if seen else None, "relayed.metadata")
        if expected.get("same_request") and len({call.request for call in seen}) != 1:
            wrong.append("relayed: the tries differ in their requests")
        if "has_request_id" in expected:
            request = self.contract.request_of(seen[-1].method, seen[-1].request) if seen else {}
            wrong += differences({"$any": expected["has_request_id"]}, request.get("requestId"), "relayed.request.requestId")
        if "deadline_ms" in expected:
            wrong += differences(expected["deadline_ms"], seen[-1].deadline_ms if seen else None, "relayed.deadline_ms")
        if "open" in expected:
            wrong += differences(expected["open"], staged.relay.open, "relayed.open")
        return wrong

    def afterwards(self, step: dict[str, Any], staged: Staged) -> list[str]:
        try:
            answer = self.rpc(step, staged.known)
        except Refused as refused:
            return list(differences(step.get("error"), refused.reason, f"after.{step['rpc']}"))
        if "error" in step:
            return [f"after.{step['rpc']}: expected {step['error']}, and it succeeded"]
        return list(differences(filled(step.get("expect", {}), staged.known), answer, f"after.{step['rpc']}"))


def settled(check: Callable[[], list[str]]) -> list[str]:
    """What a check finds wrong once things have come to rest."""
    deadline = time.monotonic() + EFFECTS_PATIENCE
    while True:
        wrong = check()
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(0.02)


def run_runner(repository: Path, language: str, document: dict[str, Any], log: Path) -> dict[str, dict[str, Any]]:
    """Starts the runner once, and returns what it saw by case."""
    command = (repository / "clients" / language / "conformance" / "command").read_text().strip()
    environment = {name: value for name, value in os.environ.items() if name not in ("TOLLGATE_ADDRESS", "TOLLGATE_API_KEY")}
    with log.open("wb") as errors:
        ended = subprocess.run(
            ["sh", "-c", command], cwd=repository, env=environment, input=json.dumps(document).encode(),
            stdout=subprocess.PIPE, stderr=errors, timeout=RUNNER_PATIENCE, check=False,
        )  # fmt: skip
    lines = [json.loads(line) for line in ended.stdout.decode().splitlines() if line.strip()]
    if ended.returncode != 0:
        tail = log.read_text(errors="replace")[-4000:]
        raise RuntimeError(f"the runner of {language} ended with {ended.returncode}:\n{tail}")
    return {line["name"]: line["saw"] for line in lines}


def play(repository: Path, contract: Contract, cases: list[Case], language: str, directory: Path) -> dict[str, list[str]]:
    """Plays the cases with a language's client; returns what is wrong by case."""
    named = {name for case in cases for name in case.get("fixtures", [])}
    played = [fixture for fixture in fixtures() if fixture.name in named]
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        provider = stack.enter_context(Provider(directory))
        player = stack.enter_context(Player(played))
        gateway = stack.enter_context(WorldGateway(directory, provider, cases, player, played))
        channel = stack.enter_context(grpc.insecure_channel(gateway.address))
        kinds = {case.get("via") for case in cases} & {"tls", "mtls"}
        secured = {kind: stack.enter_context(Secured(directory / kind, provider, wants_certificate=kind == "mtls")) for kind in kinds}
        world = World(contract, provider, gateway, channel, stack, secured)
        staged = [world.stage(case) for case in cases]
        document = {"address": gateway.url, "cases": [one.for_runner() for one in staged]}
        stopped = threading.Event()
        busy = threading.Thread(target=world.keep_busy, args=(staged, stopped), daemon=True)
        busy.start()
        try:
            saw = run_runner(repository, language, document, directory / "runner.log")
        finally:
            stopped.set()
            busy.join()
        with ThreadPoolExecutor(8) as pool:
            verdicts = pool.map(lambda one: world.verdict(one, saw.get(one.case.name)), staged)
            return {one.case.name: wrong for one, wrong in zip(staged, verdicts, strict=True)}
