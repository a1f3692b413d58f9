"""Hits and misses for the report: query picture, predicted entity and true entity, each with a picture."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from entityclip.data.pairs import digest, read_frame, reading, shards
from entityclip.errors import DataError
from entityclip.paths import DataLayout
from entityclip.schemas import SLICES, IndexKind, Record, Split


class Candidate(Record):
    """An entity as the result of a query picture."""

    entity: str
    score: float = Field(description="Cosine similarity with the query picture.")
    explanation: str | None = None
    picture: bytes | None = Field(default=None, description="One of its training pictures; None: never photographed.")


class RetrievalExample(Record):
    """A query picture with the predicted and the true entity."""

    picture: bytes
    predicted: Candidate
    true: Candidate
    rank: int = Field(ge=1, description="Rank of the true entity; 1 is a hit.")
    slice: str = Field(description="One of SLICES, by the true entity's training pictures.")


def draw_examples(
    queries: pd.DataFrame, data: DataLayout, *, split: Split, index: IndexKind = "mixed", hits: int = 6, misses: int = 8
) -> list[RetrievalExample]:
    """Misses, then hits, spread over the slices; sampled by hash, so that the choice is neutral and repeatable.

    Args:
        queries: One row per query, as ``evaluate`` returns them: ``pair_id, entity_id, slice, index, rank, best,
            score, true_score``.
        data: The data version that was evaluated.
        split: The split that was evaluated.
        index: The index whose results are shown.
        hits: How many at most.
        misses: How many at most.

    Raises:
        DataError: A query's picture is not in ``data``.
    """
    found = queries[queries["index"] == index]
    missed = found["rank"] > 1
    drawn = pd.concat([_spread(found[missed], misses), _spread(found[~missed], hits)])
    shown = _Shown.read(data, {*drawn["entity_id"], *drawn["best"]})
    pictures = read_pictures(data, set(drawn["pair_id"]), name=split)
    return [
        RetrievalExample(
            picture=pictures[row["pair_id"]],
            predicted=shown.candidate(row["best"], score=row["score"]),
            true=shown.candidate(row["entity_id"], score=row["true_score"]),
            rank=row["rank"],
            slice=row["slice"],
        )
        for row in drawn.to_dict("records")
    ]


@dataclass(frozen=True)
class _Shown:
    """The shown facts about entities, by entity_id."""

    names: dict[str, str]
    explanations: dict[str, str]
    portraits: dict[str, bytes]

    @classmethod
    def read(cls, data: DataLayout, entity_ids: set[str]) -> _Shown:
        entities = read_frame(data.entities, columns=["entity_id", "entity"])
        texts = read_frame(data.explanations, columns=["entity_id", "text"]).drop_duplicates("entity_id")
        return cls(
            names=dict(zip(entities["entity_id"], entities["entity"], strict=True)),
            explanations=dict(zip(texts["entity_id"], texts["text"], strict=True)),
            portraits=_portraits(data, entity_ids),
        )

    def candidate(self, entity_id: str, *, score: float) -> Candidate:
        return Candidate(
            entity=self.names.get(entity_id, entity_id),
            score=score,
            explanation=self.explanations.get(entity_id),
            picture=self.portraits.get(entity_id),
        )


def _spread(queries: pd.DataFrame, count: int) -> pd.DataFrame:
    """``count`` rows, one slice after the other in turn, in each slice in the order of a hash."""
    order = queries.assign(draw=[digest("example", pair_id) for pair_id in queries["pair_id"]]).sort_values("draw")
    order["turn"] = order.groupby("slice").cumcount()
    order["place"] = order["slice"].map(SLICES.index)
    return order.sort_values(["turn", "place"]).head(count)


def _portraits(data: DataLayout, entity_ids: set[str]) -> dict[str, bytes]:
    """entity_id -> one training picture, always the same one."""
    pairs = read_frame(data.pairs, name="train", columns=["pair_id", "entity_id"])
    chosen = pairs[pairs["entity_id"].isin(entity_ids)].sort_values("pair_id").drop_duplicates("entity_id")
    pictures = read_pictures(data, set(chosen["pair_id"]), name="train")
    return {entity_id: pictures[pair_id] for pair_id, entity_id in chosen.itertuples(index=False)}


def read_pictures(data: DataLayout, pair_ids: set[str], *, name: str = "*") -> dict[str, bytes]:
    """pair_id -> picture bytes; other pictures are not kept in memory. ``name`` is the split, by default any.

    Raises:
        DataError: A picture is missing.
    """
    wanted = pc.field("pair_id").isin(pa.array(sorted(pair_ids), pa.string()))
    found: dict[str, bytes] = {}
    for path in shards(data.pairs, name=name):
        with reading(path):
            table = pq.read_table(path, columns=["pair_id", "image"], filters=wanted)
        found |= {row["pair_id"]: row["image"]["bytes"] for row in table.to_pylist()}
    if missing := sorted(pair_ids - found.keys()):
        what = "picture" if name == "*" else f"{name} picture"
        raise DataError(f"{data.pairs}: no {what} {', '.join(missing[:3])}; evaluate again on the data version at hand")
    return found
