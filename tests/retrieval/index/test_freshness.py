"""What was put is found by the next request, in every thread and process, and one failure leaves nothing stale."""

import io
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_data, tiny_model, tiny_picture

from entityclip.errors import DataError
from entityclip.paths import ChangesLayout, PackageLayout
from entityclip.retrieval.index import Changes, EntityIndex
from entityclip.retrieval.index.catalog import Catalog
from entityclip.retrieval.index.changes import TEXTS
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import EntityEntry

PUTS = 1000
ENTITIES = 5
"""The puts change so many entities in turn, so that the overlay stays small and the test fast."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    EntityIndex.build(tiny_model(folder), tiny_data(tmp_path_factory.mktemp("data"))).save(
        PackageLayout(folder).entities
    )
    return folder


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    return tmp_path / "changes"


@pytest.fixture
def predictor(package: Path, changes: Path) -> Predictor:
    return Predictor.load(package, changes=changes)


def name_of(catalog: Catalog, entity_id: str) -> str | None:
    """The name under which the next request finds the entity."""
    snapshot = catalog.now()
    found = snapshot.numbers([entity_id], added=True)
    return str(snapshot.rows(found)["entity"].iloc[0]) if found else None


@contextmanager
def readers(catalog: Catalog, *, threads: int = 4) -> Iterator[None]:
    """Threads that ask for the snapshot all the time."""
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.001):
            catalog.now()

    reading = [threading.Thread(target=read) for _ in range(threads)]
    for thread in reading:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in reading:
            thread.join()


def stored(changes: Path, predictor: Predictor) -> Changes:
    """The file of changes as another process of the same model opens it."""
    return Changes(ChangesLayout(changes), fingerprint=predictor.model.card.fingerprint)


def photograph() -> bytes:
    stream = io.BytesIO()
    tiny_picture("cyan", 5).save(stream, "PNG")
    return stream.getvalue()


def put(changes: Changes, entity_id: str, name: str, *, vectors: dict[str, np.ndarray]) -> None:
    changes.put(entity_id, EntityEntry(entity=name), pictures=(), keep_pictures=True, vectors=vectors)


@pytest.mark.slow
def test_every_put_is_found_by_the_next_request_while_four_threads_read(changes, predictor):
    writer, vectors = stored(changes, predictor), {TEXTS: np.ones((2, predictor.model.dim), np.float32)}
    missed = []
    with readers(predictor.catalog):
        for number in range(PUTS):
            entity_id, name = f"e{number % ENTITIES}", f"ポンプ KX-{number}"
            put(writer, entity_id, name, vectors=vectors)
            if name_of(predictor.catalog, entity_id) != name:
                missed.append(name)
    assert not missed, f"{len(missed)} of {PUTS} puts were missed by the next request"


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from entityclip.retrieval.index.changes import TEXTS, Changes
from entityclip.paths import ChangesLayout
from entityclip.schemas import EntityEntry
folder, fingerprint, dim, puts, entities = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
changes, vectors = Changes(ChangesLayout(folder), fingerprint=fingerprint), {TEXTS: np.ones((2, dim), np.float32)}
for number in range(puts):
    entry = EntityEntry(entity=f"KX-{number}")
    changes.put(f"e{number % entities}", entry, pictures=(), keep_pictures=True, vectors=vectors)
    print(number, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
def test_every_put_of_another_process_is_found_by_the_next_request(changes, predictor):
    numbers = map(str, (predictor.model.dim, PUTS, ENTITIES))
    command = [sys.executable, "-c", _WRITER, str(changes), predictor.model.card.fingerprint, *numbers]
    missed = 0
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer,
        readers(predictor.catalog),
    ):
        assert writer.stdout is not None
        assert writer.stdin is not None
        seen = 0
        for line in writer.stdout:
            number = int(line)
            missed += name_of(predictor.catalog, f"e{number % ENTITIES}") != f"KX-{number}"
            seen += 1
            writer.stdin.write("next\n")
            writer.stdin.flush()
    assert (writer.returncode, seen) == (0, PUTS)
    assert missed == 0, f"{missed} of {PUTS} puts were missed by the next request"


def test_damaged_vector_is_made_again_and_leaves_no_worker_stale(changes, predictor):
    put(stored(changes, predictor), "e1", "KX-1", vectors={TEXTS: np.ones((1, predictor.model.dim), np.float32)})
    assert name_of(predictor.catalog, "e1") == "KX-1"
    expected = predictor.model.embed_texts(["KX-1"])[0]
    assert predictor.catalog.now().added.vectors["caption"][0] == pytest.approx(expected, abs=1e-5)


def test_refresh_that_failed_is_tried_again_by_the_next_request(changes, predictor):
    predictor.put_entity(EntityEntry(entity="KX-1"), entity_id="e1")
    other = Changes(ChangesLayout(changes), fingerprint="another model")
    put(other, "e2", "KX-2", vectors={})
    with closing(sqlite3.connect(ChangesLayout(changes).database)) as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON vector BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        for _ in range(2):
            with pytest.raises(DataError, match="disk is full"):
                predictor.catalog.now()
        database.execute("DROP TRIGGER full")
    assert (name_of(predictor.catalog, "e1"), name_of(predictor.catalog, "e2")) == ("KX-1", "KX-2")


def test_stored_picture_that_cannot_be_opened_any_more_stops_no_request(changes, predictor, caplog):
    other = Changes(ChangesLayout(changes), fingerprint="another model")
    pictures = [b"no picture", photograph()]
    other.put("e1", EntityEntry(entity="KX-1"), pictures=pictures, keep_pictures=True, vectors={})
    assert name_of(predictor.catalog, "e1") == "KX-1"
    assert predictor.catalog.now().pictures == 1
    assert "left out: not a JPEG" in caplog.text
