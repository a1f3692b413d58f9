"""The file of changes holds what its entities are now, and no more: it does not grow with the number of changes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from entityclip.errors import DataError
from entityclip.paths import ChangesLayout
from entityclip.retrieval.index import Changes
from entityclip.retrieval.index.changes import KEPT_MODELS, TEXTS
from entityclip.schemas import EntityEntry

TEXT = "赤い丸い胴と銀色の注ぎ口がある。The lid is black, the handle is long. " * 20


def put(changes: Changes, entity_id: str, name: str, *, text: str = TEXT) -> None:
    entry = EntityEntry(entity=name, aliases=(f"ポンプ {name}",), explanations=(text,))
    vectors = {TEXTS: np.zeros((2, 8), np.float32)}
    changes.put(entity_id, entry, pictures=(), keep_pictures=True, vectors=vectors)


def rows(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(ChangesLayout(folder).database)) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def size(folder: Path) -> int:
    with closing(sqlite3.connect(ChangesLayout(folder).database)) as database:
        pages, page = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return int(pages * page)


def test_file_does_not_grow_with_the_number_of_changes(tmp_path):
    changes = Changes(ChangesLayout(tmp_path), fingerprint="m")
    for number in range(50):
        put(changes, f"e{number % 5}", f"KX-{number}")
    before = size(tmp_path)
    for number in range(500):
        put(changes, f"e{number % 5}", f"KX-{number}")
    assert size(tmp_path) <= 1.5 * before
    assert (rows(tmp_path, "document"), rows(tmp_path, "grams")) == (5, 5)


def test_removed_text_is_found_no_more_and_leaves_no_grams(tmp_path):
    changes = Changes(ChangesLayout(tmp_path), fingerprint="m")
    put(changes, "e1", "KX-1", text="山田太郎の写真")
    put(changes, "e2", "KX-2")
    changes.remove("e1")
    assert rows(tmp_path, "grams") == 1
    assert changes.text.holding("山田", column="texts") == []
    assert [found for found, _ in changes.text.holding("丸い", column="texts")] == ["e2"]


def test_erased_entity_has_no_origin_and_its_pictures_do_not_return(tmp_path):
    changes = Changes(ChangesLayout(tmp_path), fingerprint="m")
    changes.remove("e1", key="ana")
    changes.remove("e2", key="ana")
    changes.erase("e1")
    assert rows(tmp_path, "origin") == 1
    put(changes, "e1", "KX-1")
    put(changes, "e2", "KX-2")
    assert [change.keeps_released for change in changes.since(0, dim=8)] == [False, True]


def test_file_of_an_older_version_keeps_its_texts_and_can_be_changed(tmp_path):
    changes = Changes(ChangesLayout(tmp_path), fingerprint="m")
    put(changes, "e1", "KX-1")
    put(changes, "e2", "KX-2")
    changes.remove("e2")
    with closing(sqlite3.connect(ChangesLayout(tmp_path).database)) as database:
        database.execute("DROP TABLE grams")
        database.execute("CREATE VIRTUAL TABLE grams USING fts5 (names, texts, content='', tokenize='ascii')")
    opened = Changes(ChangesLayout(tmp_path), fingerprint="m")
    assert [found for found, _ in opened.text.holding("注ぎ口", column="texts")] == ["e1"]
    put(opened, "e1", "KX-9", text="blue")
    assert opened.text.holding("注ぎ口", column="texts") == []
    assert [name.entity_id for name in opened.text.named("KX-9")] == ["e1"]
    assert not opened.text.named("KX-1")


def test_vectors_of_models_that_are_long_gone_are_deleted(tmp_path):
    for model in range(KEPT_MODELS + 3):
        changes = Changes(ChangesLayout(tmp_path), fingerprint=f"m{model}")
        put(changes, "e1", "KX-1")
        (change,) = changes.since(0, dim=8)
        changes.keep(change, {"p1": np.zeros((1, 8), np.float32)})
    again = Changes(ChangesLayout(tmp_path), fingerprint="m0")
    with closing(sqlite3.connect(ChangesLayout(tmp_path).database)) as database:
        kept = {name for (name,) in database.execute("SELECT DISTINCT fingerprint FROM vector")}
    assert kept == {f"m{model}" for model in range(3, KEPT_MODELS + 3)}
    (change,) = again.since(0, dim=8)
    assert not change.embedded


def test_older_file_with_an_entry_that_cannot_be_read_is_an_error_that_names_the_file(tmp_path):
    put(Changes(ChangesLayout(tmp_path), fingerprint="m"), "e1", "KX-1")
    with closing(sqlite3.connect(ChangesLayout(tmp_path).database)) as database:
        database.execute("UPDATE entity SET entry = '{'")
        database.execute("DROP TABLE grams")
        database.execute("CREATE VIRTUAL TABLE grams USING fts5 (names, texts, content='', tokenize='ascii')")
        database.commit()
    with pytest.raises(DataError, match=r"entities\.sqlite"):
        Changes(ChangesLayout(tmp_path), fingerprint="m")
