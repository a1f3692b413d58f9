"""Agreement about claims: between the two readers, and between each of them and people (Cohen's kappa)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from entityclip.quality.claims.claim_table import READER_COLUMNS
from entityclip.quality.review import Review
from entityclip.retrieval.metrics import resamples
from entityclip.schemas import ReaderAgreement

MODEL, READER, PEOPLE = "model in service", "second reader", "people"
_DECIDED = {"supported": False, "contradicted": True, "yes": False, "no": True}
"""Verdict or answer -> whether the claim is wrong; the others decide nothing."""

log = logging.getLogger(__name__)


class ReviewedClaims(NamedTuple):
    """What people decided about texts, and what was found about their claims before."""

    wrong: Mapping[str, bool] = MappingProxyType({})
    """explanation_id -> whether a person rejected or edited the text."""
    claims: pd.DataFrame | None = None
    """Their claims in earlier batches."""


NOT_REVIEWED = ReviewedClaims()


def reviewed_claims(reviews: Iterable[Review], files: Sequence[Path]) -> ReviewedClaims:
    """The decisions about texts, and the claims of these texts in ``files``, the newest last."""
    wrong = {one.explanation_id: one.decision != "accept" for one in reviews if one.table == "explanations"}
    if not wrong:
        return NOT_REVIEWED
    found = []
    for path in files:
        try:
            claims = pd.read_parquet(path, filters=[("explanation_id", "in", list(wrong))])
        except (OSError, ValueError) as error:
            log.warning("%s: cannot be read (%s); the agreement with people leaves it out", path, error)
            continue
        if set(READER_COLUMNS) <= set(claims.columns):  # a second reader was set
            found.append(claims)
    if not found:
        return ReviewedClaims(wrong)
    return ReviewedClaims(wrong, pd.concat(found, ignore_index=True))


def reader_agreement(
    claims: pd.DataFrame | None, reviewed: ReviewedClaims = NOT_REVIEWED
) -> tuple[ReaderAgreement, ...]:
    """Cohen's kappa of each pair of readers that judged anything in common; empty without a second reader.

    The readers are compared claim by claim, on texts drawn by their ids alone. With people they are compared text by
    text: a reader finds a text wrong where it contradicts one of its claims, a person where the decision is to reject
    or to edit it.

    Args:
        claims: Table with ``claim_table.COLUMNS``, and ``READER_COLUMNS`` where a second reader is set.
        reviewed: What people decided about texts.
    """
    if claims is None or not set(READER_COLUMNS) <= set(claims.columns):
        return ()
    drawn = claims[claims["drawn"].astype(bool)]
    model, reader = (drawn[name].map(_DECIDED) for name in ("champion_verdict", "reader_answer"))
    found = [_agreement(MODEL, READER, "claims", model, reader, drawn["entity_id"])]
    seen = claims if reviewed.claims is None else pd.concat([reviewed.claims, claims], ignore_index=True)
    seen = seen[seen["explanation_id"].isin(list(reviewed.wrong))]
    entities = seen.groupby("explanation_id")["entity_id"].first()
    person = pd.Series(entities.index.map(reviewed.wrong), index=entities.index, dtype=object)
    for name, column in ((MODEL, "champion_verdict"), (READER, "reader_answer")):
        decided = seen.assign(wrong=seen[column].map(_DECIDED)).dropna(subset="wrong")
        latest = decided.drop_duplicates(["explanation_id", "attribute", "value"], keep="last")
        wrong = latest.groupby("explanation_id")["wrong"].max().reindex(entities.index)
        found.append(_agreement(name, PEOPLE, "texts", wrong, person, entities))
    return tuple(one for one in found if one.compared)


def _agreement(
    first: str, second: str, of: str, one: pd.Series, other: pd.Series, entity: pd.Series
) -> ReaderAgreement:
    """Agreement on what both decided; None in place of kappa where they say the same of everything."""
    both = (one.notna() & other.notna()).to_numpy()
    a, b = (column[both].to_numpy(dtype=bool) for column in (one, other))
    found = ReaderAgreement(first=first, second=second, what=of, judged=len(both), compared=len(a), same=0.0)
    if not len(a):
        return found
    codes = pd.factorize(entity[both])[0]
    drawn = np.concatenate([_kappas(a, b, weights[:, codes]) for weights in resamples(codes, seed=0)])
    kappa, known = float(_kappas(a, b, np.ones((1, len(a))))[0]), drawn[np.isfinite(drawn)]
    found = found.model_copy(update={"same": float((a == b).mean())})
    if not np.isfinite(kappa):
        return found
    low, high = map(float, np.percentile(known, (2.5, 97.5)))
    return found.model_copy(update={"kappa": kappa, "low": low, "high": high})


def _kappas(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws,) Cohen's kappa of two judgements (N,), weighted by (draws, N); nan where both are constant."""
    total = weights.sum(axis=1)
    same = (weights @ (a == b)) / total
    p, q = (weights @ a) / total, (weights @ b) / total
    chance = p * q + (1 - p) * (1 - q)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (same - chance) / (1 - chance)
