"""Figures of designs on the same entities, with paired intervals: what the pictures support, what the gate says, cost.

The entities are resampled with all their claims and texts, the same ones for each design, so that what is hard about an
entity cancels in a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from entityclip.experiments.writer_designs.designs import DesignTexts
from entityclip.quality.claims.exchange import split_claims
from entityclip.quality.claims.vocabulary import Vocabulary
from entityclip.retrieval.metrics import subset_means
from entityclip.schemas import Record

CLAIM = ["entity_id", "language", "attribute", "value"]
MEASURES: dict[str, tuple[Literal["more", "less", ""], Literal["percent", "number"]]] = {
    "supported": ("more", "percent"),
    "contradicted": ("less", "percent"),
    "contradicted_texts": ("less", "percent"),
    "not_checkable": ("", "percent"),
    "unusual": ("less", "percent"),
    "claims": ("", "number"),
    "supported_claims": ("more", "number"),
    "set_aside": ("less", "percent"),
    "no_text": ("less", "percent"),
    "r1": ("more", "percent"),
    "words": ("", "number"),
    "tokens": ("less", "number"),
    "seconds": ("less", "number"),
    "money": ("less", "number"),
}
"""Name -> which is better, '' where neither is, and the unit."""
_SEED = 0


class JudgedDesign(NamedTuple):
    """The texts of a design, with what the gate and the model find of them."""

    written: DesignTexts
    words: list[int]
    """(N,) words of each text."""
    broken: pd.DataFrame
    """Critical rules that texts break: position of the text, rule, value."""
    stated: pd.DataFrame
    """Every claim of every text: position, and the columns ``CLAIM``."""
    claims: pd.DataFrame | None = None
    """The same with verdicts, see ``claim_table.COLUMNS``; None where claims were not checked."""
    hits: pd.DataFrame | None = None
    """Result of ``found_entities``; None where there is no model or no picture for it."""


class MeanInterval(Record):
    """A mean with its 95 % interval, by a bootstrap over entities."""

    value: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        """Whether the interval includes zero."""
        return self.low <= 0 <= self.high


class ComparedMeasure(Record):
    """One measure of all designs."""

    name: str
    better: Literal["more", "less", ""]
    unit: Literal["percent", "number"]
    values: tuple[MeanInterval | None, ...] = Field(description="Of each design; None where it could not be computed.")
    differences: tuple[MeanInterval | None, ...] = Field(description="Of each design but the first, less the first.")

    def ahead(self, other: int) -> int:
        """1 where design ``other`` is ahead of the first, -1 where the first is, 0 where the interval includes 0."""
        difference = self.differences[other - 1]
        if difference is None or difference.includes_zero or not self.better:
            return 0
        return 1 if (difference.value > 0) == (self.better == "more") else -1

    def equal(self, other: int) -> bool:
        """Whether design ``other`` has the value of the first in every resample."""
        difference = self.differences[other - 1]
        return difference is not None and difference.low == difference.high == 0


class DesignCounts(Record):
    """A design in whole numbers."""

    name: str
    writer: str
    texts: int
    claims: int
    answers: int
    pictures: int = Field(description="That R@1 is measured on; 0 where it was not.")
    set_aside: int = Field(description="Texts that break at least one critical rule.")
    verdicts: dict[str, dict[str, int]] = Field(description="Attribute -> verdict -> claims; empty where not checked.")
    rules: dict[str, int] = Field(description="Critical rule -> texts that break it.")
    rejected: dict[str, int] = Field(description="Why the writer rejected a reply -> how many.")


class DesignComparison(Record):
    """Result of ``compare_designs``."""

    entities: int
    designs: tuple[DesignCounts, ...]
    measures: tuple[ComparedMeasure, ...]
    agreement: tuple[MeanInterval | None, ...] = Field(
        description="Of each design but the first: percent of the claims that it or the first makes of an entity that "
        "both make; mean over entities with a text by both."
    )
    not_computed: tuple[str, ...] = Field(description="Why rules or scorers were skipped.")

    @property
    def names(self) -> list[str]:
        """Of the designs."""
        return [design.name for design in self.designs]


def stated_claims(texts: pd.DataFrame, vocabulary: Vocabulary) -> pd.DataFrame:
    """The claims of N texts: position, and the columns ``CLAIM``."""
    owners, languages = texts["entity_id"].tolist(), texts["language"].fillna("").tolist()
    found = split_claims(texts["text"].fillna("").tolist(), languages, vocabulary)
    rows = [(one.position, owners[one.position], *one.key, one.claim.value) for one in found]
    return pd.DataFrame(rows, columns=["position", *CLAIM])


def compare_designs(
    designs: Sequence[JudgedDesign], entities: Sequence[str], not_computed: Sequence[str]
) -> DesignComparison:
    """Compare designs on the same entities; the first is what the others are compared with.

    Args:
        designs: Two or more.
        entities: Ids of the sample.
        not_computed: Why rules or scorers were skipped.
    """
    rows = [_rows(design, entities) for design in designs]
    measures = []
    for name, (better, unit) in MEASURES.items():
        values, differences = _estimates([some.get(name) for some in rows])
        measures.append(ComparedMeasure(name=name, better=better, unit=unit, values=values, differences=differences))
    first, *others = designs
    agreement = [_estimates([_agreement(first, other)])[0][0] for other in others]
    return DesignComparison(
        entities=len(entities),
        designs=tuple(map(_counts, designs)),
        measures=tuple(measures),
        agreement=tuple(agreement),
        not_computed=tuple(not_computed),
    )


# ---------------------------------------------------------------- what is averaged
def _rows(design: JudgedDesign, entities: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Measure -> rows with entity_id and the value that is averaged over them."""
    texts, requests = design.written.texts, design.written.requests
    owners, aside = texts["entity_id"], np.isin(np.arange(len(texts)), design.broken["position"])
    with_text = set(owners)
    found = {
        "claims": _each(design.stated, entities),
        "set_aside": _values(owners, 100.0 * aside),
        "no_text": _values(entities, [0.0 if entity in with_text else 100.0 for entity in entities]),
        "words": _values(owners, design.words),
        "tokens": _values(requests["entity_id"], requests["tokens"]),
        "seconds": _values(requests["entity_id"], requests["seconds"]),
    }
    if requests["money"].any():
        found["money"] = _values(requests["entity_id"], requests["money"])
    if design.hits is not None:
        found["r1"] = _values(design.hits["entity_id"], design.hits["hit"])
    if design.claims is not None:
        verdict, owner = design.claims["verdict"], design.claims["entity_id"]
        for name in ("supported", "contradicted", "not checkable"):
            found[name.replace(" ", "_")] = _values(owner, 100.0 * (verdict == name))
        accused = np.isin(np.arange(len(texts)), design.claims.loc[verdict == "contradicted", "position"])
        found["contradicted_texts"] = _values(owners, 100.0 * accused)
        found["unusual"] = _values(owner, 100.0 * design.claims["unusual"].astype(bool))
        found["supported_claims"] = _each(design.claims[verdict == "supported"], entities)
    return found


