"""From similarities and words to hits: an exact code wins, then near ones, then names with the words, then likeness.

Where an explanation, a caption or the text on a picture holds every word of the query, words and likeness are fused by
their ranks (reciprocal rank fusion, Cormack et al. 2009): their scores cannot be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from entityclip.retrieval.index import spelling
from entityclip.retrieval.index.catalog import TextMatches
from entityclip.retrieval.index.picture_query import PictureQuery
from entityclip.retrieval.index.query import QueryVectors
from entityclip.retrieval.index.snapshot import Snapshot
from entityclip.retrieval.vectors import best
from entityclip.schemas import Evidence, Filter, Hit, IndexKind

FUSION = 60
"""Of reciprocal rank fusion; the paper's value."""


POOL = 200
"""Hits by likeness that are fused with those by words, at least."""

MOST_SHOWN = 20_000
"""Pictures that are compared because of what holds a word, of each kind."""


@dataclass(frozen=True, eq=False)
class Question:
    """One query of a snapshot."""

    query: QueryVectors
    text: str
    """As it was typed; '' for a query by picture alone."""
    words: TextMatches
    """What the text finds without a vector."""
    kind: IndexKind
    k: int
    where: Filter | None = None


def entity_hits(snapshot: Snapshot, question: Question) -> list[Hit]:
    """The ``k`` best entities, best first."""
    similarities = snapshot.similarities(question.query, question.kind, question.where)
    words = question.words
    printed = _printed(snapshot, words)
    in_text = [*words.explained, *printed]
    pool = {
        *best(similarities, k=max(POOL, question.k)).tolist(),
        *words.exact,
        *words.near,
        *words.named,
        *in_text,
    }
    numbers = np.sort(np.fromiter(pool, np.int64, len(pool)))
    numbers = numbers[np.isfinite(similarities[numbers])]
    order = _order(similarities[numbers], _tiers(numbers, words), np.isin(numbers, in_text))
    numbers = numbers[order][: question.k]
    rows, scores = snapshot.entity_rows(numbers), similarities[numbers].tolist()
    why = _likeness(snapshot, numbers, question)
    return [
        Hit(
            **_entity(row, number, words),
            score=score,
            why=(*_by_words(row, number, question), *printed.get(number, ()), *like),
        )
        for number, score, row, like in zip(numbers.tolist(), scores, rows, why, strict=True)
    ]


def reranked_hits(
    snapshot: Snapshot, entities: np.ndarray, similarities: np.ndarray, match: Mapping[int, float]
) -> list[Hit]:
    """These entities as hits, in this order, with what the matching head says of them."""
    return [
        Hit(
            entity_id=row["entity_id"],
            entity=row["entity"],
            score=similarities[number],
            match=match.get(number),
            exact=False,
        )
        for number, row in zip(entities.tolist(), snapshot.entity_rows(entities), strict=True)
    ]


def _printed(snapshot: Snapshot, words: TextMatches) -> dict[int, tuple[Evidence, ...]]:
    """Entities with the words on one of their pictures -> the first such picture."""
    found: dict[int, tuple[Evidence, ...]] = {}
    for pair_id, piece in words.printed.items():
        for number in snapshot.released.pictures_named([pair_id]).tolist():
            if not snapshot.gone_pictures[number]:
                found.setdefault(int(snapshot.owner[number]), (_on_label(pair_id, piece),))
    return found


def _on_label(pair_id: str, piece: str) -> Evidence:
    return Evidence(by="label", text=piece, pair_id=pair_id)


def picture_hits(snapshot: Snapshot, question: Question) -> list[Hit]:
    """The ``k`` best pictures, best first; what holds for an entity's name holds for its pictures."""
    words, k = question.words, question.k
    pictures = PictureQuery(snapshot, question.query.vector, question.where)
    passes = snapshot.passing(question.where).entities
    captioned = snapshot.released.pictures_named(words.captioned)
    kinds = (
        [entity for entity in found if passes[entity]]
        for found in (words.exact, words.near, words.named, words.explained)
    )
    by_words = [snapshot.pictures_of(found) for found in kinds]
    parts = [pictures.nearest(k=max(POOL, k))]
    # Pictures of one kind beyond this limit differ only in similarity, which the first part has ranked already.
    parts += [pictures.among(found, k=k, most=MOST_SHOWN) for found in (*by_words, captioned) if len(found)]
    numbers, first = np.unique(np.concatenate([numbers for numbers, _ in parts]), return_index=True)
    scores = np.concatenate([scores for _, scores in parts])[first]
    owners = snapshot.owner[numbers]
    in_text = np.isin(owners, list(words.explained)) | np.isin(numbers, captioned)
    order = _order(scores, _tiers(owners, words), in_text)[:k]
    numbers, scores, owners = numbers[order], scores[order], owners[order]
    entities, shown = snapshot.entity_rows(owners), snapshot.picture_rows(numbers)
    hits = []
    for score, owner, entity, picture in zip(scores.tolist(), owners.tolist(), entities, shown, strict=True):
        on_label = words.printed.get(picture["pair_id"])
        why = (
            *_by_words(entity, owner, question, caption=picture["caption"]),
            *(() if on_label is None else (_on_label(picture["pair_id"], on_label),)),
            Evidence(by="picture", score=score),
        )
        hits.append(Hit(**_entity(entity, owner, words), **picture, score=score, why=why))
    return hits


