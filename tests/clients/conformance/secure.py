"""A gateway with TLS, whose authority is made with it and known to nobody else."""

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from processes import Gateway, Provider


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Authority:
    """Signs certificates."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.certificate = (
            self._begun("Test authority", self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, directory: Path, name: str, use: x509.ObjectIdentifier) -> tuple[Path, Path]:
        """A certificate for this machine and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            self._begun(name, key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        files = directory / f"{name}.pem", directory / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(_pem(key))
        return files

    def _begun(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("Test authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )


class Secured(Gateway):
    """The gateway over TLS; `files` are what a client of it is given: `ca`, `certificate`, `private_key`."""

    def __init__(self, directory: Path, provider: Provider, *, wants_certificate: bool):
        directory.mkdir(parents=True)
        authority = Authority()
        ca = directory / "ca.pem"
        ca.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
        certificate, key = authority.issue(directory, "client", x509.ExtendedKeyUsageOID.CLIENT_AUTH)
        self.files = {"ca": ca, "certificate": certificate, "private_key": key}
        chain, private_key = authority.issue(directory, "server", x509.ExtendedKeyUsageOID.SERVER_AUTH)
        self.tls = {"certificate": str(chain), "private_key": str(private_key)} | ({"client_ca": str(ca)} if wants_certificate else {})
        super().__init__(directory, provider)

    def _configuration(self, data_dir: Path, base_url: str) -> dict[str, Any]:
        return super()._configuration(data_dir, base_url) | {"tls": self.tls}

    def __enter__(self):
        super(Gateway, self).__enter__()
        self.url = "https://" + self.wrote(r"listens on https?://(\S+)")[1]
        return self
