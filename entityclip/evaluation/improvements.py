"""What would raise recall: where one more picture helps most, and which explanations to rewrite first.

Both come from pictures that the model was not trained on. Nothing is trained for them, so that they say what the index
gains at once, as when a picture is added to a service.

*One more picture.* Another picture of the product that was not trained on joins its training pictures, and the query is
ranked again; this is repeated with up to ``TRIED`` other pictures. The other products with about as many training
pictures get one more as well, as far as they have one: a product that gets it alone would also win by having one more.
Where too few products have another picture, the worth of the next one is estimated from that of the last: one training
picture after the other is left out, and one of each such product with it. The mean of
n pictures differs from that of very many by a variance of s²/n, so that to the first order the picture n + 1 is worth
(n - 1) / (n + 1) of the picture n. Where the pictures of a product differ much it is worth more.

*Explanations.* The share of a product's pictures that its explanation finds is compared with that of its siblings: the
other products of its category with about as many training pictures. A share of few pictures proves little, so that it
is drawn towards the siblings' as if ``PRIOR`` more pictures had reached theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from entityclip.retrieval import metrics
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.index.mixture import KINDS, offsets_of, weights_of
from entityclip.retrieval.vectors import unit
from entityclip.schemas import ExplanationToRewrite, Improvements, OneMorePicture, ProductToPhotograph

COUNTS: tuple[tuple[int, int | None], ...] = ((0, 0), (1, 1), (2, 2), (3, 9), (10, None))
"""Fewest and most training pictures of the products in each row."""

FEWEST = 5
"""Products that a row's figures come from, at least."""

TRIED = 4
"""Pictures that are added, or left out, for one query at most."""

HELPED = 10.0
"""Points of its own recall from which on one more picture helps a product."""

PRIOR = 2
"""Pictures that the siblings' recall counts for in that of a product's explanation."""

BEHIND = 0.25
"""Least share by which an explanation falls behind: a single miss among five pictures is chance."""

SIBLINGS = 3
"""Siblings in the category, at least; with fewer, the products of all categories take their place."""

LISTED = 10
"""Products in each list."""


@dataclass(frozen=True, eq=False)
class Recognition:
    """How one more picture changes what some queries find."""

    query: np.ndarray
    """(N,) row of the query."""
    entity: np.ndarray
    """(N,) row of its entity."""
    now: np.ndarray
    """(N,) 1.0 where the entity comes first, else 0."""
    after: np.ndarray
    """(N,) how often it would come first with one more picture, 0 to 1; an estimate may lie outside."""


def find_improvements(
    entities: EntityIndex, known: PictureIndex, pictures: PictureIndex, others: PictureIndex, *, seed: int
) -> Improvements:
    """Where one more picture helps most, and which explanations to rewrite first.

    Args:
        entities: The index, with ``known`` standing for their entities.
        known: The training pictures.
        pictures: The queries of the evaluation.
        others: More pictures that were not trained on, perhaps none.
        seed: Of the intervals' bootstrap.
    """
    measured = added(entities, known, pictures, others)
    estimated = left_out(entities, known, pictures)
    rewrite, judged = explanations_behind(entities, [pictures, others])
    return Improvements(
        one_more_picture=tuple(_row(entities, counts, measured, estimated, seed=seed) for counts in COUNTS),
        photograph=tuple(_to_photograph(entities, measured)),
        rewrite=tuple(rewrite[:LISTED]),
        behind=len(rewrite),
        judged=judged,
    )


# ---------------------------------------------------------------- one more picture
def added(entities: EntityIndex, known: PictureIndex, pictures: PictureIndex, others: PictureIndex) -> Recognition:
    """The queries of entities that have another picture beside, with one such picture added."""
    truth = entities.rows_of(pictures.rows["entity_id"])
    pool = np.concatenate([pictures.vectors, others.vectors])
    owner = np.concatenate([truth, entities.rows_of(others.rows["entity_id"])])
    of_entity = _grouped(owner)
    query, picture = [], []
    for row, entity in enumerate(truth):
        beside = of_entity[entity]
        at = beside.index(row)
        chosen = [beside[(at + step) % len(beside)] for step in range(1, min(TRIED + 1, len(beside)))]
        query += [row] * len(chosen)
        picture += chosen
    sums, rival = _sums(entities, known), np.array(list(of_entity), np.int64)
    theirs = sums[rival] + pool[[beside[0] for beside in of_entity.values()]]
    changes = _Changes(np.array(query, np.int64), sums[truth[query]] + pool[picture], rival, theirs, more=1)
    return _changed(entities, pictures, truth, changes)