# ---------------------------------------------------------------- order
def _tiers(entities: np.ndarray, words: TextMatches) -> np.ndarray:
    """(N,) 3 for an exact name or code, 2 for a near one, 1 for a name that holds the words, else 0."""
    tiers = np.zeros(len(entities), dtype=np.int8)
    for tier, found in ((1, words.named), (2, words.near), (3, words.exact)):
        tiers[np.isin(entities, list(found))] = tier
    return tiers


def _order(scores: np.ndarray, tiers: np.ndarray, in_text: np.ndarray) -> np.ndarray:
    """(N,) places, best first: by tier; in the last one by fused ranks, in the others by likeness."""
    fused = 1 / (FUSION + _ranks(scores))
    fused[in_text] += 1 / (FUSION + _ranks(scores[in_text]))
    return np.lexsort((-scores, np.where(tiers == 0, -fused, 0), -tiers))


def _ranks(scores: np.ndarray) -> np.ndarray:
    """(N,) 1 for the highest; of equal ones the first comes first."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return ranks


# ---------------------------------------------------------------- what a hit says
def _entity(row: dict[str, Any], number: int, words: TextMatches) -> dict[str, Any]:
    exact, near = number in words.exact, number in words.near
    return {"entity_id": row["entity_id"], "entity": row["entity"], "exact": exact, "near": near}


def _by_words(row: dict[str, Any], number: int, question: Question, *, caption: str | None = None) -> list[Evidence]:
    """What of the entity, or of its picture, holds the text's words."""
    words = question.words
    if (spelt := words.exact.get(number)) is not None:
        return [Evidence(by="code" if any(map(str.isdigit, spelt)) else "name", text=spelt)]
    if (spelt := words.near.get(number)) is not None:
        return [Evidence(by="near code", text=spelt)]
    wanted = spelling.query_words(question.text)
    if number in words.named:
        names = (row["entity"], *row["aliases"])
        return [Evidence(by="name", text=next((n for n in names if spelling.piece(n, wanted)), " / ".join(names)))]
    found = [Evidence(by="caption", text=piece)] if caption and (piece := spelling.piece(caption, wanted)) else []
    if number in words.explained and (piece := spelling.piece(row["explanation"], wanted)):
        found.append(Evidence(by="explanation", text=piece))
    return found


def _likeness(snapshot: Snapshot, entities: np.ndarray, question: Question) -> list[tuple[Evidence, ...]]:
    """For each entity what of it the query is most similar to: one of its texts, its nearest photograph, or both."""
    texts: list[tuple[Evidence, ...]] = [(like,) for like in _most_similar_text(snapshot, entities, question)]
    if question.query.picture is None or question.kind in ("caption", "explanation"):
        return texts
    photographs = nearest_photographs(snapshot, [entities], [question.query.picture])[0]
    return [(shown, *text) if shown else text for shown, text in zip(photographs, texts, strict=True)]


def _most_similar_text(snapshot: Snapshot, entities: np.ndarray, question: Question) -> list[Evidence]:
    if not len(entities):
        return []
    captions = snapshot.vectors(entities, "caption") @ question.query.vector
    explanations = snapshot.vectors(entities, "explanation") @ question.query.vector
    return [
        Evidence(by="explanation", score=e) if question.kind != "caption" and e > c else Evidence(by="caption", score=c)
        for c, e in zip(captions.tolist(), explanations.tolist(), strict=True)
    ]


def nearest_photographs(
    snapshot: Snapshot, entities: Sequence[np.ndarray], pictures: Sequence[np.ndarray]
) -> list[list[Evidence | None]]:
    """For each of Q pictures (D,), the nearest photograph of each of its entities (k,); None for one without any."""
    nearest = [_nearest(snapshot, some, picture) for some, picture in zip(entities, pictures, strict=True)]
    numbers = np.array([number for found in nearest for number, _ in found.values()], np.int64)
    shown = iter(snapshot.picture_rows(numbers))
    evidence = [{owner: _photograph(next(shown), score) for owner, (_, score) in found.items()} for found in nearest]
    return [[found.get(entity) for entity in some.tolist()] for some, found in zip(entities, evidence, strict=True)]


def _photograph(row: Mapping[str, Any], score: float) -> Evidence:
    return Evidence(by="photograph", score=score, pair_id=row["pair_id"], path=row["path"])


def _nearest(snapshot: Snapshot, entities: np.ndarray, picture: np.ndarray) -> dict[int, tuple[int, float]]:
    """Entity -> number and similarity of its photograph that is nearest."""
    numbers = snapshot.pictures_of(entities.tolist())
    scores = snapshot.picture_vectors(numbers) @ picture
    order = np.argsort(scores, kind="stable")  # ascending: the last one of an owner stays
    found = zip(numbers[order].tolist(), scores[order].tolist(), strict=True)
    return dict(zip(snapshot.owner[numbers[order]].tolist(), found, strict=True))
