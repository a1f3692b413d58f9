"""Finds the versions that hold the subject of an erasure. It changes nothing."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from entityclip.data.erasure import TABLES, Subject
from entityclip.paths import Layout
from entityclip.schemas import PromotionDecision, Record
from flows.erasure.objects import Objects, Version, versions
from flows.workspace.dvc_hashes import pointer_hash
from flows.workspace.registry import champion, release_of
from flows.workspace.registry import versions as released
from flows.workspace.repository import Repository


class ErasureFinding(Record):
    """One place that holds the subject, and what happens to it."""

    place: str
    what: str
    count: int
    action: str
    left: bool = False
    """Whether it belongs to the user and stays."""


@dataclass
class Survey:
    """Versions, objects, releases and models that hold the subject."""

    subject: Subject
    doomed: list[Version] = field(default_factory=list)
    kept: list[Version] = field(default_factory=list)
    unneeded: list[str] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    found: list[ErasureFinding] = field(default_factory=list)

    @property
    def current(self) -> dict[str, Version]:
        """Folder -> the version in HEAD that has to be rebuilt."""
        return {version.folder: version for version in self.doomed if "HEAD" in version.commits}


def survey(layout: Layout, subject: Subject, objects: Objects, *, erased: Collection[str] = ()) -> Survey:
    """Read every version in cache and remotes, and extend ``subject`` by what its rows show.

    Args:
        layout: The workspace.
        subject: What is to be erased.
        objects: Reachable objects of DVC.
        erased: Versions whose erasure has begun: they are deleted completely.
    """
    result = Survey(subject)
    known = _marked(layout, versions(layout))
    searched = [version for version in known if version.folder != "model"]
    size = -1
    while size != subject.size:  # a row may name an entity or picture that older versions have with other texts
        size = subject.size
        counts = {version: _count(version, objects, subject) for version in searched}
    begun = {version for version in searched if version.hash in erased and objects.listing(version.hash)}
    result.doomed = [version for version in searched if counts[version] or version in begun]
    result.kept = [version for version in known if version not in result.doomed]
    _spare(result, objects)
    for version in result.doomed:
        result.found.append(_version_found(version, counts[version]))
    _objects_found(result, objects, known)
    _releases_found(layout, result)
    return result


def _marked(layout: Layout, known: list[Version]) -> list[Version]:
    """The versions; those in the current commit have HEAD among their commits."""
    repository, now = Repository(layout.root), set()
    for pointer in (layout.data_dvc, layout.feedback_dvc, layout.model_dvc):
        text = repository.committed(pointer)
        now.add((pointer.stem, pointer_hash(text) if text else ""))
    return [Version(v.folder, v.hash, (*v.commits, "HEAD") if (v.folder, v.hash) in now else v.commits) for v in known]


# ---------------------------------------------------------------- rows
def _count(version: Version, objects: Objects, subject: Subject) -> Counter[str]:
    """Table -> number of rows of a version about or by the subject, which is extended by those about it."""
    counts: Counter[str] = Counter()
    for relative, oid in sorted(objects.listing(version.hash).items()):  # entities before pairs
        if (path := objects.path(oid)) is None:
            continue
        table = relative.partition("/")[0]
        for row in _rows(path, relative):
            if subject.about(row):
                subject.add_identifiers(row)
            if subject.holds(row):
                subject.add_names(row)
                counts[table] += 1
        if version.folder == "data" and table not in TABLES and relative != "complete.json":
            counts[table] += subject.mentioned(path.read_text(encoding="utf-8", errors="replace"))
    return counts


def _rows(path: Path, relative: str) -> Iterator[dict[str, Any]]:
    """Rows of an object, by its path in the folder; none if it is not a table."""
    if relative.partition("/")[0] in TABLES:
        yield from shard_rows(path, TABLES[relative.partition("/")[0]])
    elif relative.endswith(".csv") and "/" not in relative:
        yield from feedback_rows(path)
    elif relative.startswith("pictures/"):
        yield {"picture": Path(relative).name}


def shard_rows(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, with those of ``columns`` that it has; none if it is not Parquet."""
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException:
        return
    there = {name.partition(".")[0] for name in file.schema_arrow.names}
    wanted = [name for name in columns if name.partition(".")[0] in there]
    for batch in file.iter_batches(columns=wanted):
        yield from batch.to_pylist()


