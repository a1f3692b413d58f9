"""Drift: whether what a service is shown still looks like what its model was trained and measured on.

Every test weighs two things: how far two samples lie apart, from 0 to 1, against the policy's limit, and how likely
that is by chance. Only both together are drift: with many samples, even an irrelevant difference is significant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from pydantic import Field

from entityclip.monitoring.statistics import STATISTICS
from entityclip.schemas import Record

NUMBERS = ("score", *STATISTICS)
"""``score`` is the similarity of the picture and the entity that it fits best."""

_MOST = 2000
"""Pictures of either sample that the classifier looks at."""
_RIDGE = 1e-2
_LEAST_GROUP = 5.0
"""Scripts expected less often than this share one group: the chi-squared test is wrong about rare ones."""


class DriftPolicy(Record):
    """What counts as drift; part of the workspace's ``entityclip.yaml``."""

    window_hours: float = Field(default=24.0, gt=0, description="Hours of the service's samples that are compared.")
    min_samples: int = Field(
        default=200, ge=20, description="Least number of different pictures, or texts, for a test."
    )
    ks_threshold: float = Field(
        default=0.3, ge=0, le=1, description="Kolmogorov-Smirnov distance from which a statistic has drifted."
    )
    auc_threshold: float = Field(
        default=0.85,
        ge=0.5,
        le=1,
        description="AUC of a classifier between both samples' embeddings that is drift; 0.5 is chance.",
    )
    script_shift_threshold: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of texts in new scripts that is drift.",
    )
    alpha: float = Field(default=0.01, gt=0, lt=1, description="Significance level over all tests of one comparison.")


class DriftTest(Record):
    """One comparison of the two samples."""

    what: str
    test: str
    value: float = Field(description="How far apart, 0 to 1; for the classifier 0.5 to 1.")
    limit: float
    p_value: float = Field(description="Probability of as much among equal samples, times the number of tests.")
    drifted: bool
    reference: str = Field(description="What is usual in the data.")
    current: str = Field(description="What the service saw.")


class DriftReport(Record):
    """What the service saw of late against what its release knows."""

    release: str
    data_hash: str
    at: datetime
    since: datetime = Field(description="Samples from then on were looked at.")
    pictures: int = Field(description="Different pictures among the samples.")
    texts: int
    tests: tuple[DriftTest, ...]
    untested: tuple[str, ...] = Field(default=(), description="What could not be tested, and why.")
    policy: DriftPolicy

    @property
    def drifted(self) -> tuple[str, ...]:
        """What drifted."""
        return tuple(test.what for test in self.tests if test.drifted)


@dataclass(frozen=True, eq=False)
class DriftSample:
    """Pictures and texts, as far as the tests look at them."""

    pictures: pd.DataFrame
    """(N,) rows with ``NUMBERS``."""
    vectors: np.ndarray
    """(N, D) unit rows of the same pictures."""
    scripts: pd.Series
    """Script of each text."""

    def distinct(self) -> DriftSample:
        """Every picture once: a client that sends one picture all day shows one picture."""
        _, first = np.unique(self.vectors.astype(np.float16), axis=0, return_index=True)
        rows = np.sort(first)
        return DriftSample(self.pictures.iloc[rows].reset_index(drop=True), self.vectors[rows], self.scripts)


def compare(
    reference: DriftSample, current: DriftSample, *, policy: DriftPolicy
) -> tuple[tuple[DriftTest, ...], tuple[str, ...]]:
    """All tests that the samples are enough for, and a sentence for what they are not enough for.

    Args:
        reference: Of the data.
        current: Of the service.
        policy: Limits.
    """
    reference, current = reference.distinct(), current.distinct()
    tests: list[DriftTest] = []
    counts = {
        "pictures": (len(reference.vectors), len(current.vectors)),
        "texts": (len(reference.scripts), len(current.scripts)),
    }
    untested = [
        f"{theirs} {what} of the service and {ours} of the data; {policy.min_samples} of each are needed"
        for what, (ours, theirs) in counts.items()
        if min(ours, theirs) < policy.min_samples
    ]
    if min(counts["pictures"]) >= policy.min_samples:
        tests += [_numbers(name, reference, current, policy=policy) for name in NUMBERS]
        tests.append(_embeddings(reference, current, policy=policy))
    if min(counts["texts"]) >= policy.min_samples:
        tests.append(_scripts(reference.scripts, current.scripts, policy=policy))
    return tuple(_judged(test, among=len(tests), policy=policy) for test in tests), tuple(untested)


