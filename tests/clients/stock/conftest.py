"""One provider and one gateway for all tests, REST by the shim inside the gateway and by one of its own process."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from processes import Gateway, Provider, Rest, Shim  # noqa: E402


@pytest.fixture(scope="session")
def provider(tmp_path_factory):
    with Provider(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture(scope="session")
def gateway(tmp_path_factory, provider):
    with Gateway(tmp_path_factory.mktemp("gateway"), provider) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def shim(tmp_path_factory, gateway):
    with Shim(tmp_path_factory.mktemp("shim"), gateway) as shim:
        yield shim


@pytest.fixture(scope="session", params=["embedded", "standalone"])
def rest(request, gateway):
    url = gateway.url if request.param == "embedded" else request.getfixturevalue("shim").url
    return Rest(url, gateway.key)
