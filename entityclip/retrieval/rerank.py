"""Re-ranking: the first K entities that a picture finds, judged once more by the matching head (GI-ITM).

A search compares one vector of the picture with one of the entity. The matching head sees every token of the
picture, of the name and of the explanation (names masked, as in training), and says how likely the two belong
together. That takes a pass of the text tower over 2 K texts, and pays only where the head learned enough:
``calibrate_rerank`` finds out on validation pictures how much its word counts, and where it does not help, it
counts nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from pydantic import Field
from torch.nn import functional as F
from tqdm import tqdm

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.errors import ConfigError, DataError
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.onnx_runtime import ExportedModel
from entityclip.model.tokens import TowerOutput
from entityclip.paths import DataLayout
from entityclip.retrieval import metrics
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.index.entities import as_read, names_of
from entityclip.retrieval.vectors import best
from entityclip.schemas import SLICES, Record, Split

FIRST = 10
"""Entities that are judged again unless the caller says otherwise; calibrated on as many."""

WEIGHTS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Weights of the head's log-odds that are tried, beside the log-odds of the similarities."""

PICTURES = 600
"""Pictures that calibration looks at, at most: each costs K texts."""

TIMED = 20
"""Pictures that are queried one by one to measure the time."""

CHUNK = 16
"""Pictures judged at a time."""


class Reranked(Record):
    """What re-ranking does with one weight of the head. Recall@1 in percent."""

    weight: float
    recall: dict[str, float] = Field(description="Slice, or 'all' -> recall@1.")
    gain: float = Field(description="Points over no re-ranking, over all pictures.")
    low: float = Field(description="Of the gain's 95 % bootstrap interval, resampled by entity.")
    high: float


class RerankReport(Record):
    """Gain and cost of re-ranking on one split."""

    split: Split
    first: int = Field(description="Entities judged again for each picture.")
    pictures: int
    weights: tuple[Reranked, ...] = Field(description="One for each weight that was tried; the first is 0.")
    search_ms: float = Field(description="Median time of one picture's search without re-ranking.")
    rerank_ms: float = Field(description="Median time that re-ranking adds.")

    def helpful(self) -> float:
        """The weight with the largest gain, if that gain's interval lies above zero; else 0."""
        largest = max(self.weights, key=lambda tried: tried.gain)
        return largest.weight if largest.low > 0 else 0.0


# ---------------------------------------------------------------- one picture
class Judged(NamedTuple):
    """K entities after the matching head saw them."""

    order: np.ndarray
    """(K,) places of the entities, the best first, by the weight on the checkpoint's card."""
    match: np.ndarray
    """(K,) the head's probability of a match for each, in the order of the candidates."""


def rerank(
    model: LoadedModel,
    entities: EntityIndex,
    pictures: Sequence[Image.Image],
    *,
    rows: np.ndarray,
    similarities: np.ndarray,
) -> Judged:
    """Judge the entities at ``rows`` (K,), whose ``similarities`` (K,) with the pictures are known, once more.

    Of several pictures of one thing, the log-odds are averaged.

    Raises:
        ConfigError: The model was trained without the matching term.
        DataError: The index was built without explanations' texts.
    """
    odds = log_odds(model, entities, _read(model, pictures), np.tile(rows, (len(pictures), 1))).mean(axis=0)
    blended = model.scale * similarities + model.card.rerank * odds
    return Judged(np.argsort(-blended, kind="stable"), 1 / (1 + np.exp(-odds)))