def feedback_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a table of feedback; ``picture`` is the picture's hash in each that has pictures.

    A row of a product also has the values of its entry, such as ``aliases`` and ``explanations``; one of a removed
    product has its names as ``aliases``.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            entry = json.loads(row["entry"]) if row.get("entry") else {}
            entry |= {"aliases": row["names"].splitlines()} if row.get("names") else {}
            yield entry | row | ({"picture": Path(row["file"]).name} if "file" in row else {})


def _spare(result: Survey, objects: Objects) -> None:
    """Do not search for texts that also occur in rows that stay in the newest data."""
    current = next((v for v in (*result.doomed, *result.kept) if v.folder == "data" and "HEAD" in v.commits), None)
    for relative, oid in objects.listing(current.hash).items() if current else ():
        table, path = relative.partition("/")[0], objects.path(oid)
        if table in TABLES and path is not None:
            rows = shard_rows(path, TABLES[table])
            result.subject.spare(row for row in rows if not result.subject.about(row))


# ---------------------------------------------------------------- findings
def _version_found(version: Version, counts: Counter[str]) -> ErasureFinding:
    rows = ", ".join(f"{count} {table}" for table, count in sorted(counts.items()))
    again = ", rebuilt without it" if "HEAD" in version.commits else ""
    return ErasureFinding(
        place=f"{version.folder}/ {version.hash[:12]}",
        what=rows,
        count=sum(counts.values()),
        action=f"erased completely{again}",
    )


def _objects_found(result: Survey, objects: Objects, known: list[Version]) -> None:
    doomed = [version.hash for version in result.doomed]
    result.unneeded = objects.unneeded(doomed, [version.hash for version in result.kept])
    named = {oid for v in known for oid in (v.hash, *objects.listing(v.hash).values())}
    result.unneeded += [oid for oid in objects.strays(named) if _holds(objects.path(oid), result.subject)]
    places = Counter(place for oid in result.unneeded for place in objects.places(oid))
    for place, count in places.items():
        name = "DVC cache" if place == "cache" else f"DVC remote {place!r}"
        result.found.append(ErasureFinding(place=name, what="objects", count=count, action="deleted"))


def _holds(path: Path | None, subject: Subject) -> bool:
    """Whether an object without a version is about the subject: a shard, a feedback table or a picture."""
    if path is None:
        return False
    rows = [row for columns in TABLES.values() for row in shard_rows(path, columns)]
    if rows:
        return any(map(subject.holds, rows))
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() in subject.pictures:
        return True
    text = content.decode("utf-8", errors="replace")
    if text.startswith("entity_id,entry,") and any(map(subject.holds, feedback_rows(path))):
        return True
    return "\0" not in text and any(map(subject.mentioned, text.splitlines()))


def _releases_found(layout: Layout, result: Survey) -> None:
    doomed = {version.hash for version in result.doomed}
    current = champion(layout)
    for version in released(layout):
        release = release_of(layout, version)
        if release.data_hash in doomed:
            result.releases.append(version)
            result.models.append(release.model_fingerprint)
            what = "the champion" if current is not None and current.version == version else "a release"
            result.found.append(
                ErasureFinding(
                    place=f"release {version}", what=what, count=1, action="cannot be restored; its model stays"
                )
            )
    for path in layout.decisions:
        decision = PromotionDecision.read(path)
        if decision is not None and decision.data_hash in doomed and decision.challenger not in result.models:
            result.models.append(decision.challenger)
    for model in result.models:
        found = ErasureFinding(
            place=f"model {model[:12]}", what="was trained on it", count=1, action="retraining is due"
        )
        result.found.append(found)
