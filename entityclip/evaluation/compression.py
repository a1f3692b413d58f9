"""Whether an exported runtime ships: its recall against PyTorch's on the same queries, by slice.

A runtime is measured like a challenger, with the intervals of ``paired``. The question is another one: is it shown to
lose no more than the budget? Where the queries are too few to show that, it does not ship.

Its pictures are ranked twice: with PyTorch's index, which a release has, and with one whose texts the runtime has
embedded itself, like those that are added in service. Neither may lose more than the budget.

Intervals cover the sampling of the queries. What no query shows may still happen to others: the interval of n queries
is never narrower than the Wilson interval of n successes in n. Vectors that differ from PyTorch's by rounding alone
need no such allowance.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from entityclip.errors import CheckpointError, DataError
from entityclip.evaluation.compression_policy import CompressionPolicy
from entityclip.evaluation.evaluate import picture_queries
from entityclip.evaluation.intervals import proven_share
from entityclip.evaluation.paired import paired_gain, recalled, slice_changes, won_queries
from entityclip.evaluation.promotion import ROUNDING
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.onnx_runtime import TOWERS, ExportCard, Parity, opened
from entityclip.paths import DataLayout, ExportedLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import SLICES, OpenSplit, PromotionPolicy, RuntimeChange, RuntimeDecision

COMPARED = 64
"""Pictures and texts on which the vectors of exported towers are compared with PyTorch's."""

POLICY = PromotionPolicy(index="mixed", metric="R@1", min_slice_queries=1, seed_deviation=0.0)
"""What is compared: R@1 of the mixed index. Both sides are one training, so that seeds do not matter."""

ROUNDED = 1e-4
"""Largest distance of two unit vectors that differ by rounding alone."""

WHOLE = 100.0
"""Points that a slice can lose."""

log = logging.getLogger("entityclip.compression")


# ---------------------------------------------------------------- measuring
def measure_runtimes(
    card: ExportCard,
    model: LoadedModel,
    data: DataLayout,
    *,
    to: ExportedLayout,
    squares: Mapping[int, np.ndarray],
    policy: CompressionPolicy,
    progress: bool = False,
) -> ExportCard:
    """The card with parity, recall and decisions. A runtime that fails here does not ship; the others do.

    Args:
        card: Names the exported files and the split whose pictures are the queries.
        model: What was exported.
        data: The data version.
        to: The exported files.
        squares: Side S of each runtime's pictures -> (N, 3, S, S) uint8, of which the first ``COMPARED`` are compared.
        policy: The runtimes, and what each may lose.
        progress: Show bars.

    Raises:
        DataError: The split holds no picture.
    """
    known = PictureIndex.build(model, data, split="train", progress=progress)  # they stand for their entities
    entities = EntityIndex.build(model, data, pictures=known, progress=progress)
    texts = [text for text in entities.rows["entity"] if text][:COMPARED]

    def seen(by: LoadedModel) -> dict[str, np.ndarray]:
        shown = squares[by.card.preprocessing.size][:COMPARED]
        return {"image": by.embed_squares(shown), "text": by.embed_texts(texts)}

    def pictures(by: LoadedModel) -> PictureIndex:
        return PictureIndex.build(by, data, split=card.split, progress=progress)

    torchs, found = seen(model), RuntimeRecall.of(entities, pictures(model))
    parity, recall, decisions = dict(card.parity), {"torch": found.by_slice}, dict(card.decisions)
    for runtime in policy.runtimes:
        try:
            exported = opened(runtime, model, to, card)
            own = seen(exported)
            parity[runtime] = {tower: _parity(torchs[tower], own[tower], tower=tower) for tower in TOWERS}
            queries = pictures(exported)
            own_texts = EntityIndex.build(exported, data, pictures=known, progress=progress)
            theirs = [RuntimeRecall.of(index, queries) for index in (entities, own_texts)]
            recall[runtime], recall[f"{runtime}, its own texts"] = (one.by_slice for one in theirs)
            if runtime != "onnx":
                index = own_texts.with_pictures(PictureIndex.build(exported, data, split="train", progress=progress))
                recall[f"{runtime}, its own index"] = RuntimeRecall.of(index, queries).by_slice
            changes = worst_changes(*(runtime_changes(one, found) for one in theirs))
            decisions[runtime] = decide_runtime(changes, budget=policy.budget, measured_on=card.measured_on)
        except Exception as error:  # a damaged file may fail in any way, and the check fails closed
            log.warning("%s could not be measured", runtime, exc_info=True)
            reason = f"the exported towers failed: {str(error) or type(error).__name__}"
            decisions[runtime] = unmeasured(reason, budget=policy.budget)
    return card.model_copy(update={"parity": parity, "recall": recall, "decisions": decisions})


def _parity(torchs: np.ndarray, others: np.ndarray, *, tower: str) -> Parity:
    """(N, D) unit rows of both."""
    if not np.isfinite(others).all():
        raise CheckpointError(f"the vectors of the {tower} tower are not finite")
    cosine = float((torchs * others).sum(axis=1).min())
    return Parity(largest=float(np.abs(torchs - others).max()), cosine=cosine, rows=len(torchs))


