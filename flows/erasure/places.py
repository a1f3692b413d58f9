"""Local places beside DVC: the work folder, built Bentos, the service's state, the ledger.

For each place there is a search, which changes nothing, and an erasure, which can be repeated.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from bentos.runtime import active_release
from entityclip.data import pairs
from entityclip.data.erasure import SHORTEST, TABLES, Subject
from entityclip.errors import ConfigError, WorkspaceError
from entityclip.paths import ChangesLayout, DataLayout, Layout, StateLayout, StoreLayout
from entityclip.retrieval.index import Changes
from flows.erasure.survey import ErasureFinding, shard_rows

KEPT = {"lock", "unfinished", "running", "running.holder", "alive", "due", "up", "metrics", "catalog", "fetched"}
"""Entries of the work folder that stay: locks, triggers, processes, metrics, and the user's sources."""
SELECTED = {"bentoml", "releases", "watch"}
"""Entries of the work folder that are searched by release."""
BUSY_SECONDS = 20.0
_READABLE = {".csv", ".json", ".jsonl", ".html", ".txt", ".log", ".yaml", ".yml"}


# ---------------------------------------------------------------- work folder and Bentos
def work_found(layout: Layout, releases: Iterable[str]) -> list[ErasureFinding]:
    """Entries of the work folder that were made from the data, and the packages of these releases."""
    made = [path.name for path in _work(layout)]
    found = (
        [ErasureFinding(place=f"{layout.work.name}/", what=", ".join(sorted(made)), count=len(made), action="deleted")]
        if made
        else []
    )
    for version in releases:
        if store_paths(layout, version):
            tags = f"entityclip-service:{version}, entityclip-model:{version}"
            found.append(ErasureFinding(place="BentoML store", what=tags, count=2, action="deleted"))
    docs = layout.rules / "uncommitted"
    if any(docs.glob("*/*")):
        found.append(ErasureFinding(place="Data Docs", what="values of rows", count=1, action="deleted"))
    return found


def _work(layout: Layout) -> list[Path]:
    return [path for path in layout.work.glob("*") if path.name not in KEPT | SELECTED]


def store_paths(layout: Layout, version: str) -> list[Path]:
    """Paths of a release in the BentoML store and in its own folders."""
    store = StoreLayout(layout.bento_home)
    examples = store.example(version, suffix="").parent.glob(f"{version}.*")
    paths = [store.bento(version), store.model(version).root, store.building(version), store.log(version)]
    paths += [store.receipt(version), *examples, layout.release_copy(version), layout.watch(version).root]
    return [path for path in paths if path.exists()]


