"""Evaluation of one model on one frozen set: every entity is a candidate, photographed in training or not.

The pictures that stand for entities are those of the training split, and no others. Pictures ask for their entity in
each of the indexes; entities ask for their pictures; where captions
are distinct, pictures and captions ask for each other. Every figure has an interval and is given for all queries
and by slice. Each picture is also tagged without its own entity, as one of something unknown.

Published news sets are measured as their papers do: the candidates are those of the split, every picture has a
caption and an explanation of its own, and retrieval is measured in both directions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd

from entityclip.data import pairs
from entityclip.data.pairs import digest
from entityclip.data.sources import NEWS
from entityclip.errors import DataError
from entityclip.evaluation.cross_fit import CALIBRATES, CalibratedPart, cross_fitted
from entityclip.evaluation.improvements import find_improvements
from entityclip.evaluation.open_set_calibration import TaggedPictures
from entityclip.evaluation.open_set_metrics import MarkedPictures, open_set_metrics
from entityclip.evaluation.seen_queries import recall_without, seen_queries
from entityclip.evaluation.slices import SLICE_MINIMUM, slices
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import DataLayout
from entityclip.retrieval import metrics
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.metrics import Figure, Ranked
from entityclip.retrieval.vectors import best
from entityclip.schemas import Candidates, EvalReport, IndexKind, Metric, Probe, Split

DISTINCT = 0.9
"""Least share of distinct captions for which picture-caption retrieval is measured. A catalogue repeats the entity's
name as caption, so a caption does not name one picture."""

OTHERS = 5000
"""Validation pictures that say what would raise recall, at most."""

TAGGED = 5000
"""Pictures that are tagged with and without their own entity, at most."""

SEED = 0
"""Of the bootstrap."""

PROBES = 5
"""Pictures whose scores go into the report."""


def evaluate(
    model: LoadedModel,
    data: DataLayout,
    *,
    split: Split = "test",
    candidates: Candidates | None = None,
    improvements: bool = False,
    cross_fit: bool = True,
    progress: bool = True,
) -> tuple[EvalReport, pd.DataFrame]:
    """Measure ``model`` on one split of ``data``.

    Args:
        model: What is measured.
        data: The data version.
        split: Whose pictures are the queries.
        candidates: Among which entities a picture is to find its own; by default what ``usual_candidates`` says.
        improvements: Report too what would raise recall; for a test split, validation pictures say it as well.
        cross_fit: Judge validation pictures, which calibrate, by a mixture and thresholds that they had no part in
            (``cross_fit.py``); mAP and P@10 stay those of the card's own mixture. False: the card was calibrated on
            other pictures, and counts.
        progress: Show bars.

    Returns:
        The report, and one row per query of a picture or caption: ``pair_id, entity_id, slice, category, language,
        index, direction, rank, best, score, true_score``, where ``best`` is the entity_id (for the index 'pairs'
        the pair_id) that came first, with its similarity ``score``. Explanations that ask have no rows. In the mixed
        index up to ``TAGGED`` pictures have what their first tag is accepted by, ``confidence`` and ``open_set`` (nan
        where the card has no rule), and the same with their own entity left out: ``unknown_confidence`` and
        ``unknown_open_set``.

    Raises:
        DataError: The split holds no picture, or a picture shows an entity that is not in the table.
    """
    started = time.monotonic()
    candidates = candidates or usual_candidates(data, split=split)
    pictures = PictureIndex.build(model, data, split=split, progress=progress)
    if pictures.rows.empty:
        raise DataError(f"{data.pairs}: split {split!r} holds no picture, so there is nothing to evaluate on")
    shown = set(pictures.rows["entity_id"])
    among = shown if candidates == "split" else None
    own = candidates == "split" and len(shown) == len(pictures.rows)  # every picture has an entity to itself
    known = None if own else PictureIndex.build(model, data, split="train", progress=progress)
    entities = EntityIndex.build(model, data, pictures=known, among=among, progress=progress)
    truth = entities.rows_of(pictures.rows["entity_id"])
    parts = [CalibratedPart(model.card, entities, np.arange(len(pictures.rows)))]
    if cross_fit and split == CALIBRATES and model.card.mixture and not own:
        parts = list(cross_fitted(model.card, entities, pictures, scale=model.scale))
    answers = pd.concat(_answers(model, parts, pictures, truth, own=own), ignore_index=True)
    figures = [*_rank_metrics(answers, entities=len(entities.rows), pictures=len(pictures.rows), seed=SEED)]
    if not own:
        figures += _retrieval_metrics(entities, pictures, truth, seed=SEED)
    advice = None
    if improvements and known is not None:
        others = _others(model, data, entities, split=split, progress=progress)
        advice = find_improvements(entities, known, pictures, others, seed=SEED)
    seen = seen_queries(data, pictures.rows["pair_id"])
    open_set: tuple[Metric, ...] = ()
    if not own and len(entities.rows) > 1:
        open_set, accepted = _open_set(parts, pictures, truth, scale=model.scale, seed=SEED)
        answers = answers.merge(accepted, "left")
    report = EvalReport(
        model_fingerprint=model.card.fingerprint,
        evaluation_hash=evaluation_hash(entities, pictures, split=split),
        split=split,
        pictures=len(pictures.rows),
        entities=len(entities.rows),
        candidates=candidates,
        metrics=tuple(figures),
        open_set=open_set,
        near_duplicates=None if seen is None else int(seen.sum()),
        without_near_duplicates=recall_without(
            answers, pictures.rows["pair_id"], seen, entities=len(entities.rows), seed=SEED
        ),
        probes=probes(entities, pictures, truth),
        improvements=advice,
        seconds=time.monotonic() - started,
    )
    kept = (answers["direction"] == "image_to_text") | (answers["index"] == "pairs")
    return report, answers[kept].reset_index(drop=True)


def _open_set(
    parts: list[CalibratedPart], pictures: PictureIndex, truth: np.ndarray, *, scale: float, seed: int
) -> tuple[tuple[Metric, ...], pd.DataFrame]:
    """Figures of up to ``TAGGED`` pictures, known and with their entity left out; and what accepts their tags."""
    ids = pictures.rows["pair_id"].to_numpy()
    chosen = np.sort(np.argsort(ids, kind="stable")[:TAGGED])
    marked, accepted = [], []
    for part in parts:
        if not len(rows := np.intersect1d(part.rows, chosen)):
            continue
        tagged = TaggedPictures.of(part.entities, pictures.vectors[rows], truth[rows], scale=scale)
        marked.append(MarkedPictures.of(tagged, part.card))
        accepted.append(_accepted_by(part.card, marked[-1], ids[rows]))
    figures = open_set_metrics(MarkedPictures.joined(marked), fewest=SLICE_MINIMUM, seed=seed)
    return tuple(figures), pd.concat(accepted, ignore_index=True)


def _others(
    model: LoadedModel, data: DataLayout, entities: EntityIndex, *, split: Split, progress: bool
) -> PictureIndex:
    """Validation pictures of ``entities`` beside a test split; none beside the validation split itself."""
    found = PictureIndex.build(model, data, split="val", most=OTHERS if split == "test" else 0, progress=progress)
    known = entities.by_id.get_indexer(pd.Index(found.rows["entity_id"])) >= 0
    return replace(found, rows=found.rows[known], vectors=found.vectors[known])


def usual_candidates(data: DataLayout, *, split: Split) -> Candidates:
    """``split`` for the published news sets, whose figures are about the split's own pictures and texts; else ``all``.

    A catalogue is searched among all of its entities: a user does not know which were photographed when.
    """
    sources = set(pairs.read_frame(data.pairs, name=split, columns=["source"])["source"])
    return "split" if sources <= set(NEWS) else "all"


# ---------------------------------------------------------------- queries
def _queries(entities: EntityIndex, pictures: PictureIndex, truth: np.ndarray) -> pd.DataFrame:
    """pair_id, entity_id, slice, category, language of each picture."""
    of_entity = entities.rows[["slice", "category"]].iloc[truth].reset_index(drop=True)
    queries = pd.concat([pictures.rows[["pair_id", "entity_id", "language"]], of_entity], axis=1)
    return queries[["pair_id", "entity_id", "slice", "category", "language"]]


def _answers(
    model: LoadedModel, parts: list[CalibratedPart], pictures: PictureIndex, truth: np.ndarray, *, own: bool
) -> Iterator[pd.DataFrame]:
    """A row per query. Texts ask too where every picture has its ``own`` entity, captions also where distinct."""
    entities = parts[0].entities
    queries, names = _queries(entities, pictures, truth), entities.rows["entity"].to_numpy()
    entity_ids, pair_ids = entities.rows["entity_id"].to_numpy(), pictures.rows["pair_id"].to_numpy()
    for kind in kinds(entities):
        vectors = entities.vectors[kind]
        if own:
            to_text, to_image = metrics.both_ways(pictures.vectors, vectors[truth])
            yield queries.assign(index=kind, direction="image_to_text", **_outcome(to_text, entity_ids[truth]))
            yield queries.assign(index=kind, direction="text_to_image", **_outcome(to_image, pair_ids))
        else:
            for _, mixed, rows in parts:
                shown, offset = pictures.vectors[rows], mixed.offsets[kind]
                ranked = metrics.ranks(shown, mixed.vectors[kind], truth[rows], offset=offset)
                outcome = _outcome(ranked, entity_ids)
                yield queries.iloc[rows].assign(index=kind, direction="image_to_text", **outcome)
    captions = pictures.rows["caption"]
    if own or captions.nunique() >= DISTINCT * len(captions):
        same = bool((captions == names[truth]).all())  # then they are embedded already
        texts = entities.vectors["caption"][truth] if same else model.embed_texts(list(captions))
        to_text, to_image = metrics.both_ways(pictures.vectors, texts)
        yield queries.assign(index="pairs", direction="image_to_text", **_outcome(to_text, pair_ids))
        yield queries.assign(index="pairs", direction="text_to_image", **_outcome(to_image, pair_ids))


def picture_queries(entities: EntityIndex, pictures: PictureIndex, *, kind: IndexKind) -> pd.DataFrame:
    """A row per picture, whose entity is looked up in one of the indexes, with the columns of ``evaluate``."""
    truth, ids = entities.rows_of(pictures.rows["entity_id"]), entities.rows["entity_id"].to_numpy()
    ranked = metrics.ranks(pictures.vectors, entities.vectors[kind], truth, offset=entities.offsets[kind])
    queries = _queries(entities, pictures, truth)
    return queries.assign(index=kind, direction="image_to_text", **_outcome(ranked, ids))


def _accepted_by(card: CheckpointCard, marked: MarkedPictures, pair_ids: np.ndarray) -> pd.DataFrame:
    """Confidence and open-set score of the pictures' first tags, with and without their own entities."""
    tagged = marked.tagged
    ranked = np.full(len(tagged.right), np.nan) if card.open_set is None else marked.ranked
    known, unknown = ~tagged.unknown, tagged.unknown
    return pd.DataFrame(
        {
            "index": "mixed",
            "direction": "image_to_text",
            "pair_id": pair_ids,
            "confidence": tagged.confidence[known],
            "open_set": ranked[known],
            "unknown_confidence": tagged.confidence[unknown],
            "unknown_open_set": ranked[unknown],
        }
    )