@torch.inference_mode()
def log_odds(model: LoadedModel, entities: EntityIndex, image: TowerOutput, candidates: np.ndarray) -> np.ndarray:
    """The head's log-odds that picture and entity belong together.

    Args:
        model: What judges.
        entities: Whose names and explanations are read.
        image: Tower output of B pictures.
        candidates: (B, K) rows of ``entities``.

    Returns:
        (B, K) float32; above zero says "match".

    Raises:
        ConfigError: The model was trained without the matching term.
        DataError: The index was built without explanations' texts.
    """
    if model.card.config.get("loss", {}).get("eta") == 0:
        raise ConfigError("the model was trained without the matching term (eta 0): it has no head that could re-rank")
    if "explanation" not in entities.rows:
        raise DataError("the entity index holds no texts, so it is of an earlier version; build it again")
    unique, where = np.unique(candidates, return_inverse=True)  # the tower reads each text once
    rows = entities.rows.iloc[unique]
    named = _read_texts(model, list(rows["entity"]))
    explained = _read_texts(model, as_read(model, rows["explanation"], names=names_of(rows)))
    of = torch.from_numpy(where.reshape(-1)).to(model.device)
    pictures = torch.arange(len(candidates), device=model.device).repeat_interleave(candidates.shape[1])
    triples = (image.rows(pictures), named.rows(of), explained.rows(of))
    own = torch.arange(len(of))
    pairs_of_rows = torch.stack([own, own], dim=1)
    attended = model.model.mmae(*triples)
    logits = model.model.mmae.match_logits(attended, triples[2], pairs=pairs_of_rows, true=len(of)).float().cpu()
    return (logits[:, 1] - logits[:, 0]).view(candidates.shape).numpy()


def _read_texts(model: LoadedModel, texts: list[str]) -> TowerOutput:
    return model.model.text_tokens(model.tokenizer(texts).to(model.device))


@torch.inference_mode()
def _read(model: LoadedModel, images: Iterable[Image.Image]) -> TowerOutput:
    if isinstance(model, ExportedModel) and model.runtime == "distilled":
        raise ConfigError(
            "the runtime distilled cannot re-rank: the matching head reads the image tower that the student replaces; "
            "expected rerank 0, or another runtime"
        )
    preprocessing = model.card.preprocessing
    squares = torch.from_numpy(np.stack([preprocessing.square(image) for image in images]))
    return model.model.image_tokens(preprocessing.normalise(squares.to(model.device)))


# ---------------------------------------------------------------- gain and cost
@dataclass(frozen=True, eq=False)
class Shortlists:
    """What search and head say about the first K entities of Q pictures."""

    truth: np.ndarray
    """(Q,) row of the right entity."""
    candidates: np.ndarray
    """(Q, K) rows of the entities that were found."""
    similarities: np.ndarray
    """(Q, K) in the mixed index."""
    odds: np.ndarray
    """(Q, K) log-odds of the head."""

    def hits(self, weight: float, *, scale: float) -> np.ndarray:
        """(Q,) whether the right entity comes first."""
        first = (scale * self.similarities + weight * self.odds).argmax(axis=1)
        return self.candidates[np.arange(len(first)), first] == self.truth


