"""Stores of objects as processes, each from a package registry: an S3 of PyPI's, Google's of Go's, Azure's of npm's."""

import base64
import datetime
import hmac
import http.client
import http.server
import json
import socket
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

import botocore.session

from processes import REPOSITORY, Process

REGION = "eu-central-1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ObjectStore(Process):
    """An S3 that forgets everything when it ends. `lock`: whether its bucket has object lock; None: there is no bucket yet."""

    def __init__(self, directory, port, bucket="calls", lock=False):
        self.url, self.bucket, self.lock = f"http://127.0.0.1:{port}", bucket, lock
        self.place = {"s3": {
            "bucket": bucket, "region": REGION, "endpoint": self.url, "access_key_id": "AKID", "secret_access_key": "secret",
        }}
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
        super().__init__(command, directory / f"s3-{port}.log")

    def __enter__(self):
        super().__enter__()
        self.client = self.api("s3")
        self.wrote(r"Running on http")
        if self.lock is not None:
            self.create_bucket(self.lock)
        return self

    def api(self, service, key="AKID", secret="secret"):
        return botocore.session.get_session().create_client(
            service, region_name=REGION, endpoint_url=self.url, aws_access_key_id=key, aws_secret_access_key=secret
        )

    def create_bucket(self, lock):
        place = {"LocationConstraint": REGION}
        self.client.create_bucket(Bucket=self.bucket, CreateBucketConfiguration=place, ObjectLockEnabledForBucket=lock)

    def names(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def read(self, name) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()

    def versions(self) -> list[tuple[str, str]]:
        """Name and version of everything that was ever put."""
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket)
        return [(entry["Key"], entry["VersionId"]) for page in pages for entry in page.get("Versions", [])]

    def download(self, prefix, directory):
        """What lies below the prefix, as `aws s3 sync` would write it."""
        for name in self.names():
            if name.startswith(prefix + "/"):
                path = directory / name.removeprefix(prefix + "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.read(name))


class GuardedStore(ObjectStore):
    """The same, with a lock: it checks who asks, the signature and what it covers. `self.key` is an id and a secret that it knows."""

    def __init__(self, directory, port, bucket):
        super().__init__(directory, port, bucket, lock=None)
        # So many requests are let in unasked: those below.
        self.command = ["env", "INITIAL_NO_AUTH_ACTION_COUNT=4", *self.command]

    def __enter__(self):
        super().__enter__()
        users, name = self.api("iam"), "gateway"
        users.create_user(UserName=name)
        rule = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        users.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(rule))
        made = users.create_access_key(UserName=name)["AccessKey"]
        self.key = made["AccessKeyId"], made["SecretAccessKey"]
        self.create_bucket(lock=True)
        self.client = self.api("s3", *self.key)
        return self


class Fetched(Process):
    """A store whose objects anybody may read."""

    def fetch(self, path, method="GET", data=None, headers=None) -> bytes:
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def download(self, prefix, directory):
        for name in self.names():
            if name.startswith(prefix + "/"):
                path = directory / name.removeprefix(prefix + "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.read(name))


class GoogleStore(Fetched):
    """Google Cloud Storage, as fsouza/fake-gcs-server has it. Of Google's two APIs it takes an object only by the one in JSON, so what is
    put by the other goes over a line that translates it."""

    def __init__(self, directory, port, bucket="calls"):
        self.url, self.bucket = f"http://127.0.0.1:{port}", bucket
        program = REPOSITORY / ".cache" / "tools" / "bin" / "fake-gcs-server"
        command = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
                   "-public-host", "127.0.0.1"]
        super().__init__(command, directory / f"gcs-{port}.log")

    def __enter__(self):
        assert Path(self.command[0]).is_file(), "fake-gcs-server is missing: `./scripts/test python` installs it"
        super().__enter__()
        self.wrote("server started at")
        bucket = json.dumps({"name": self.bucket}).encode()
        self.fetch("/storage/v1/b?project=p", "POST", bucket, {"content-type": "application/json"})
        self.line = GoogleLine(self.url.removeprefix("http://"))
        self.place = {"gcs": {"bucket": self.bucket, "endpoint": self.line.url}}
        return self

    def __exit__(self, *problem):
        self.line.shutdown()
        super().__exit__(*problem)

    def names(self) -> list[str]:
        return [item["name"] for item in json.loads(self.fetch(f"/storage/v1/b/{self.bucket}/o")).get("items", [])]

    def read(self, name) -> bytes:
        return self.fetch(f"/storage/v1/b/{self.bucket}/o/{urllib.parse.quote(name, safe='')}?alt=media")


