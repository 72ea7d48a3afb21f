"""Every command of docs/grpc.md, pasted into a shell beside a gateway of one's own."""

import json
import re

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
    "buf build proto": "",
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
    (home / "proto").symlink_to(REPOSITORY / "proto")
    with bare_gateway(home) as gateway:
        yield home, gateway


def test_every_command_is_looked_at():
    assert sorted(map(of, SHOWS)) == sorted(COMMANDS)


@pytest.mark.parametrize("word", SHOWS)
def test_the_command_works(beside, word):
    home, gateway = beside

    assert SHOWS[word] in run(home, of(word).replace("http://127.0.0.1:4000", gateway.url))


def test_the_descriptor_set_has_the_contract(beside):
    home, _ = beside
    run(home, of("buf build proto"))
    files = FileDescriptorSet.FromString((home / "tollgate.binpb").read_bytes())

    assert "tollgate/v1/completion.proto" in [file.name for file in files.file]
    assert "tollgate/v1/completion.proto" in run(home, "tar -tzf tollgate-proto.tar.gz")


def test_the_service_config_names_calls_of_the_contract():
    [config] = map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    contract = "\n".join(file.read_text() for file in (REPOSITORY / "proto/tollgate/v1").glob("*.proto"))
    services = dict(re.findall(r"^service (\w+) \{(.*?)^\}", contract, re.DOTALL | re.MULTILINE))

    for name in config["methodConfig"][0]["name"]:
        package, _, service = name["service"].rpartition(".")
        assert package == "tollgate.v1"
        assert f"rpc {name['method']}(" in services[service]