def measure_rerank(
    model: LoadedModel,
    data: DataLayout,
    *,
    split: Split = "test",
    first: int = FIRST,
    most: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> RerankReport:
    """What re-ranking the first ``first`` entities of the mixed index gains with each weight, and what it costs.

    Args:
        model: What is measured.
        data: The data version; all of its entities are candidates.
        split: Whose pictures ask.
        first: Entities judged again.
        most: Pictures at most: a sample that is the same every time; None for all.
        seed: Of the bootstrap.
        progress: Show bars.

    Raises:
        ConfigError: ``first`` is not positive, or the model was trained without the matching term.
        DataError: The data are incomplete, or the split holds no picture.
    """
    if first < 1:
        raise ConfigError(f"re-ranking of {first} entities; expected at least 1")
    known = PictureIndex.build(model, data, split="train", progress=progress)
    entities = EntityIndex.build(model, data, pictures=known, progress=progress)
    lists = shortlists(model, entities, data, split=split, first=first, most=most, progress=progress)
    slices = entities.rows["slice"].to_numpy()[lists.truth]
    before = lists.hits(0.0, scale=model.scale)
    tried = []
    for weight in WEIGHTS:
        hits = lists.hits(weight, scale=model.scale)
        recall = {name: 100 * float(hits[slices == name].mean()) for name in SLICES if (slices == name).any()}
        differences = {"gain": 100.0 * (hits.astype(float) - before)}
        (gain,) = metrics.mean_figures(differences, lists.truth, seed=seed)
        recall["all"] = 100 * float(hits.mean())
        tried.append(Reranked(weight=weight, recall=recall, gain=gain.value, low=gain.low, high=gain.high))
    search_ms, rerank_ms = _times(model, entities, data, split=split, first=first)
    return RerankReport(
        split=split,
        first=first,
        pictures=len(lists.truth),
        weights=tuple(tried),
        search_ms=search_ms,
        rerank_ms=rerank_ms,
    )


def calibrate_rerank(model: LoadedModel, data: DataLayout, *, split: Split = "val", progress: bool = False) -> float:
    """Weight of the matching head for the checkpoint card; 0 without a significant gain or without queries.

    Raises:
        DataError: The data are incomplete.
    """
    counts = pairs.require_complete(data)
    if not counts.get(split, 0) or model.card.config.get("loss", {}).get("eta") == 0:
        return 0.0
    return measure_rerank(model, data, split=split, most=PICTURES, progress=progress).helpful()


def shortlists(
    model: LoadedModel,
    entities: EntityIndex,
    data: DataLayout,
    *,
    split: Split,
    first: int,
    most: int | None = None,
    progress: bool = False,
) -> Shortlists:
    """The first ``first`` entities of the mixed index for each picture of a split, judged by search and head.

    Raises:
        ConfigError: The model was trained without the matching term.
        DataError: The data are incomplete, or the split holds no picture.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    entity_of = _queried_pictures(data, split=split, most=most)
    with tqdm(total=len(entity_of), desc="re-ranking", unit="picture", disable=not progress) as bar:
        for chunk in _chunks(_pictures(data, split, entity_of), CHUNK):
            image = _read(model, (picture for _, picture in chunk))
            vectors = F.normalize(image.pooled(), dim=-1).float().cpu().numpy()
            similarities = entities.similarities(vectors, "mixed")
            candidates = np.stack([best(row, k=first) for row in similarities])
            judged = log_odds(model, entities, image, candidates)
            truth = entities.rows_of([entity_of[pair_id] for pair_id, _ in chunk])
            parts.append((truth, candidates, np.take_along_axis(similarities, candidates, axis=1), judged))
            bar.update(len(chunk))
    return Shortlists(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _queried_pictures(data: DataLayout, *, split: Split, most: int | None) -> dict[str, str]:
    """pair_id -> entity_id of the pictures that ask; ids are hashes, so the first ones are as good as a draw."""
    frame: pd.DataFrame = pairs.read_frame(data.pairs, name=split, columns=["pair_id", "entity_id"])
    if frame.empty:
        raise DataError(f"{data.pairs}: split {split!r} holds no picture, so there is nothing to re-rank")
    frame = frame.sort_values("pair_id")[:most]
    return dict(zip(frame["pair_id"], frame["entity_id"], strict=True))


def _pictures(data: DataLayout, split: Split, entity_of: dict[str, str]) -> Iterator[tuple[str, Image.Image]]:
    for row in pairs.iter_rows(data.pairs, name=split, columns=["pair_id", "image"]):
        if row["pair_id"] in entity_of:
            yield row["pair_id"], decode(row["image"]["bytes"])


def _chunks(rows: Iterator[tuple[str, Image.Image]], size: int) -> Iterator[list[tuple[str, Image.Image]]]:
    while chunk := list(islice(rows, size)):
        yield chunk


def _times(
    model: LoadedModel, entities: EntityIndex, data: DataLayout, *, split: Split, first: int
) -> tuple[float, float]:
    """Median milliseconds of one search, and of the re-ranking after it, picture by picture."""
    search, again = [], []
    for _, image in _pictures(data, split, _queried_pictures(data, split=split, most=TIMED)):
        started = time.perf_counter()
        similarities = entities.similarities(model.embed_images([image])[0], "mixed")
        rows = best(similarities, k=first)
        middle = time.perf_counter()
        rerank(model, entities, [image], rows=rows, similarities=similarities[rows])
        search.append(1000 * (middle - started))
        again.append(1000 * (time.perf_counter() - middle))
    return float(np.median(search)), float(np.median(again))
