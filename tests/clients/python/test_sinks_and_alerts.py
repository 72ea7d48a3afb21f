"""Sinks and alerts against real servers: an S3 of PyPI's, and a mail server of PyPI's with each way of keeping a line private."""

import datetime
import ipaddress
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request

import pytest
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from processes import Gateway, binary, eventually
from stores import AzureStore, GoogleStore, ObjectStore, free_port

BUCKET = "calls"


class Calls(ObjectStore):
    """An S3 with the records of calls."""

    def records(self) -> list[dict]:
        return [json.loads(line) for name in self.names() for line in self.read(name).splitlines()]

    def calls(self) -> list[str]:
        return sorted(record["tags"][0] for record in self.records())


class WithSink(Gateway):
    """A gateway whose records go to a store of objects."""

    def __init__(self, directory, provider, place):
        self.place = place
        super().__init__(directory, provider)

    def _configuration(self, data_dir, base_url):
        [(kind, settings)] = self.place.items()
        sink = {
            kind: settings | {"prefix": "gateway"},
            "batch": {"max_age": "100ms"},
            "redact": {"drop": ["peer"], "hash": ["key"]},
        }
        return super()._configuration(data_dir, base_url) | {"sinks": {"archive": sink}}

    def call(self, number):
        body = {"model": "gpt", "messages": [{"role": "user", "content": "canary-prompt"}]}
        request = urllib.request.Request(
            self.url + "/v1/chat/completions", json.dumps(body).encode(),
            {"authorization": f"Bearer {self.key}", "content-type": "application/json", "x-litellm-tags": f"{number:03}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("kind", [GoogleStore, AzureStore])
def test_records_lie_with_google_and_azure_as_they_do_in_s3(tmp_path, provider, kind):
    with kind(tmp_path, free_port()) as store, WithSink(tmp_path, provider, store.place) as gateway:
        for number in range(5):
            gateway.call(number)

        def calls():
            records = [json.loads(line) for name in store.names() for line in store.read(name).splitlines()]
            return sorted(record["tags"][0] for record in records)

        eventually("all are there", lambda: calls() == [f"{n:03}" for n in range(5)])
        hour = datetime.datetime.now(datetime.UTC).strftime("gateway/%Y/%m/%d/")
        assert all(name.startswith(hour) and name.endswith(".ndjson") for name in store.names()), store.names()


def test_a_key_that_azure_does_not_take_loses_nothing(tmp_path, provider):
    with AzureStore(tmp_path, free_port()) as store:
        wrong = {"azure": store.place["azure"] | {"access_key": "d3Jvbmc="}}
        gateway = WithSink(tmp_path, provider, wrong)
        with gateway:
            gateway.call(0)
            eventually("it is on disk", lambda: spilled(gateway) > 0)
        assert store.names() == []
        gateway.config.write_text(gateway.config.read_text().replace("d3Jvbmc=", store.key))
        with gateway:
            eventually("it is there", lambda: len(store.names()) == 1)


def spilled(gateway) -> int:
    folder = gateway.config.parent / "data" / "sinks" / "archive"
    return sum(file.stat().st_size for file in folder.glob("*.spill"))


def test_records_lie_in_s3_by_date_and_hour_without_prompts(tmp_path, provider):
    with Calls(tmp_path, free_port()) as s3, WithSink(tmp_path, provider, s3.place) as gateway:
        for number in range(5):
            gateway.call(number)
        eventually("all are there", lambda: s3.calls() == [f"{n:03}" for n in range(5)])
        hour = datetime.datetime.now(datetime.UTC).strftime("gateway/%Y/%m/%d/")
        assert all(name.startswith(hour) and name.endswith(".ndjson") for name in s3.names()), s3.names()
        record = s3.records()[0]
        assert record["status"] == "ok" and record["cost_nano_usd"] > 0 and "peer" not in record, record
        told = json.dumps(s3.records())
        assert "canary-prompt" not in told and gateway.key not in told


def test_an_outage_of_s3_loses_nothing_nor_does_kill_9_within_it(tmp_path, provider):
    port = free_port()
    with Calls(tmp_path, port) as s3, WithSink(tmp_path, provider, s3.place) as gateway:
        gateway.call(0)
        eventually("it is there", lambda: s3.calls() == ["000"])
        s3.child.kill()
        s3.child.wait()
        for number in range(1, 20):
            gateway.call(number)
        eventually("all are on disk", lambda: spilled(gateway) > 0 and no_growth(gateway))
        gateway.child.send_signal(signal.SIGKILL)
        gateway.child.wait()
        with gateway, Calls(tmp_path, port) as back:
            gateway.call(20)
            eventually("all are there", lambda: back.calls() == [f"{n:03}" for n in range(1, 21)])
            eventually("nothing is left on disk", lambda: spilled(gateway) == 0)


def no_growth(gateway) -> bool:
    """Whether nothing came for longer than a batch waits."""
    before = spilled(gateway)
    time.sleep(0.5)
    return spilled(gateway) == before


class Inbox:
    """Keeps what is delivered."""

    def __init__(self):
        self.letters = []

    async def handle_DATA(self, server, session, envelope):
        self.letters.append((envelope, server.transport.get_extra_info("ssl_object") is not None))
        return "250 taken"


def certificate(name, key, issuer, issuer_key, is_authority):
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), True)
    )
    if not is_authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def authority(directory):
    """An authority of one's own in `ca.pem`, and a server's TLS with a certificate for localhost that it signed."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca, name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("authority", "localhost"))
    (directory / "ca.pem").write_bytes(certificate(ca, ca_key, ca, ca_key, True))
    (directory / "server.pem").write_bytes(certificate(name, key, ca, ca_key, False))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "key.pem")
    return context


def check_login(server, session, envelope, mechanism, auth_data):
    right = auth_data.login == b"tollgate" and auth_data.password == b"letmein"
    return AuthResult(success=right, handled=False)


def alerts_test(directory, port, email) -> subprocess.CompletedProcess:
    config = directory / "alerts.yaml"
    letter = {"host": "localhost", "port": port, "from": "Tollgate <alerts@example.org>", "to": ["Ops <ops@example.org>"]}
    channels = {"mail": {"email": letter | email}}
    config.write_text(yaml.safe_dump({"data_dir": str(directory / "data"), "alerts": {"channels": channels}}))
    command = [str(binary("tollgate", "TOLLGATE_BIN")), "alerts", "test", "--config", str(config)]
    environment = os.environ | {"TEST_SMTP_PASSWORD": "letmein"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


LOGIN = {"username": "tollgate", "password": "env:TEST_SMTP_PASSWORD"}


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_alerts_arrive_by_mail_over_each_kind_of_line(tmp_path, security):
    inbox, context = Inbox(), authority(tmp_path)
    ways = {
        "none": {},
        "starttls": {"tls_context": context, "require_starttls": True, "authenticator": check_login, "auth_required": True},
        "tls": {"ssl_context": context},
    }
    server = Controller(inbox, hostname="127.0.0.1", port=free_port(), **ways[security])
    server.start()
    try:
        email = {"security": security} | ({} if security == "none" else {"ca": str(tmp_path / "ca.pem")})
        done = alerts_test(tmp_path, server.port, email | (LOGIN if security == "starttls" else {}))
    finally:
        server.stop()
    assert (done.returncode, done.stdout) == (0, "mail: delivered\n"), done
    texts = [envelope.content.decode() for envelope, _ in inbox.letters]
    assert len(texts) == 2 and "[firing] test" in texts[0] and "[resolved] test" in texts[1], texts
    assert all(envelope.mail_from == "alerts@example.org" and envelope.rcpt_tos == ["ops@example.org"] for envelope, _ in inbox.letters)
    assert all(is_private == (security != "none") for _, is_private in inbox.letters)


def test_a_channel_that_does_not_take_it_is_named_without_its_password(tmp_path):
    context = authority(tmp_path)
    server = Controller(
        Inbox(), hostname="127.0.0.1", port=free_port(), tls_context=context, require_starttls=True,
        authenticator=check_login, auth_required=True,
    )
    server.start()
    try:
        wrong = LOGIN | {"username": "somebody", "ca": str(tmp_path / "ca.pem")}
        done = alerts_test(tmp_path, server.port, wrong)
        untrusted = alerts_test(tmp_path, server.port, LOGIN)
    finally:
        server.stop()
    for refused in (done, untrusted):
        assert refused.returncode == 1 and refused.stdout.startswith("mail: refused: "), refused
        assert "letmein" not in refused.stdout + refused.stderr


def test_no_letter_goes_in_the_clear_where_the_server_offers_no_tls(tmp_path):
    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        done = alerts_test(tmp_path, server.port, {"security": "starttls"})
    finally:
        server.stop()
    assert done.returncode == 1 and done.stdout.startswith("mail: refused: "), done
    assert inbox.letters == []
