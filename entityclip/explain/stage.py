"""The explain stage: staging's entities in, staging's explanations out, the ledger asked first."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from entityclip import pairs
from entityclip.explain.ledger import Ledger, key_of
from entityclip.explain.writer import Writer, record
from entityclip.layout import DataLayout
from entityclip.records import ExplanationRecord, ExplanationRequest

REQUESTS_AT_ONCE = 256
"""How many requests a writer gets in one call; it may work on them side by side."""


def explain(staging: DataLayout, *, writer: Writer, ledger: Path, progress: bool = False) -> int:
    """Have ``writer`` explain every entity in ``staging`` and write the table of explanations.

    What the ledger knows is not asked again, so a run that was killed goes on where it stopped. Rows come in the
    order of the entity table, and the table appears whole or not at all.

    Returns:
        How many texts there are.

    Raises:
        DataError: Staging is missing or half-written, or the ledger is not a ledger.
    """
    pairs.require_complete(staging)
    partial = staging.explanations.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with Ledger(ledger) as book, tqdm(desc="explain", unit=" entities", disable=not progress) as bar:
        written = (row.model_dump() for row in _answered(staging, writer=writer, book=book, bar=bar))
        count = pairs.write_rows(partial, pairs.EXPLANATIONS, written, name="explanations")
    shutil.rmtree(staging.explanations, ignore_errors=True)
    partial.rename(staging.explanations)
    return count


def _answered(staging: DataLayout, *, writer: Writer, book: Ledger, bar: tqdm) -> Iterator[ExplanationRecord]:
    """Every text in the order of the requests; a new one is in the ledger before it is passed on."""
    waiting = requests(staging)
    while some := list(islice(waiting, REQUESTS_AT_ONCE)):
        keys = {request: key_of(request, writer=writer) for request in some}
        known = book.get(keys.values())
        missing = [request for request, key in keys.items() if key not in known]
        for request, records in writer.write(missing):
            book.keep(keys[request], records, writer=writer)
        known |= book.get(keys[request] for request in missing)
        for request, key in keys.items():
            # Two entities may be called the same and know the same: one answer does for both.
            for answer in known.get(key, ()):
                own = answer.entity_id == request.entity_id
                yield answer if own else record(request, answer.text, writer=writer)
        bar.update(len(some))


# ---------------------------------------------------------------- what a writer gets to know
def requests(staging: DataLayout) -> Iterator[ExplanationRequest]:
    """One request per entity, in the order of the entity table.

    An entity whose brought texts are in several languages gives one request per language. Its caption is the
    alphabetically first of its pictures' captions, so that a new picture rarely changes it; without one, its name.
    """
    captions = _first_captions(staging)
    texts = _brought(staging)
    for row in pairs.iter_rows(staging.entities):
        known = {"entity_id": row["entity_id"], "entity": row["entity"], "category": row["category"] or ""}
        caption = captions.get(row["entity_id"]) or row["entity"]
        for language, brought in texts.get(row["entity_id"], {row["language"] or "en": {}}).items():
            yield ExplanationRequest(**known, caption=caption, language=language, brought=tuple(brought))


def _first_captions(staging: DataLayout) -> dict[str, str]:
    """Entity id -> the alphabetically first caption among its pictures that is not empty."""
    first: dict[str, str] = {}
    for path in pairs.shards(staging.pairs):
        with pairs.reading(path):
            table = pq.read_table(path, columns=["entity_id", "caption"])
        said = table.filter(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(table["caption"])), 0))
        for row in said.group_by("entity_id").aggregate([("caption", "min")]).to_pylist():
            entity, caption = row["entity_id"], row["caption_min"]
            first[entity] = min(first.get(entity, caption), caption)
    return first


def _brought(staging: DataLayout) -> dict[str, dict[str, dict[str, None]]]:
    """Entity id -> language -> the distinct texts that the source brought along (keys, in its order)."""
    texts: dict[str, dict[str, dict[str, None]]] = defaultdict(dict)
    for row in pairs.iter_rows(staging.brought):
        texts[row["entity_id"]].setdefault(row["language"] or "en", {})[row["text"]] = None
    return texts