def _values(owners: Sequence[str] | pd.Series, values: Sequence[float] | np.ndarray | pd.Series) -> pd.DataFrame:
    return pd.DataFrame({"entity_id": list(owners), "value": np.asarray(values, dtype=np.float64)})


def _each(claims: pd.DataFrame, entities: Sequence[str]) -> pd.DataFrame:
    """How many different claims there are of each entity."""
    counts = claims.drop_duplicates(CLAIM)["entity_id"].value_counts()
    return _values(entities, [float(counts.get(entity, 0)) for entity in entities])


def _agreement(first: JudgedDesign, other: JudgedDesign) -> pd.DataFrame:
    """Of each entity and language with texts by both designs, and claims by one: the percent that both make."""
    made = [_claims_of(design) for design in (first, other)]
    rows = []
    for key in sorted(made[0].keys() & made[1].keys()):
        ours, theirs = made[0][key], made[1][key]
        if ours | theirs:
            rows.append((key[0], 100.0 * len(ours & theirs) / len(ours | theirs)))
    return pd.DataFrame(rows, columns=["entity_id", "value"])


def _claims_of(design: JudgedDesign) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Entity and language of every text -> attributes and values that it states."""
    texts = design.written.texts
    languages = texts["language"].fillna("").tolist()
    made: dict[tuple[str, str], set[tuple[str, str]]] = {
        key: set() for key in zip(texts["entity_id"], languages, strict=True)
    }
    columns = (design.stated[name].tolist() for name in ("position", "entity_id", "attribute", "value"))
    for position, entity, attribute, value in zip(*columns, strict=True):
        made[entity, languages[position]].add((attribute, value))
    return made


def _counts(design: JudgedDesign) -> DesignCounts:
    checked = pd.DataFrame(columns=["attribute", "verdict"]) if design.claims is None else design.claims
    verdicts = {
        str(attribute): {str(verdict): int(count) for verdict, count in part["verdict"].value_counts().items()}
        for attribute, part in checked.groupby("attribute")
    }
    rules = design.broken.groupby("rule")["position"].nunique().sort_values(ascending=False)
    return DesignCounts(
        name=design.written.name,
        writer=design.written.generator,
        texts=len(design.written.texts),
        claims=len(design.stated),
        answers=len(design.written.requests),
        pictures=0 if design.hits is None else len(design.hits),
        set_aside=int(design.broken["position"].nunique()),
        verdicts=verdicts,
        rules={str(rule): int(count) for rule, count in rules.items()},
        rejected=design.written.rejected,
    )


# ---------------------------------------------------------------- intervals
def _estimates(
    rows: Sequence[pd.DataFrame | None],
) -> tuple[tuple[MeanInterval | None, ...], tuple[MeanInterval | None, ...]]:
    """The mean of each design, and of each but the first the difference to it, over the same resamples."""
    known = {i: some for i, some in enumerate(rows) if some is not None and len(some)}
    if not known:
        return (None,) * len(rows), (None,) * (len(rows) - 1)
    table = pd.concat([some.assign(design=i) for i, some in known.items()], ignore_index=True)
    values, owners = table["value"].to_numpy(), table["entity_id"].to_numpy()
    members = np.stack([(table["design"] == i).to_numpy() for i in known], axis=1)
    draws = dict(zip(known, subset_means(values, members, owners, seed=_SEED).T, strict=True))
    means = {i: float(some["value"].mean()) for i, some in known.items()}
    differences = [
        _estimate(means[i] - means[0], draws[i] - draws[0]) if {0, i} <= known.keys() else None
        for i in range(1, len(rows))
    ]
    found = [_estimate(means[i], draws[i]) if i in known else None for i in range(len(rows))]
    return tuple(found), tuple(differences)


def _estimate(mean: float, draws: np.ndarray) -> MeanInterval:
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return MeanInterval(value=mean, low=float(low), high=float(high))