def erase_work(layout: Layout, releases: Iterable[str]) -> None:
    """Delete everything that was made from the data; a run rebuilds it. Also delete stale ``latest`` tags."""
    gone = [path for version in releases for path in store_paths(layout, version)]
    for name in ("data", "model", "feedback"):
        gone += [layout.incoming(name), layout.outgoing(name)]
    for path in (*_work(layout), *gone, layout.rules / "uncommitted"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for latest in (layout.bento_home / "bentos", layout.bento_home / "models"):
        for pointer in latest.glob("*/latest"):
            if not (pointer.parent / pointer.read_text().strip()).is_dir():
                pointer.unlink()


def built_again(layout: Layout, releases: Iterable[str]) -> None:
    """Let these releases be packaged again when needed: their commits have new ids."""
    for version in releases:
        StoreLayout(layout.bento_home).receipt(version).unlink(missing_ok=True)
        shutil.rmtree(layout.release_copy(version), ignore_errors=True)


def identify(layout: Layout, subject: Subject) -> None:
    """Extend the subject by rows that were ingested but never versioned."""
    for data in (layout.staging, layout.accepted, layout.data):
        for row in _shards(data):
            if subject.about(row):
                subject.add_identifiers(row)


def holds(data: DataLayout, subject: Subject) -> bool:
    """Whether a data folder has rows about or by the subject."""
    return any(map(subject.holds, _shards(data)))


def _shards(data: DataLayout) -> Iterator[dict[str, Any]]:
    for table, columns in {**TABLES, "source_provided": pairs.SOURCE_PROVIDED.names}.items():
        for path in sorted((data.root / table).glob("*.parquet")):
            yield from shard_rows(path, columns)


def work_holds(layout: Layout, subject: Subject) -> bool:
    """Whether a file in the work folder names the subject: staging, quarantine, report or log."""
    files = (file for path in _work(layout) for file in (path.rglob("*") if path.is_dir() else [path]))
    return any(_file_holds(file, subject) for file in files if file.is_file())


def _file_holds(file: Path, subject: Subject) -> bool:
    if file.suffix == ".parquet":
        return any(map(subject.holds, (row for columns in TABLES.values() for row in shard_rows(file, columns))))
    if file.suffix not in _READABLE:
        return False
    with file.open(encoding="utf-8", errors="replace") as lines:
        return any(map(subject.mentioned, lines))


def prefect_found(layout: Layout, subject: Subject) -> list[ErasureFinding]:
    """Prefect's own database, whose artifacts may show a row."""
    words = [word.encode() for word in (*subject.words, subject.request.value) if len(word) >= SHORTEST]
    for file in layout.prefect_home.rglob("*.db*"):
        content = file.read_bytes()
        if any(word in content for word in words):
            action = f"NOT erased: entityclip down --workspace {layout.root}, then delete {layout.prefect_home}"
            return [ErasureFinding(place="Prefect database", what=file.name, count=1, action=action, left=True)]
    return []


# ---------------------------------------------------------------- the service's state
def service_found(state: StateLayout, subject: Subject) -> list[ErasureFinding]:
    """Rows of feedback, and changed entities."""
    found = []
    for place, count, action in (
        ("feedback spool", len(_feedback(state, subject)), "rows deleted"),
        ("changed entities", len(_changed(state, subject)), "deleted; running services drop them at once"),
        ("added pictures", len(_added(state, subject)), "deleted; running services drop them at once"),
    ):
        if count:
            found.append(ErasureFinding(place=place, what="rows", count=count, action=action))
    return found


def samples_found(state: StateLayout) -> list[ErasureFinding]:
    """Data that may stem from the subject without a reference to it: samples of requests, shadow comparisons."""
    found = []
    for place, count in (("samples", _samples(state)), ("shadow record", int(state.shadow.exists()))):
        if count:
            found.append(
                ErasureFinding(place=place, what="rows", count=count, action="all deleted: no row says whose it is")
            )
    return found


def _rows(path: Path, query: str) -> list[tuple[object, ...]]:
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as db:
            return db.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise


def _feedback(state: StateLayout, subject: Subject) -> list[int]:
    rows = _rows(state.feedback, "SELECT number, entity_id, entity, text, picture FROM feedback")
    return [int(str(number)) for number, *row in rows if _matches(row, subject)]


def _matches(row: list[object], subject: Subject) -> bool:
    entity_id, entity, text, picture = row
    shown = hashlib.sha256(picture).hexdigest() if isinstance(picture, bytes) and picture else ""
    about = subject.about({"entity_id": entity_id, "entity": entity, "text": text, "picture": shown})
    return about or subject.mentioned(str(entity)) or subject.mentioned(str(text))


def _samples(state: StateLayout) -> int:
    return len(_rows(state.samples, "SELECT number FROM samples"))


def _changed(state: StateLayout, subject: Subject) -> list[str]:
    """Ids of changed entities that match, by id or by the content of their entry."""
    gone = []
    query = "SELECT entity_id, entry FROM entity WHERE entry IS NOT NULL"
    for entity_id, entry in _rows(ChangesLayout(state.entities).database, query):
        if subject.about({**json.loads(str(entry)), "entity_id": entity_id}):
            gone.append(str(entity_id))
    return gone


def _added(state: StateLayout, subject: Subject) -> list[tuple[str, str]]:
    """Entity and picture id of added pictures that match, of entities that stay."""
    query, gone = "SELECT entity_id, pair_id, bytes FROM picture", set(_changed(state, subject))
    rows = _rows(ChangesLayout(state.entities).database, query)
    hashed = ((str(e), str(p), hashlib.sha256(b).hexdigest()) for e, p, b in rows if isinstance(b, bytes))
    return [(entity, pair) for entity, pair, sha in hashed if sha in subject.pictures and entity not in gone]


def erase_service(state: StateLayout, subject: Subject) -> None:
    """Delete those rows. Running services have the release in memory: its entities are removed there as well."""
    if numbers := _feedback(state, subject):
        scrub(
            state.feedback, lambda db: db.executemany("DELETE FROM feedback WHERE number = ?", [(n,) for n in numbers])
        )
    if _samples(state):
        scrub(state.samples, lambda db: db.execute("DELETE FROM samples"))
    database = ChangesLayout(state.entities).database
    if database.exists():
        changes = Changes(ChangesLayout(state.entities), fingerprint="erasure")
        for entity_id, pair_id in _added(state, subject):
            changes.remove_pictures(entity_id, [pair_id])
        released = (name for name in subject.entities if re.fullmatch("[0-9a-f]{16}", name))
        for entity_id in dict.fromkeys((*_changed(state, subject), *released)):
            changes.erase(entity_id)
        scrub(database, lambda db: db.execute("INSERT INTO grams (grams) VALUES ('optimize')"))
    state.shadow.unlink(missing_ok=True)


def scrub(path: Path, work: Callable[[sqlite3.Connection], object]) -> None:
    """Run ``work`` on a SQLite file, then overwrite the deleted rows in the file and its log.

    Raises:
        WorkspaceError: Another process keeps reading the file.
    """
    give_up = time.monotonic() + BUSY_SECONDS
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = ON")
        work(db)
        db.execute("VACUUM")
        while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > give_up:
                raise WorkspaceError(f"{path}: another process keeps reading it; stop the service and run again")
            time.sleep(0.1)


def drop_live(state: StateLayout, gone: Iterable[Path]) -> None:
    """Prevent services from starting with a deleted package; running services continue from memory until they end."""
    folders = {path.resolve() for path in gone}
    if not state.live.exists():
        return
    with active_release.locked(state):
        try:
            now = active_release.read(state)
        except ConfigError:  # damaged, so it names no package
            return
        if now is None:
            return
        kept = {name: None for name in ("previous", "challenger") if getattr(now, name) in folders}
        if "challenger" in kept:
            kept["canary"] = None
        if now.champion in folders:
            active_release.put_back(state, None)
        elif kept:
            active_release.put_back(state, now.model_copy(update=kept))


# ---------------------------------------------------------------- the ledger
def ledger_found(layout: Layout, subject: Subject) -> list[ErasureFinding]:
    """Answers of language models in the ledger."""
    count = len(_answers(layout.ledger, subject))
    return [ErasureFinding(place=layout.ledger.name, what="answers", count=count, action="deleted")] if count else []


def _answers(ledger: Path, subject: Subject) -> list[str]:
    query = "SELECT key, entity, records, visible, doubts, set_aside FROM answers"
    return [str(key) for key, *row in _rows(ledger, query) if _answered(row, subject)]


def _answered(row: list[object], subject: Subject) -> bool:
    entity, records, visible, doubts, set_aside = map(str, row)
    if any(subject.about(record) for record in json.loads(records)):
        return True
    return any(
        map(subject.mentioned, (entity, set_aside, *_strings(json.loads(visible)), *_strings(json.loads(doubts))))
    )


def _strings(values: object) -> Iterator[str]:
    return (value for value in values if isinstance(value, str)) if isinstance(values, list) else iter(())


def erase_ledger(layout: Layout, subject: Subject) -> None:
    """Delete those answers. The audit of requests stays: it holds hashes, hosts and times."""
    if keys := _answers(layout.ledger, subject):
        scrub(layout.ledger, lambda db: db.executemany("DELETE FROM answers WHERE key = ?", [(key,) for key in keys]))