def compare_student(
    student: LoadedModel, teacher: LoadedModel, data: DataLayout, *, split: OpenSplit, progress: bool = False
) -> tuple[RuntimeRecall, RuntimeRecall]:
    """What both find on the same queries, each with an index of its own.

    Args:
        student: A calibrated model with the joint width of ``teacher``.
        teacher: What it learned from.
        data: The data version.
        split: Whose pictures are the queries.
        progress: Show bars.

    Raises:
        DataError: The split holds no picture.
    """

    def found(model: LoadedModel) -> RuntimeRecall:
        known, queries = (PictureIndex.build(model, data, split=s, progress=progress) for s in ("train", split))
        return RuntimeRecall.of(EntityIndex.build(model, data, pictures=known, progress=progress), queries)

    return found(student), found(teacher)


@dataclass(frozen=True, eq=False)
class RuntimeRecall:
    """What one runtime finds with an index."""

    queries: pd.DataFrame
    """The evaluator's rows of the mixed index."""
    vectors: np.ndarray
    """(N, D) unit vectors of the queried pictures and of the index's texts."""

    @classmethod
    def of(cls, entities: EntityIndex, pictures: PictureIndex) -> RuntimeRecall:
        """Rank the pictures that a runtime has embedded.

        Raises:
            DataError: There are none.
        """
        if pictures.rows.empty:
            raise DataError("the split holds no picture, so there is nothing to measure on; name another with --split")
        vectors = [pictures.vectors, entities.vectors["caption"], entities.vectors["explanation"]]
        return cls(picture_queries(entities, pictures, kind="mixed"), np.concatenate(vectors))

    @property
    def by_slice(self) -> dict[str, float]:
        """'all' and each slice by training pictures that has queries -> R@1 in percent."""
        rows = recalled(self.queries, policy=POLICY)
        parts = {"all": rows} | {name: rows[rows["slice"] == name] for name in SLICES}
        return {name: float(part["hit"].mean()) for name, part in parts.items() if len(part)}


# ---------------------------------------------------------------- deciding
def runtime_changes(runtime: RuntimeRecall, torch: RuntimeRecall) -> tuple[RuntimeChange, ...]:
    """Change from PyTorch over all queries and in every slice, with intervals."""
    gain = paired_gain(runtime.queries, torch.queries, policy=POLICY)
    assert gain is not None  # R@1 is a recall
    found = {"all": RuntimeChange(slice="all", **gain.model_dump(exclude={"looks"}))}
    for name, points, low, high, queries in slice_changes(runtime.queries, torch.queries, policy=POLICY):
        found[name] = RuntimeChange(slice=name, points=points, low=low, high=high, queries=queries)
    won = won_queries(runtime.queries, torch.queries, policy=POLICY)
    for name in SLICES:
        if name not in found and (few := won["won"][won["slice"] == name]).size:  # too few for a figure
            points = float(few.mean())
            found[name] = RuntimeChange(slice=name, points=points, low=-WHOLE, high=WHOLE, queries=len(few))
    if float(np.linalg.norm(runtime.vectors - torch.vectors, axis=1).max()) <= ROUNDED:
        return tuple(
            change.model_copy(update={"low": change.points, "high": change.points}) for change in found.values()
        )
    return tuple(_with_unseen(change) for change in found.values())


def _with_unseen(change: RuntimeChange) -> RuntimeChange:
    """The change with the losses and gains that so few queries may have missed."""
    missed = WHOLE * (1 - float(proven_share(np.array(change.queries), np.array(change.queries))))
    low, high = min(change.low, change.points - missed), max(change.high, change.points + missed)
    return change.model_copy(update={"low": max(-WHOLE, low), "high": min(WHOLE, high)})


def worst_changes(*found: tuple[RuntimeChange, ...]) -> tuple[RuntimeChange, ...]:
    """Of each slice, the change that counts as losing most; each of ``found`` has the same slices."""
    return tuple(max(changes, key=_lost) for changes in zip(*found, strict=True))


def decide_runtime(changes: tuple[RuntimeChange, ...], *, budget: float, measured_on: str) -> RuntimeDecision:
    """Whether a runtime with these changes ships.

    Of many small categories, one always looks bad by chance: a category refuses only if its whole interval lies below
    the negative of the budget, as for a challenger.

    Args:
        changes: Of ``runtime_changes`` or ``worst_changes``.
        budget: Points that it may lose.
        measured_on: Instruction set of the processor that measured it.
    """
    allowed = f"a loss of {budget:g} points is allowed"
    whole, failing = changes[0], [change for change in changes if _lost(change) > budget + ROUNDING]
    reasons = [
        f"R@1 changes by {_figures(whole)} over all {whole.queries:,} queries, measured with {measured_on}; {allowed}, "
        f"also in every slice: {'too much, or too little is known' if failing else 'within'}"
    ]
    for change in failing:
        why = "too much" if change.high < -budget else "too few queries to exclude more"
        reasons.append(f"{change.slice} changes by {_figures(change)} over {change.queries:,} queries: {why}")
    if failing:
        enough = math.ceil(10 * max(_lost(change) for change in failing)) / 10
        reasons.append(f"a budget of {enough:g} would let it ship; more queries narrow the intervals")
    return RuntimeDecision(ships=not failing, reasons=tuple(reasons), budget=budget, changes=changes)


def _lost(change: RuntimeChange) -> float:
    """Points that the slice counts as losing."""
    return -(change.high if change.slice.startswith("category=") else change.low)


def _figures(change: RuntimeChange) -> str:
    return f"{change.points:+.1f} points ({change.low:+.1f} to {change.high:+.1f})"


def unmeasured(reason: str, *, budget: float) -> RuntimeDecision:
    """The refusal of a runtime that could not be measured."""
    return RuntimeDecision(ships=False, reasons=(reason,), budget=budget, changes=())