def left_out(entities: EntityIndex, known: PictureIndex, pictures: PictureIndex) -> Recognition:
    """The queries of entities with two training pictures and more: what the next one is worth by the last."""
    truth = entities.rows_of(pictures.rows["entity_id"])
    of_entity = _grouped(entities.rows_of(known.rows["entity_id"]))
    query, picture = [], []
    for row, entity in enumerate(truth):
        if len(theirs := of_entity.get(entity, [])) > 1:
            chosen = theirs[:TRIED]
            query += [row] * len(chosen)
            picture += chosen
    sums, several = _sums(entities, known), {entity: its[0] for entity, its in of_entity.items() if len(its) > 1}
    rival = np.array(list(several), np.int64)
    fewer = sums[rival] - known.vectors[list(several.values())]
    changes = _Changes(np.array(query, np.int64), sums[truth[query]] - known.vectors[picture], rival, fewer, more=-1)
    without = _changed(entities, pictures, truth, changes)
    count = entities.rows["pictures"].to_numpy()[without.entity]
    worth = (count - 1) / (count + 1) * (without.now - without.after)
    return Recognition(without.query, without.entity, without.now, without.now + worth)


@dataclass(frozen=True, eq=False)
class _Changes:
    """One picture more, or one less, of the queries' entities and of their rivals."""

    query: np.ndarray
    """(N,) row of the query, once for each picture that is tried."""
    sums: np.ndarray
    """(N, D) sum of the pictures that its entity then has."""
    rival: np.ndarray
    """(R,) row of each entity that can change as a rival."""
    rival_sums: np.ndarray
    """(R, D) sum of the pictures that it then has."""
    more: int


def _changed(entities: EntityIndex, pictures: PictureIndex, truth: np.ndarray, changes: _Changes) -> Recognition:
    """Each query with its entity changed, and the other entities of the same row of the report changed too."""
    query, entity = changes.query, truth[changes.query]
    rows = np.unique(query)
    present, score = _scores(entities, pictures, truth, rows)
    rival = np.empty_like(present)
    for counts in COUNTS:
        members = _members(entities, counts)
        if (inside := members[truth[rows]]).any():
            rivals = _with_changed(entities, members, changes)
            rival[inside] = _scores(rivals, pictures, truth, rows[inside])[0]
    place = np.searchsorted(rows, query)
    theirs = entities.rows.iloc[entity]
    changed = theirs.assign(pictures=theirs["pictures"] + changes.more)
    weights, offset = weights_of(changed, entities.mixture), offsets_of(changed, entities.mixture)
    seen = pictures.vectors[query]
    images = np.einsum("nd,nd->n", seen, unit(changes.sums))
    texts = [np.einsum("nd,nd->n", seen, entities.vectors[kind][entity]) for kind in KINDS[:2]]
    then = (weights * np.stack([*texts, images], axis=1)).sum(axis=1) + offset
    first = rival[place] < then - metrics.TIE
    after = np.bincount(place, first, minlength=len(rows)) / np.bincount(place, minlength=len(rows))
    return Recognition(rows, truth[rows], (present < score - metrics.TIE).astype(float), after)


def _with_changed(entities: EntityIndex, members: np.ndarray, changes: _Changes) -> EntityIndex:
    """The index in which those of ``members`` (M,) that can change have changed."""
    among = members[changes.rival]
    chosen, images = changes.rival[among], entities.vectors["images"].copy()
    images[chosen] = unit(changes.rival_sums[among])
    count = entities.rows["pictures"].to_numpy(copy=True)
    count[chosen] += changes.more
    vectors = entities.vectors | {"images": images}
    return replace(entities, rows=entities.rows.assign(pictures=count), vectors=vectors).remixed(entities.mixture)


def _scores(
    entities: EntityIndex, pictures: PictureIndex, truth: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) highest similarity with another entity, (N,) similarity with the right one, in the mixed index."""
    rival, score = np.empty(len(rows), np.float32), np.empty(len(rows), np.float32)
    step = max(1, metrics.BLOCK // len(entities.rows))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        found, number = entities.similarities(pictures.vectors[block], "mixed"), np.arange(len(block))
        score[start : start + step] = found[number, truth[block]]
        found[number, truth[block]] = -np.inf
        rival[start : start + step] = found.max(axis=1)
    return rival, score


def _sums(entities: EntityIndex, known: PictureIndex) -> np.ndarray:
    """(M, D) sum of each entity's pictures."""
    sums = np.zeros((len(entities.rows), entities.dim), np.float32)
    np.add.at(sums, entities.rows_of(known.rows["entity_id"]), known.vectors)
    return sums


def _grouped(owner: np.ndarray) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for row, entity in enumerate(owner.tolist()):
        groups[entity].append(row)
    return groups