def kinds(entities: EntityIndex) -> tuple[IndexKind, ...]:
    """The indexes that are measured: without any pictures of entities, not that of images."""
    return tuple(kind for kind in get_args(IndexKind) if kind != "images" or entities.pictured.any())


def _outcome(ranked: Ranked, ids: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "rank": ranked.rank,
        "best": ids[ranked.best],
        "score": ranked.best_score,
        "true_score": ranked.true_score,
    }


# ---------------------------------------------------------------- figures
def _rank_metrics(answers: pd.DataFrame, *, entities: int, pictures: int, seed: int) -> Iterator[Metric]:
    for (index, direction), part in answers.groupby(["index", "direction"], sort=False):
        candidates = pictures if index == "pairs" or direction == "text_to_image" else entities

        def figures(rows: pd.DataFrame, candidates: int = candidates) -> list[Figure]:
            ranks, groups = rows["rank"].to_numpy(), rows["entity_id"].to_numpy()
            return metrics.rank_figures(ranks, groups, candidates=candidates, seed=seed)

        whole = figures(part)
        for name, rows in slices(part):
            for figure in whole if len(rows) == len(part) else figures(rows):
                where = {"index": index, "direction": direction, "slice": name}
                yield Metric.model_validate(where | figure._asdict())


def _retrieval_metrics(
    entities: EntityIndex, pictures: PictureIndex, truth: np.ndarray, *, seed: int
) -> Iterator[Metric]:
    """Entities ask for their pictures, of which they may have several: mAP and P@10."""
    for kind in kinds(entities):
        found = metrics.picture_retrieval(entities.vectors[kind], pictures.vectors, truth)
        found_rows = entities.rows.iloc[found.index].assign(found=found.index)
        for name, rows in slices(found_rows):
            values = {figure: found.loc[rows["found"], figure].to_numpy() for figure in ("mAP", "P@10")}
            for figure in metrics.mean_figures(values, rows["entity_id"].to_numpy(), seed=seed):
                yield Metric(index=kind, direction="text_to_image", slice=name, **figure._asdict())