def _judged(test: DriftTest, *, among: int, policy: DriftPolicy) -> DriftTest:
    """The test with its verdict; the p-value is multiplied by the number of tests (Bonferroni)."""
    p_value = min(1.0, test.p_value * among)
    return test.model_copy(update={"p_value": p_value, "drifted": test.value >= test.limit and p_value <= policy.alpha})


def _numbers(name: str, reference: DriftSample, current: DriftSample, *, policy: DriftPolicy) -> DriftTest:
    from scipy.stats import ks_2samp

    ours, theirs = reference.pictures[name].to_numpy(), current.pictures[name].to_numpy()
    found = ks_2samp(ours, theirs)
    return DriftTest(
        what=name,
        test="Kolmogorov-Smirnov distance",
        value=float(found.statistic),
        limit=policy.ks_threshold,
        p_value=float(found.pvalue),
        drifted=False,
        reference=_middle(ours),
        current=_middle(theirs),
    )


def _middle(values: np.ndarray) -> str:
    low, median, high = np.quantile(values, (0.1, 0.5, 0.9))
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _embeddings(reference: DriftSample, current: DriftSample, *, policy: DriftPolicy) -> DriftTest:
    auc, p_value = discriminator_auc(reference.vectors, current.vectors)
    return DriftTest(
        what="embedding",
        test="classifier AUC",
        value=auc,
        limit=policy.auc_threshold,
        p_value=p_value,
        drifted=False,
        reference=f"{len(reference.vectors)} pictures",
        current=f"{len(current.vectors)} pictures",
    )


def discriminator_auc(reference: np.ndarray, current: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """How well a linear classifier separates (N, D) from (M, D) (Lopez-Paz and Oquab, ICLR 2017).

    It learns on one half of each and is judged on the other.

    Returns:
        AUC, 0.5 to 1, and the probability of as much among equal samples.
    """
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(seed)
    count = min(len(reference), len(current), _MOST)
    learn, judge = [], []
    for vectors in (reference, current):
        drawn = vectors[rng.permutation(len(vectors))[:count]].astype(np.float64)
        learn.append(drawn[: count // 2])
        judge.append(drawn[count // 2 :])
    difference = learn[1].mean(axis=0) - learn[0].mean(axis=0)
    within = (np.cov(learn[0], rowvar=False) + np.cov(learn[1], rowvar=False)) / 2
    # Fisher's discriminant; the ridge stands for dimensions that so few pictures say nothing about.
    ridge = _RIDGE * np.trace(within) / len(within) + 1e-12
    direction = np.linalg.solve(within + ridge * np.eye(len(within)), difference)
    found = mannwhitneyu(judge[1] @ direction, judge[0] @ direction, alternative="greater")
    auc = float(found.statistic) / (len(judge[0]) * len(judge[1]))
    return max(auc, 0.5), float(found.pvalue)


def _scripts(reference: pd.Series, current: pd.Series, *, policy: DriftPolicy) -> DriftTest:
    from scipy.stats import chi2_contingency

    counts = pd.DataFrame({"ours": reference.value_counts(), "theirs": current.value_counts()}).fillna(0)
    shares = counts / counts.sum()
    expected = counts.sum(axis=1) * min(len(reference), len(current)) / (len(reference) + len(current))
    rare = expected < _LEAST_GROUP
    grouped = pd.concat([counts[~rare], counts[rare].sum().to_frame().T])
    grouped = grouped[grouped.sum(axis=1) > 0]
    p_value = float(chi2_contingency(grouped.to_numpy()).pvalue) if len(grouped) > 1 else 1.0
    return DriftTest(
        what="script",
        test="share in another script",
        value=float((shares["theirs"] - shares["ours"]).clip(lower=0).sum()),
        limit=policy.script_shift_threshold,
        p_value=p_value,
        drifted=False,
        reference=_largest_shares(shares["ours"]),
        current=_largest_shares(shares["theirs"]),
    )


def _largest_shares(shares: pd.Series) -> str:
    first: Iterable[tuple[object, float]] = shares[shares > 0].sort_values(ascending=False)[:3].items()
    return ", ".join(f"{script} {100 * share:.0f} %" for script, share in first)
