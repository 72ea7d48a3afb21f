"""The audit log's copy in a bucket of an S3 of PyPI's: locked, written once, whole after every death, and believed by both verifiers."""

import datetime
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest
from botocore.exceptions import ClientError

from processes import REPOSITORY, Gateway, binary, eventually, is_ready
from stores import REGION, AzureStore, GoogleStore, GuardedStore, Line, ObjectStore, free_port

BUCKET, PREFIX = "audit", "deployments/eu"
DAY = datetime.timedelta(days=1)
CHECKPOINT = re.compile(PREFIX + r"/root/checkpoints/\d{20}")


class Exporting(Gateway):
    """A gateway that exports its audit log every second."""

    def __init__(self, directory, provider, url, key=("AKID", "secret"), **export):
        self.export = {
            "s3": {
                "bucket": BUCKET, "region": REGION, "endpoint": url, "prefix": PREFIX,
                "access_key_id": key[0], "secret_access_key": key[1],
            },
            "every": "1s", "object_lock": "compliance", "retain": "400d",
        } | export
        super().__init__(directory, provider)

    def _configuration(self, data_dir, base_url):
        export = {name: value for name, value in self.export.items() if value is not None}
        return super()._configuration(data_dir, base_url) | {"audit": {"export": export}}

    def call(self):
        body = {"model": "gpt", "messages": [{"role": "user", "content": "canary-prompt"}]}
        request = urllib.request.Request(
            self.url + "/v1/chat/completions", json.dumps(body).encode(),
            {"authorization": f"Bearer {self.key}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def verifier_key(self) -> str:
        file = self.config.parent / "admin.key"
        file.write_text(self.admin_key)
        command = [binary("tollgate", "TOLLGATE_BIN"), "audit", "key", "--url", self.url, "--key-file", file]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def metric(self, name) -> float:
        with urllib.request.urlopen(self.url + "/metrics", timeout=5) as answer:
            found = re.search(rf"^tollgate_{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found[1])

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(timeout=30)


def locked(tmp_path, port=None):
    return ObjectStore(tmp_path, port or free_port(), BUCKET, lock=True)


def checkpoints(s3) -> list[str]:
    return sorted(name for name in s3.names() if CHECKPOINT.fullmatch(name))


def exported(s3) -> int:
    """How many leaves of the root log the copy has."""
    return int(max(checkpoints(s3), default="/0").rpartition("/")[2])


def verified(s3, key, directory, *since) -> dict:
    """What our verifier says of the copy, which the one in Python says too."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    s3.download(PREFIX, directory)
    asked = [directory, "--key", key] + [word for path in since for word in ("--since", path)]
    ours = subprocess.run(
        [binary("tollgate", "TOLLGATE_BIN"), "audit", "verify", "--output", "json", *asked], capture_output=True, text=True
    )
    theirs = subprocess.run(
        [sys.executable, REPOSITORY / "docs" / "verify_audit.py", *asked], capture_output=True, text=True
    )
    assert ours.returncode == theirs.returncode, ours.stdout + ours.stderr + theirs.stdout + theirs.stderr
    return json.loads(ours.stdout)


def covers(s3, key, directory, records) -> dict | None:
    """The verdict, once the copy has so many records."""
    if not checkpoints(s3):
        return None
    verdict = verified(s3, key, directory)
    assert verdict["intact"], verdict
    return verdict if verdict["records"] >= records else None


def test_every_object_is_locked_until_its_time_and_the_copy_is_believed(tmp_path, provider):
    with locked(tmp_path) as s3, Exporting(tmp_path, provider, s3.url) as gateway:
        for _ in range(3):
            gateway.call()
        key = gateway.verifier_key()
        eventually("the calls are exported", lambda: covers(s3, key, tmp_path / "copy", 3))
        assert gateway.metric("audit_export_success_time_seconds") > 1e9
        assert gateway.metric("audit_export_failures_total") == 0
        gateway.stop()
        names, now = s3.names(), datetime.datetime.now(datetime.UTC)
        assert len(names) >= 6
        for name in names:
            about = s3.client.head_object(Bucket=BUCKET, Key=name)
            assert about["ObjectLockMode"] == "COMPLIANCE", about
            assert 399 * DAY < about["ObjectLockRetainUntilDate"] - now <= 400 * DAY + datetime.timedelta(minutes=2), about
        for name, version in s3.versions():
            with pytest.raises(ClientError, match="AccessDenied"):
                s3.client.delete_object(Bucket=BUCKET, Key=name, VersionId=version)
        assert "canary-prompt" not in "".join(s3.read(name).decode(errors="replace") for name in names)


def test_another_run_writes_only_what_is_new(tmp_path, provider):
    with locked(tmp_path) as s3:
        gateway = Exporting(tmp_path, provider, s3.url)
        with gateway:
            key = gateway.verifier_key()
            for _ in range(300):
                gateway.call()
            eventually("the calls are exported", lambda: covers(s3, key, tmp_path / "copy", 300))
            gateway.stop()
        before, records = s3.versions(), verified(s3, key, tmp_path / "copy")["records"]
        (tmp_path / "since").write_bytes(s3.read(checkpoints(s3)[-1]))
        with gateway:
            gateway.call()
            eventually("the last call is exported", lambda: covers(s3, key, tmp_path / "copy", records + 1))
            gateway.stop()
        after = s3.versions()
        assert len({name for name, _ in after}) == len(after), "nothing was put twice"
        assert set(before) < set(after)
        fresh = {name.removeprefix(f"{PREFIX}/logs/alone/") for name, _ in set(after) - set(before)}
        assert not {"tile/entries/000", "tile/0/000"} & fresh, fresh
        assert verified(s3, key, tmp_path / "copy", tmp_path / "since")["intact"]


class Deadly(Line):
    """A line to S3 on which the gateway dies at its n-th PUT: before it arrives, or after."""

    def __init__(self, target, kill):
        self.kill, self.left, self.before, self.turn = kill, None, True, threading.Lock()
        super().__init__(target)

    def dies(self, at_put, before):
        self.left, self.before = at_put, before

    def passes(self, method, exchange):
        if method != "PUT" or self.left is None:
            return exchange()
        with self.turn:
            self.left -= 1
            if self.left > 0:
                return exchange()
            if self.left == 0 and not self.before:
                exchange()
            self.kill()
        return None


def test_killed_at_any_object_it_goes_on_and_the_copy_is_whole_all_the_time(tmp_path, provider):
    with locked(tmp_path) as s3:
        way = Deadly(s3.url.removeprefix("http://"), lambda: gateway.child.kill())
        gateway = Exporting(tmp_path, provider, way.url)
        with gateway:
            key = gateway.verifier_key()
            gateway.call()
            eventually("the first call is exported", lambda: covers(s3, key, tmp_path / "copy", 1))
            gateway.stop()
        deaths = unsigned = 0
        for before in (True, False):
            for puts in range(1, 7):
                way.dies(puts, before)
                with gateway:
                    gateway.call()
                    eventually("it dies", lambda: gateway.child.poll() is not None)
                deaths += 1
                verdict = verified(s3, key, tmp_path / "copy")
                assert verdict["intact"], verdict
                unsigned += verdict.get("unsigned", 0)
                way.dies(None, before)
        assert unsigned > 0, "some of the deaths were within an export"
        with gateway:
            verdict = eventually("all calls are exported", lambda: covers(s3, key, tmp_path / "copy", 1 + deaths))
            assert "unsigned" not in verdict or eventually(
                "nothing is left unsigned", lambda: "unsigned" not in verified(s3, key, tmp_path / "copy")
            )
        names = [name for name, _ in s3.versions()]
        assert len(set(names)) == len(names), "nothing was put twice"
        way.shutdown()


def test_a_bit_of_the_copys_checkpoints_is_missed_by_both(tmp_path, provider):
    with locked(tmp_path) as s3, Exporting(tmp_path, provider, s3.url) as gateway:
        key = gateway.verifier_key()
        for _ in range(2):
            gateway.call()
            size = exported(s3)
            eventually("it is exported", lambda: exported(s3) > size)
        gateway.stop()
        assert len(checkpoints(s3)) >= 2
        for name in (checkpoints(s3)[0], checkpoints(s3)[-1]):
            whole = s3.read(name)
            # A new version is what an intruder can put; the old one stays locked.
            s3.client.put_object(Bucket=BUCKET, Key=name, Body=whole.replace(b"root", b"toor"))
            assert not verified(s3, key, tmp_path / "copy")["intact"], name
            s3.client.put_object(Bucket=BUCKET, Key=name, Body=whole)
        assert verified(s3, key, tmp_path / "copy")["intact"]


def test_a_bucket_that_cannot_lock_is_refused_at_the_start(tmp_path, provider):
    with ObjectStore(tmp_path, free_port(), BUCKET, lock=False) as s3:
        gateway = Exporting(tmp_path, provider, s3.url)
        done = subprocess.run(gateway.command, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert "audit.export.object_lock: the bucket has no object lock" in done.stdout + done.stderr
        assert s3.names() == []
        with Exporting(tmp_path, provider, s3.url, object_lock="none", retain=None) as gateway:
            gateway.call()
            key = gateway.verifier_key()
            eventually("without a lock it is taken", lambda: covers(s3, key, tmp_path / "copy", 1))


def test_without_a_bucket_calls_go_on_and_the_log_is_exported_once_it_is_there(tmp_path, provider):
    port = free_port()
    with Exporting(tmp_path, provider, f"http://127.0.0.1:{port}") as gateway:
        gateway.call()
        eventually("nobody is there", lambda: gateway.metric("audit_export_failures_total") > 0)
        gateway.wrote("the audit log is not exported")
        with ObjectStore(tmp_path, port, BUCKET, lock=None) as s3:
            gateway.wrote("NoSuchBucket")
            gateway.call()
            assert is_ready(gateway.url)
            eventually("it is told to be overdue", lambda: gateway.metric("audit_export_overdue_seconds") > 0)
            s3.create_bucket(lock=True)
            key = gateway.verifier_key()
            eventually("all is exported", lambda: covers(s3, key, tmp_path / "copy", 2))
            eventually("it is not overdue", lambda: gateway.metric("audit_export_overdue_seconds") < 1.5)


def test_a_wrong_key_is_told_without_its_secret_and_the_right_one_is_taken(tmp_path, provider):
    with GuardedStore(tmp_path, free_port(), BUCKET) as s3:
        secret = "hushhushhushhushhushhushhushhushhushhush"
        with Exporting(tmp_path, provider, s3.url, (s3.key[0], secret)) as gateway:
            gateway.call()
            gateway.wrote("the audit log is not exported.*SignatureDoesNotMatch")
            gateway.call()
            assert gateway.metric("audit_export_failures_total") > 0
            assert secret not in gateway.written()
        assert s3.names() == []
        with Exporting(tmp_path, provider, s3.url, s3.key) as gateway:
            key = gateway.verifier_key()
            eventually("all is exported", lambda: covers(s3, key, tmp_path / "copy", 2))


@pytest.mark.parametrize("kind", [GoogleStore, AzureStore])
def test_the_copy_is_believed_wherever_it_lies(tmp_path, provider, kind):
    with kind(tmp_path, free_port(), BUCKET) as store:
        [(place, settings)] = store.place.items()
        gateway = Exporting(tmp_path, provider, "", s3=None, object_lock=None, retain=None, **{place: settings | {"prefix": PREFIX}})
        with gateway:
            key = gateway.verifier_key()
            gateway.call()
            eventually("the call is exported", lambda: covers(store, key, tmp_path / "copy", 1))
            gateway.stop()
        before, records = set(store.names()), verified(store, key, tmp_path / "copy")["records"]
        with gateway:
            gateway.call()
            eventually("the next one is exported", lambda: covers(store, key, tmp_path / "copy", records + 1))
            assert gateway.metric("audit_export_failures_total") == 0
        assert before < set(store.names())