class AzureStore(Fetched):
    """Azure Blob Storage, as Microsoft's azurite has it: it checks each signature."""

    account = "devstoreaccount1"
    # The same in every azurite.
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, directory, port, container="calls"):
        self.url, self.container = f"http://127.0.0.1:{port}/{self.account}", container
        program = REPOSITORY / ".cache" / "emulators" / "node_modules" / ".bin" / "azurite-blob"
        command = [str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence",
                   "--disableTelemetry"]
        super().__init__(command, directory / f"azure-{port}.log", directory)
        self.place = {"azure": {"account": self.account, "container": container, "access_key": self.key, "endpoint": self.url}}

    def __enter__(self):
        assert Path(self.command[0]).is_file(), "azurite is missing: `./scripts/test python` installs it"
        super().__enter__()
        self.wrote("successfully listens on")
        date = datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"x-ms-blob-public-access": "container", "x-ms-date": date, "x-ms-version": "2023-11-03"}
        told = "".join(f"{name}:{value}\n" for name, value in headers.items())
        text = f"PUT{chr(10) * 12}{told}/{self.account}/{self.account}/{self.container}\nrestype:container"
        mac = hmac.digest(base64.b64decode(self.key), text.encode(), "sha256")
        headers["authorization"] = f"SharedKey {self.account}:{base64.b64encode(mac).decode()}"
        self.fetch(f"/{self.container}?restype=container", "PUT", None, headers)
        return self

    def names(self) -> list[str]:
        listed = ElementTree.fromstring(self.fetch(f"/{self.container}?restype=container&comp=list"))
        return [blob.findtext("Name") for blob in listed.iter("Blob")]

    def read(self, name) -> bytes:
        return self.fetch(f"/{self.container}/{name}")


class Line(http.server.ThreadingHTTPServer):
    """A line to a store; `passes` says what becomes of an exchange."""

    daemon_threads = True

    def __init__(self, target):
        self.target = target
        super().__init__(("127.0.0.1", 0), Passing)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def passes(self, method, exchange):
        """The answer to hand on; None: the line breaks."""
        return exchange()

    def ask(self, method, path, headers, body) -> tuple[int, dict, bytes]:
        line = http.client.HTTPConnection(self.target, timeout=20)
        line.request(method, path, body, headers)
        answer = line.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def handle_error(self, *_):
        """The other end may die: that is what some tests are about."""


class GoogleLine(Line):
    """Has what is put by the API in XML done by the one in JSON, its condition too."""

    def ask(self, method, path, headers, body):
        if method != "PUT":
            return super().ask(method, path, headers, body)
        _, bucket, name = urllib.parse.unquote(path).split("/", 2)
        asked = {"uploadType": "media", "name": name}
        if "x-goog-if-generation-match" in headers:
            asked["ifGenerationMatch"] = headers["x-goog-if-generation-match"]
        told = {"content-type": headers.get("content-type", "application/octet-stream")}
        status, _, answer = super().ask("POST", f"/upload/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(asked)}", told, body)
        made = json.loads(answer) if status == 200 else {}
        return status, {"etag": made.get("etag", ""), "x-goog-generation": made.get("generation", "")}, b""


class Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))

        headers = {name.lower(): value for name, value in self.headers.items()}
        passed = self.server.passes(self.command, lambda: self.server.ask(self.command, self.path, headers, body))
        if passed is None:
            self.close_connection = True
            return
        status, headers, told = passed
        self.send_response(status)
        for name, value in headers.items():
            if name not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        self.send_header("content-length", headers.get("content-length", 0) if self.command == "HEAD" else len(told))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on

    def log_message(self, *_):
        pass
