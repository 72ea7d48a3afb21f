"""One provider and one gateway for all tests of a worker, and stubs generated anew for each run.

Tests share the pair and do not disturb each other: each says what it wants of the provider in its own prompt
(`[[script {...}]]`), finds its calls there by a word of its own, and makes its own keys where money matters.
"""

import shutil
import subprocess
import sys
import uuid

import grpc
import openai
import pytest

from processes import REPOSITORY, Gateway, Provider, Rest, Shim, bearer

STUBS = REPOSITORY / ".cache" / "contract" / "python"


def generate_stubs():
    """What a user of the contract would do: grpcio-tools over the .proto files."""
    protos = REPOSITORY / "proto"
    shutil.rmtree(STUBS, ignore_errors=True)
    STUBS.mkdir(parents=True)
    files = sorted(str(file.relative_to(protos)) for file in (protos / "tollgate").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}"]
    subprocess.run(command + [f"--python_out={STUBS}", f"--grpc_python_out={STUBS}", *files], check=True)


def pytest_configure(config):
    is_worker = hasattr(config, "workerinput")
    if not is_worker:
        generate_stubs()
    sys.path.insert(0, str(STUBS))


@pytest.fixture(scope="session")
def provider(tmp_path_factory):
    with Provider(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture(scope="session")
def gateway(tmp_path_factory, provider):
    with Gateway(tmp_path_factory.mktemp("gateway"), provider) as gateway:
        yield gateway


@pytest.fixture
def word():
    """A word that no other test uses."""
    return f"word{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def shim(tmp_path_factory, gateway):
    with Shim(tmp_path_factory.mktemp("shim"), gateway) as shim:
        yield shim


@pytest.fixture(params=["embedded", "standalone"])
def rest(request, gateway):
    """The shim inside the gateway, and as a process of its own: every test of the REST surface runs with both."""
    url = gateway.url if request.param == "embedded" else request.getfixturevalue("shim").url
    return Rest(url, gateway.key)


@pytest.fixture
def client(rest):
    """The OpenAI SDK as its users make it: a base URL and a key."""
    with openai.OpenAI(base_url=f"{rest.url}/v1", api_key=rest.key) as client:
        yield client


@pytest.fixture(scope="session")
def channel(gateway):
    with grpc.insecure_channel(gateway.address) as channel:
        yield channel


@pytest.fixture
def caller(gateway):
    """Metadata of a caller."""
    return bearer(gateway.key)


@pytest.fixture
def admin(gateway):
    """Metadata of an admin."""
    return bearer(gateway.admin_key)


@pytest.fixture
def new_key(channel, admin):
    """Makes a key over gRPC, as an operator's program would, and returns the answer that holds its secret."""
    from tollgate.v1 import key_admin_pb2, key_admin_pb2_grpc

    keys = key_admin_pb2_grpc.KeyAdminServiceStub(channel)

    def make(*models, **rest):
        key = key_admin_pb2.Key(display_name="made by a test", models=models or ["*"])
        return keys.CreateKey(key_admin_pb2.CreateKeyRequest(key=key, **rest), metadata=admin, timeout=10)

    return make
