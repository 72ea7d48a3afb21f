"""TLS: private roots, and a certificate of the client's own."""

import grpc
import pytest
import trustme

from gateway import Gateway
from tollgate import Client, errors, v1


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def gateway(authority):
    """A gateway that wants a client's certificate."""
    server = authority.issue_cert("localhost")
    roots = authority.cert_pem.bytes()
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(server.private_key_pem.bytes(), chain)], roots, require_client_auth=True)
    with Gateway({"GetKey": lambda *_: iter([v1.GetKeyResponse(key=v1.Key(id="key_1"))])}, credentials=credentials) as gateway:
        yield gateway


def test_with_root_and_certificate_the_call_is_made(gateway, authority):
    own = authority.issue_cert("client@example.org")
    pem = {"certificate": b"".join(blob.bytes() for blob in own.cert_chain_pems), "private_key": own.private_key_pem.bytes()}
    with Client(gateway.address, "tg-x", root_certificates=authority.cert_pem.bytes(), **pem) as client:
        assert client.keys.get().id == "key_1"

    assert gateway.seen[0][1]["authorization"] == "Bearer tg-x"


@pytest.mark.parametrize("knows_root", [True, False], ids=["without a certificate", "without the root"])
def test_without_one_of_them_nothing_is_sent(gateway, authority, knows_root):
    roots = authority.cert_pem.bytes() if knows_root else None
    with Client(gateway.address, "tg-x", root_certificates=roots, timeout=10) as client, pytest.raises(errors.Unavailable):
        client.keys.get()

    assert gateway.seen == []
