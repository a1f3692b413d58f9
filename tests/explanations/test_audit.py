from __future__ import annotations

import hashlib
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.errors import DataError
from entityclip.explanations.audit import Audit, read_audit
from entityclip.explanations.ledger import Ledger
from entityclip.paths import Layout

TEXT = "赤いやかん。 <EMAIL>"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger that sent three texts to two models."""
    path = Layout(tmp_path).ledger
    with Ledger(path), Audit(path) as audit:
        audit.record(TEXT, entity_id="e1", host="127.0.0.1", model="small", redactions={"EMAIL": 2})
        audit.record("A lamp.", entity_id="e2", host="127.0.0.1", model="small", redactions={"EMAIL": 1, "PHONE": 1})
        audit.record("A lamp.", entity_id="e2", host="llm.example.com", model="large")
    return path


def test_the_audit_identifies_a_text_without_keeping_it(ledger: Path) -> None:
    first, *_ = read_audit(ledger)
    assert first.text_sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (first.characters, first.entity_id, first.redactions) == (len(TEXT), "e1", {"EMAIL": 2})
    assert TEXT.encode() not in b"".join(p.read_bytes() for p in ledger.parent.iterdir() if p.is_file())


def test_nothing_in_the_audit_can_be_changed_or_taken_away(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as db:
        for statement in ("DELETE FROM audit", "UPDATE audit SET host = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)
    assert len(list(read_audit(ledger))) == 3


def test_several_runs_note_in_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"

    def send(run: int) -> None:
        with Audit(path) as audit:
            for number in range(20):
                audit.record(f"{run} {number}", entity_id="e", host="h", model="m")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    assert len({row.text_sha256 for row in read_audit(path)}) == 160


def test_looking_makes_no_file_and_no_table(tmp_path: Path) -> None:
    assert list(read_audit(tmp_path / "none.sqlite")) == []
    assert list(tmp_path.iterdir()) == []
    with Ledger(tmp_path / "ledger.sqlite"):
        assert list(read_audit(tmp_path / "ledger.sqlite")) == []


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database, surely not one" * 100)
    for use in (lambda: list(read_audit(path)), lambda: Audit(path)):
        with pytest.raises(DataError, match=r"ledger\.sqlite"):
            use()


# ---------------------------------------------------------------- the command
def test_the_command_sums_by_host_and_model(ledger: Path, tmp_path: Path) -> None:
    file = tmp_path / "audit.csv"
    arguments = ["audit", "--workspace", str(ledger.parent), "--csv", str(file), "--json"]
    output = CliRunner().invoke(app, arguments)
    assert output.exit_code == 0, output.stderr
    assert "EMAIL 3, PHONE 1" in output.stdout
    answer = json.loads(output.stdout.splitlines()[-1])
    near, far = answer["destinations"]
    assert (answer["sent"], near["texts"], near["entities"], near["redacted"]) == (3, 2, 2, {"EMAIL": 3, "PHONE": 1})
    assert (far["host"], far["model"], far["redacted"]) == ("llm.example.com", "large", {})
    rows = pd.read_csv(file, keep_default_na=False)
    assert list(rows["redactions"]) == ["EMAIL 2", "EMAIL 1, PHONE 1", ""]


def test_the_command_says_that_nothing_was_sent(tmp_path: Path) -> None:
    output = CliRunner().invoke(app, ["audit", "--workspace", str(tmp_path), "--json"])
    assert output.exit_code == 0
    assert json.loads(output.stdout.splitlines()[-1]) == {"sent": 0, "destinations": []}
