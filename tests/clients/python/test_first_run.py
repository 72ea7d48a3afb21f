"""The first minutes with Tollgate: a gateway without configuration, what it prints, and what the README tells to paste."""

import os
import re
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from conftest import STUBS
from processes import REPOSITORY, Process, binary, eventually, is_ready

BUF = REPOSITORY / "tests" / "clients" / "node" / "node_modules" / ".bin"


@contextmanager
def bare_gateway(directory):
    """`tollgate serve`, with nothing but a free port."""
    command = [str(binary("tollgate", "TOLLGATE_BIN")), "serve", "--listen", "127.0.0.1:0"]
    with Process(command, directory / "output", directory) as process:
        process.url = process.wrote(r"listens on (http://\S+)")[1]
        eventually("the gateway is ready", lambda: is_ready(process.url))
        yield process


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("first-run")


@pytest.fixture(scope="module")
def first(home):
    with bare_gateway(home) as process:
        # The last line of what it prints is the RPC of the gRPC example.
        process.wrote(r"/tollgate\.v1\.CompletionService/StreamCompletion")
        yield process


def run(home, script):
    """What a reader's shell would do, with the tools of these tests in place of installed ones."""
    script = script.replace("npx @bufbuild/buf", "buf").replace("python3 -", f"{sys.executable} -")
    environment = os.environ | {"PATH": f"{BUF}:{os.environ['PATH']}", "PYTHONPATH": str(STUBS)}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed(process, title):
    """The command under a comment, up to the next blank line."""
    return re.search(rf"# {title}.*\n((?:.*\S.*\n)+)", process.written())[1]


def in_readme(process, begin):
    """The fenced block that has this line, with the address of the test's gateway."""
    blocks = re.findall(r"```\w+\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    [block] = [block for block in blocks if begin in block]
    return block.replace("http://127.0.0.1:4000", process.url).replace("127.0.0.1:4000", process.url.removeprefix("http://"))


def said(events):
    pieces = re.findall(r'"content":"((?:[^"\\]|\\.)*)"', events)
    return "".join(pieces)


def test_the_printed_curl_command_streams(home, first):
    events = run(home, printed(first, "curl, streamed"))

    assert events.rstrip().endswith("data: [DONE]")
    assert said(events)


def test_the_printed_python_command_streams(home, first):
    assert run(home, printed(first, "Python")).strip()


def test_the_printed_grpc_command_streams(home, first):
    events = run(home, printed(first, "gRPC"))

    assert '"started"' in events and '"finished"' in events and '"usage"' in events


def test_the_curl_command_of_the_readme_streams(home, first):
    assert said(run(home, in_readme(first, "curl -N")))


@pytest.mark.parametrize("begin", ["from openai import OpenAI", "import grpc\n"])
def test_the_python_programs_of_the_readme_run(home, first, begin):
    program = home / "program.py"
    program.write_text(in_readme(first, begin))

    assert run(home, f"python3 - < {program}").strip()


def test_keys_are_for_their_owner_alone_and_shown_once(tmp_path):
    with bare_gateway(tmp_path) as process:
        process.wrote("StreamCompletion")
        for name in ("admin.key", "demo.key"):
            file = tmp_path / "tollgate-data" / name
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert file.read_text().strip() in process.written()
    with bare_gateway(tmp_path) as process:
        process.wrote("StreamCompletion")
        assert "tg-" not in process.written()
