"""The examples, and the README's first program, against the built gateway and the scripted provider."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
REPOSITORY = PACKAGE.parents[1]
PROCESSES = REPOSITORY / "tests/clients/python"

pytestmark = pytest.mark.skipif(not PROCESSES.is_dir(), reason="a source distribution has no gateway to start")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    sys.path.insert(0, str(PROCESSES))
    from processes import Gateway, Provider

    for variable, program in (("TOLLGATE_BIN", "tollgate"), ("TOLLGATE_LOAD_BIN", "tollgate-load")):
        os.environ.setdefault(variable, str(REPOSITORY / "target/debug" / program))
    with Provider(tmp_path_factory.mktemp("provider")) as provider, Gateway(tmp_path_factory.mktemp("gateway"), provider) as gateway:
        yield gateway


def run(gateway, key, *command):
    environment = os.environ | {"TOLLGATE_ADDRESS": gateway.url, "TOLLGATE_API_KEY": key, "PYTHONPATH": str(PACKAGE / "src")}
    ended = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_streaming_prints_the_answer_and_its_cost(gateway):
    out = run(gateway, gateway.key, PACKAGE / "examples/streaming.py", "gpt", '[[script {"text": "Hello, gate."}]]')

    assert re.fullmatch(r"Hello, gate\.\nSTOP, 2 tokens, 0\.\d+ dollars\n", out)


def test_tools_are_called_and_answered(gateway):
    out = run(gateway, gateway.key, PACKAGE / "examples/tools.py", "claude", "What is the weather?")

    assert out.strip()


def test_admin_makes_a_key_and_lists_budgets(gateway):
    first = run(gateway, gateway.admin_key, PACKAGE / "examples/admin.py", "one team")

    assert re.search(r"key_\S+, shown once: tg-\w+", first)
    assert "of 5.00 dollars" in first


def test_the_audit_log_is_followed(gateway):
    run(gateway, gateway.key, PACKAGE / "examples/streaming.py", "gpt", "hello")
    out = run(gateway, gateway.admin_key, PACKAGE / "examples/audit_tail.py", "1")

    assert re.search(r"^\d{4}-\S+Z \S+ .*\n$", out)


def test_the_first_program_of_the_readme_runs(gateway, tmp_path):
    program = re.search(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    assert program
    assert len(program[1].splitlines()) <= 10
    (tmp_path / "first.py").write_text(program[1])

    assert run(gateway, gateway.key, tmp_path / "first.py").strip()