# ---------------------------------------------------------------- what others compare with
def evaluation_hash(entities: EntityIndex, pictures: PictureIndex, *, split: Split) -> str:
    """Hash of the queries (pictures with their entities) and of the candidates, each with its slice.

    Slices are part of it: once an entity has new training pictures, figures by slice are about other queries,
    and two reports cannot be compared. Names and explanations are not: to improve them is fair.
    """
    queries = sorted(pictures.rows["pair_id"] + " " + pictures.rows["entity_id"])
    candidates = sorted(entities.rows["entity_id"] + " " + entities.rows["slice"])
    return digest("evaluation", split, *queries, "candidates", *candidates)


def probes(entities: EntityIndex, pictures: PictureIndex, truth: np.ndarray) -> tuple[Probe, ...]:
    """A few pictures, spread over the slices, with the scores of their best five entities in the mixed index.

    A service of this model with the same index has to give the same scores.
    """
    queries = _queries(entities, pictures, truth).sort_values("pair_id")
    turn = queries.groupby("slice").cumcount()  # the first picture of each slice, then the second of each ...
    chosen = queries.assign(turn=turn).sort_values(["turn", "slice"], kind="stable").index[:PROBES]
    rows = pictures.rows.loc[chosen, ["pair_id", "entity"]]
    return tuple(
        probe(entities, pictures.vectors[row], pair_id=pair_id, entity=entity)
        for row, pair_id, entity in rows.itertuples()
    )


def probe(entities: EntityIndex, vector: np.ndarray, *, pair_id: str, entity: str) -> Probe:
    """The best five entities of one picture, by its vector (D,), in the mixed index."""
    similarities = entities.similarities(vector, "mixed")
    first = best(similarities, k=5)
    names = entities.rows["entity"].iloc[first]
    return Probe(pair_id=pair_id, entity=entity, scores=dict(zip(names, similarities[first].tolist(), strict=True)))
