"""The gateway's verifier and docs/verify_audit.py, which share no code, beside each other: the same exports, the same verdicts."""

import json
import subprocess
import sys

import pytest

from processes import REPOSITORY, binary


def tollgate(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([binary("tollgate", "TOLLGATE_BIN"), "audit", *arguments], capture_output=True, text=True)


def made_up(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([binary("audit-mutations", "AUDIT_MUTATIONS_BIN"), *arguments], capture_output=True, text=True)


@pytest.fixture(params=[[], ["--dated"]], ids=["one checkpoint", "a checkpoint for each export"])
def made(tmp_path, request):
    """An export of two replicas with its key, ledger, checkpoint and a receipt."""
    wrote = made_up("write", str(tmp_path), *request.param)
    assert wrote.returncode == 0, wrote.stderr
    return tmp_path


def checkpoints(made, log) -> list:
    folder = made / "export" / log
    return sorted(folder.glob("checkpoints/*")) or [folder / "checkpoint"]


def verdicts(made) -> tuple[dict, subprocess.CompletedProcess]:
    asked = [made / "export", "--key", made / "key", "--ledger", made / "ledger.jsonl"]
    asked += ["--since", made / "since"] if (made / "since").exists() else []
    ours = tollgate("verify", "--output", "json", *asked)
    script = [sys.executable, REPOSITORY / "docs" / "verify_audit.py"]
    theirs = subprocess.run(script + asked, capture_output=True, text=True)
    assert ours.returncode == theirs.returncode, ours.stdout + ours.stderr + theirs.stdout + theirs.stderr
    return json.loads(ours.stdout), theirs


def test_an_export_that_nobody_touched_is_believed_by_both(made):
    ours, theirs = verdicts(made)
    assert ours["intact"] and ours["findings"] == []
    assert (ours["records"], ours["entries"], ours["ledger"]["entries"]) == (300, 300, 300)
    assert (theirs.returncode, theirs.stdout) == (0, "all is as it was signed\n")


def test_a_changed_record_is_named_by_both(made):
    bundle = made / "export/logs/replica-a/tile/entries/000"
    data = bytearray(bundle.read_bytes())
    data[1000] ^= 1
    bundle.write_bytes(data)
    ours, theirs = verdicts(made)
    first = ours["findings"][0]
    assert (first["kind"], first["log"], first["sequence"]) == ("changed", "replica-a", 2)
    assert theirs.returncode == 1 and "replica-a" in theirs.stdout


@pytest.mark.parametrize("log", ["root", "logs/replica-a"])
def test_a_changed_checkpoint_is_found_by_both_the_first_as_well_as_the_last(made, log):
    for note in checkpoints(made, log):
        whole = note.read_bytes()
        note.write_bytes(whole.replace(b"\n\n", b"\nx\n\n"))
        ours, theirs = verdicts(made)
        assert not ours["intact"] and theirs.returncode == 1
        note.write_bytes(whole)
    assert verdicts(made)[0]["intact"]


def test_a_ledger_entry_that_no_record_tells_of_is_named_by_both(made):
    ledger = made / "ledger.jsonl"
    lines = ledger.read_text().splitlines()
    lines.append(lines[0].replace("call_", "call_f"))
    ledger.write_text("\n".join(lines))
    ours, theirs = verdicts(made)
    assert {found["kind"] for found in ours["findings"]} == {"ledger_mismatch"}
    assert any("is in the ledger and in no record" in found["message"] for found in ours["findings"])
    assert theirs.returncode == 1 and "ledger" in theirs.stdout


def test_people_read_the_verdict_and_its_status_tells_programs(made):
    whole = tollgate("verify", made / "export", "--key", made / "key")
    assert whole.returncode == 0 and "300 records, 300 ledger entries" in whole.stdout
    for note in checkpoints(made, "logs/replica-b"):
        note.unlink()
    broken = tollgate("verify", made / "export", "--key", made / "key")
    assert broken.returncode == 1 and "NOT as it was signed: 1 findings" in broken.stdout
    unknown = tollgate("verify", made / "export", "--key", "nonsense")
    assert unknown.returncode == 2 and "--key" in unknown.stderr
    nowhere = tollgate("verify", made / "nowhere", "--key", made / "key")
    assert nowhere.returncode == 2 and "there is no such directory" in nowhere.stderr


def test_a_receipt_is_shown_to_be_held_and_a_forged_one_is_not_believed(made):
    held = tollgate("check-receipt", made / "receipt", made / "export", "--key", made / "key", "--output", "json")
    assert held.returncode == 0 and json.loads(held.stdout)["verdict"] == "held", held.stderr
    receipt = (made / "receipt").read_text()
    other = "A" if receipt[30] != "A" else "B"
    forged = tollgate("check-receipt", receipt[:30] + other + receipt[31:], made / "export", "--key", made / "key")
    assert forged.returncode in (1, 2), forged.stdout


def test_what_is_signed_and_yet_wrong_is_refused_by_both(tmp_path):
    wrote = made_up("odd", str(tmp_path))
    assert wrote.returncode == 0, wrote.stderr
    cases = sorted(tmp_path.iterdir())
    assert len(cases) > 50
    believed = []
    for made in cases:
        ours, theirs = verdicts(made)
        believed += [made.name] * (ours["intact"] or theirs.returncode == 0)
    assert believed == []


def test_a_key_that_was_mistyped_is_refused_by_both(made):
    name, digest, public = (made / "key").read_text().split("+", 2)
    (made / "key").write_text("+".join([name, f"{int(digest, 16) ^ 1:08x}", public]))
    ours = tollgate("verify", made / "export", "--key", made / "key")
    assert ours.returncode == 2 and "--key" in ours.stderr
    script = [sys.executable, REPOSITORY / "docs" / "verify_audit.py", made / "export", "--key", made / "key"]
    theirs = subprocess.run(script, capture_output=True, text=True)
    assert theirs.returncode == 1 and "verifier key" in theirs.stdout


def test_random_damage_is_found_by_both(made):
    judged = made_up("run", "--count", "1000", "--seed", "3", "--python", sys.executable)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "1000 mutations: 0 missed" in judged.stdout
