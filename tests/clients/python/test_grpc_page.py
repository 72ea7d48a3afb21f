"""Every command of docs/grpc.md, pasted into a shell beside a gateway of one's own."""

import json
import re
import sys

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from processes import REPOSITORY
from test_first_run import bare_gateway, run

PAGE = (REPOSITORY / "docs" / "grpc.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)

# What each command must show, by a word that no other has.
SHOWS = {
    "--list-methods": "tollgate.v1.CompletionService/StreamCompletion",
    "KeyAdminService/CreateKey": '"secret": "tg-',
    "grpc StreamCompletion": '"callId"',
    "Health/Check": '"SERVING"',
    "grpcweb": '"callId"',
    "release-protos": "tollgate-proto-",
}


def of(word):
    """The one command that the word stands for."""
    if word.startswith("grpc "):
        found = [command for command in COMMANDS if "--protocol grpc " in command and word.split()[1] in command]
    else:
        found = [command for command in COMMANDS if word in command]
    [command] = found
    return command


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A directory with the contract in it, and a gateway that was started there."""
    home = tmp_path_factory.mktemp("grpc-page")
    for folder in ("proto", "scripts"):
        (home / folder).symlink_to(REPOSITORY / folder)
    with bare_gateway(home) as gateway:
        yield home, gateway


def test_every_command_is_looked_at():
    assert sorted(map(of, SHOWS)) == sorted(COMMANDS)


@pytest.mark.parametrize("word", SHOWS)
def test_the_command_works(beside, word):
    home, gateway = beside

    assert SHOWS[word] in run(home, of(word).replace("http://127.0.0.1:4000", gateway.url))


def test_the_released_contract_generates_a_client_by_itself_and_is_the_same_each_time(beside):
    home, _ = beside
    run(home, of("release-protos"))
    [archive], [described] = (home / "dist").glob("*.tar.gz"), (home / "dist").glob("*.binpb")
    files = FileDescriptorSet.FromString(described.read_bytes())
    before = archive.read_bytes()
    run(home, of("release-protos"))
    run(home, f"mkdir made && tar -xzf {archive} && cd {archive.name.removesuffix('.tar.gz')} && "
        f"{sys.executable} -m grpc_tools.protoc -I . --python_out=../made --grpc_python_out=../made tollgate/v1/*.proto")  # fmt: skip

    assert "tollgate/v1/completion.proto" in [file.name for file in files.file]
    assert archive.read_bytes() == before
    assert (home / "made/tollgate/v1/completion_pb2_grpc.py").is_file()
    run(home / "dist", "sha256sum --check SHA256SUMS")


def test_the_service_config_names_calls_of_the_contract():
    [config] = map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    contract = "\n".join(file.read_text() for file in (REPOSITORY / "proto/tollgate/v1").glob("*.proto"))
    services = dict(re.findall(r"^service (\w+) \{(.*?)^\}", contract, re.DOTALL | re.MULTILINE))

    for name in config["methodConfig"][0]["name"]:
        package, _, service = name["service"].rpartition(".")
        assert package == "tollgate.v1"
        assert f"rpc {name['method']}(" in services[service]