def _row(
    entities: EntityIndex, counts: tuple[int, int | None], measured: Recognition, estimated: Recognition, *, seed: int
) -> OneMorePicture:
    """The row of the entities with so many training pictures."""
    (fewest, most), members = counts, _members(entities, counts)
    row = OneMorePicture(fewest=fewest, most=most, products=int(members.sum()))
    for method, gain in (("measured", measured), ("estimated", estimated)):
        inside = members[gain.entity]
        entity, now = gain.entity[inside], gain.now[inside]
        if (judged := len(np.unique(entity))) < FEWEST:
            continue
        change = 100 * (gain.after[inside] - now)
        (figure,) = metrics.mean_figures({"gain": change}, entity, seed=seed)
        helped = (pd.Series(change).groupby(entity).mean() >= HELPED - 1e-9).mean()
        found = {"r1": 100 * now.mean(), "gain": figure.value, "low": figure.low, "high": figure.high}
        return row.model_copy(
            update={"method": method, "judged": judged, "helped": round(float(helped) * row.products)}
            | {name: round(float(value), 2) for name, value in found.items()}
        )
    return row


def _members(entities: EntityIndex, counts: tuple[int, int | None]) -> np.ndarray:
    """(M,) bool: the entities with so many training pictures."""
    (fewest, most), pictures = counts, entities.rows["train_pictures"].to_numpy()
    return (pictures >= fewest) & (pictures <= (np.inf if most is None else most))


def _to_photograph(entities: EntityIndex, measured: Recognition) -> list[ProductToPhotograph]:
    """The products that gain most, as far as they gain anything."""
    frame = pd.DataFrame({"row": measured.entity, "now": measured.now, "after": measured.after})
    found = frame.groupby("row").agg(now=("now", "mean"), after=("after", "mean"), pictures=("now", "size"))
    found["worth"] = (found["after"] - found["now"]) * found["pictures"]  # recognised pictures
    found = found[found["after"] - found["now"] >= HELPED / 100 - 1e-9]
    found = found.sort_values("worth", ascending=False, kind="stable").head(LISTED)
    about = entities.rows.iloc[found.index]
    return [
        ProductToPhotograph(
            entity_id=entity_id,
            entity=entity,
            train_pictures=int(trained),
            pictures=int(pictures),
            r1=round(100 * now, 2),
            with_one_more=round(100 * after, 2),
        )
        for entity_id, entity, trained, pictures, now, after in zip(
            about["entity_id"],
            about["entity"],
            about["train_pictures"],
            found["pictures"],
            found["now"],
            found["after"],
            strict=True,
        )
    ]


# ---------------------------------------------------------------- explanations
def explanations_behind(entities: EntityIndex, judges: list[PictureIndex]) -> tuple[list[ExplanationToRewrite], int]:
    """The explanations that fall behind their siblings', most first, and how many could be judged."""
    vectors = np.concatenate([pictures.vectors for pictures in judges])
    truth = np.concatenate([entities.rows_of(pictures.rows["entity_id"]) for pictures in judges])
    ranked = metrics.ranks(vectors, entities.vectors["explanation"], truth)
    answers = pd.DataFrame({"row": truth, "found": ranked.rank == 1, "best": ranked.best})
    products = answers.groupby("row")["found"].agg(["sum", "size"])
    products = products.join(entities.rows[["category", "slice", "has_explanation"]])
    products = products[products["has_explanation"].astype(bool)]
    products["recall"] = products["sum"] / products["size"]
    products["siblings"] = _of_siblings(products)
    weight = products["size"] / (products["size"] + PRIOR)
    products["behind"] = weight * (products["siblings"] - products["recall"])
    wrong = answers[~answers["found"] & (answers["best"] != answers["row"])].groupby("row")["best"]
    mistaken = wrong.agg(lambda best: best.value_counts(sort=True).index[0])
    poor = products[products["behind"] >= BEHIND].sort_values("behind", ascending=False, kind="stable")
    return [_to_rewrite(entities, row, mistaken) for row in poor.reset_index().to_dict("records")], len(products)


def _of_siblings(products: pd.DataFrame) -> pd.Series:
    """Mean recall of each product's siblings, itself left out; nan without any."""

    def rest(columns: list[str]) -> tuple[pd.Series, pd.Series]:
        groups = products.groupby(columns)["recall"]
        count = groups.transform("size") - 1
        return count, (groups.transform("sum") - products["recall"]) / count.where(count > 0)

    count, near = rest(["slice", "category"])
    return near.where(count >= SIBLINGS, rest(["slice"])[1])


def _to_rewrite(entities: EntityIndex, row: dict[Hashable, Any], mistaken: pd.Series) -> ExplanationToRewrite:
    number = int(row["row"])
    about = entities.rows.iloc[number]
    instead = mistaken.get(number)
    return ExplanationToRewrite(
        entity_id=about["entity_id"],
        entity=about["entity"],
        pictures=int(row["size"]),
        found=int(row["sum"]),
        siblings=round(100 * row["siblings"], 1),
        mistaken_for="" if instead is None else str(entities.rows["entity"].iloc[int(instead)]),
    )
