from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from entityclip.errors import DataError
from entityclip.explanations import Ledger, SourceWriter, WriterAnswer, WriterCost, record
from entityclip.explanations.ledger import VERSION, key_of, read_release_costs
from entityclip.paths import Layout
from entityclip.paths.workspace import former_ledger
from entityclip.schemas import CostReading, ExplanationRequest, Resources

REQUEST = ExplanationRequest(entity_id="e", entity="やかん", caption="赤いやかん", source_provided=("赤い。", "Red."))
WRITER = SourceWriter()
# The table of this project's first version, with what it wrote about REQUEST.
OLD_TABLE = """CREATE TABLE answers (
    key TEXT PRIMARY KEY, generator TEXT NOT NULL, prompt_version TEXT NOT NULL,
    written_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, records TEXT NOT NULL
) WITHOUT ROWID"""


def write_old(path: Path) -> list[tuple[object, ...]]:
    """A ledger as the first version left it; its rows."""
    (answer,) = WRITER.write([REQUEST])
    records = "[" + ",".join(r.model_dump_json() for r in answer.records) + "]"
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    db.execute(OLD_TABLE)
    db.execute(
        "INSERT INTO answers VALUES (?, 'source', 'verbatim', '2026-01-02 03:04:05', ?)",
        (key_of(REQUEST, writer=WRITER), records),
    )
    db.execute("INSERT INTO answers VALUES ('other', 'g', 'p', '2026-01-02', '[]')")
    db.commit()
    rows = db.execute("SELECT * FROM answers").fetchall()
    db.close()
    return rows


def test_a_ledger_of_the_first_version_keeps_every_row(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    rows = write_old(path)
    for _ in range(2):
        with Ledger(path) as book:
            found = book.get([key_of(REQUEST, writer=WRITER)])
            assert [r.text for texts in found.values() for r in texts] == ["赤い。", "Red."]
            assert book.known(["other"]) == {"other": ""}
            assert book.spent() == WriterCost()
    db = sqlite3.connect(path)
    columns = "key, generator, prompt_version, written_at, records"
    assert db.execute(f"SELECT {columns} FROM answers").fetchall() == rows
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_two_programs_may_bring_an_old_ledger_up_to_date_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    write_old(path)
    faults: list[Exception] = []

    def open_it() -> None:
        try:
            with Ledger(path) as book:
                assert len(book) == 2
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(DataError, match="update the program"):
        Ledger(path)


def test_the_ledger_comes_along_from_the_folder_that_may_be_deleted(tmp_path: Path) -> None:
    path = Layout(tmp_path).ledger
    assert path.parent == tmp_path
    write_old(former_ledger(path))
    with Ledger(path) as book:
        assert len(book) == 2
        book.keep("new", WriterAnswer(request=REQUEST), writer=WRITER)
    with Ledger(path) as book:
        assert len(book) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == [".entityclip", "ledger.sqlite"]


def test_a_rejected_answer_is_replaced_and_both_costs_stay(tmp_path: Path) -> None:
    cost = WriterCost(tokens_in=10, tokens_out=2, seconds=0.5, money=0.25)
    text = (record(REQUEST, "赤い。", writer=WRITER),)
    with Ledger(tmp_path / "ledger.sqlite") as book:
        book.keep("k", WriterAnswer(request=REQUEST, cost=cost, rejected="no JSON"), writer=WRITER)
        assert (book.known(["k"]), book.get(["k"])) == ({"k": "no JSON"}, {"k": ()})
        book.keep("k", WriterAnswer(request=REQUEST, cost=cost, records=text), writer=WRITER)
        assert (book.known(["k"]), book.get(["k"])) == ({"k": ""}, {"k": text})
        assert book.spent() == cost + cost
        book.keep("k", WriterAnswer(request=REQUEST, cost=cost, rejected="late"), writer=WRITER)
        assert book.get(["k"]) == {"k": text}


def test_a_second_reading_of_a_run_replaces_the_first(tmp_path: Path) -> None:
    first, second = (CostReading(started=datetime(2026, 1, day, tzinfo=UTC), totals=Resources()) for day in (1, 2))
    whole = first.model_copy(update={"release": "v1.0.0", "totals": Resources(tokens=12)})
    with Ledger(tmp_path / "ledger.sqlite") as book:
        assert book.readings() == ()
        for reading in (second, first, whole):
            book.write_reading(reading)
        assert book.readings() == (whole, second)
    assert [cost.release for cost in read_release_costs(tmp_path / "ledger.sqlite")] == ["v1.0.0"]
    assert read_release_costs(tmp_path / "none.sqlite") == ()


def test_a_reason_or_a_picture_makes_another_request(tmp_path: Path) -> None:
    others = [{"reason": "too long"}, {"pictures_sha256": ("too long",)}, {"reason": "a", "pictures_sha256": ("b",)}]
    keys = {key_of(REQUEST.model_copy(update=other), writer=WRITER) for other in [{}, *others]}
    assert len(keys) == 4
    assert key_of(REQUEST.model_copy(update={"pictures": (b"x",)}), writer=WRITER) in keys


def test_the_key_of_a_request_never_changes_or_old_answers_would_be_paid_for_again() -> None:
    assert key_of(REQUEST, writer=WRITER) == "790a2c955045969e4eb310ca4b873298"
