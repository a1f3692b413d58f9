"""Limits of the evidence on the claims of one attribute, and verdicts by them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from entityclip.quality.claims.claim_table import ClaimVerdict
from entityclip.quality.claims.exchange import ExchangedClaim
from entityclip.quality.claims.logit import Logit
from entityclip.schemas import Record

LEAST_CAUGHT = 0.25
"""Of the exchanged claims of an attribute; of fewer, the model does not resolve the attribute."""
WRONGLY_SUPPORTED = 0.05
"""Largest share of the exchanged claims that count as supported."""


class AttributeLimits(Record):
    """The limits of one attribute in one language, and what they do on entities that they were not set on."""

    language: str
    attribute: str
    values: tuple[str, ...] = Field(description="What claims are exchanged for.")
    claims: int = Field(description="Claims that the limits are set on.")
    scales: tuple[float, ...] = Field(description="Log odds per unit of each fit.")
    constants: tuple[float, ...] = Field(description="Of each value, in log odds.")
    stated_at_once: int = Field(description="Different values that a sound text with the attribute states.")
    contradicted_below: float = Field(description="Evidence below which a claim is contradicted.")
    supported_above: float = Field(description="Evidence above which a claim is supported.")
    caught: float = Field(description="Share of exchanged claims that are contradicted, if no text leaves a value out.")
    false_alarms: float = Field(description="Share of sound texts with the attribute that are accused, likewise.")
    supported: float = Field(description="Share of sound claims that are supported.")

    @property
    def logit(self) -> Logit:
        """From fit to log odds."""
        return Logit(self.scales, dict(zip(self.values, self.constants, strict=True)))

    @property
    def unresolved(self) -> str:
        """Why no claim of this attribute can be checked; empty where they can."""
        if self.caught >= LEAST_CAUGHT:
            return ""
        return f"the model finds {self.caught:.0%} of the exchanged values of {self.attribute}"


class _Evidence(NamedTuple):
    """Evidence on the claims of one attribute."""

    sound: np.ndarray
    """(C,) as the text states it."""
    exchanged: np.ndarray
    """(C,) if the text stated another value, which is drawn."""


def limits_of(
    key: tuple[str, str],
    claims: list[ExchangedClaim],
    half: np.ndarray,
    *,
    stated_at_once: int,
    false_alarms: float,
    draw: np.random.Generator,
) -> AttributeLimits:
    """The limits of an attribute, set on all claims; its figures, each half by limits set on the other.

    Args:
        key: Language and attribute.
        claims: C exchanged claims of sound texts.
        half: (N,) 0 or 1 of every text.
        stated_at_once: Different values that a sound text with the attribute states.
        false_alarms: Largest share of sound texts that the limit accuses.
        draw: Draws what claims are exchanged for.
    """
    text = np.array([claim.stated.position for claim in claims])
    instead = [int(draw.integers(1, len(claim.fit))) for claim in claims]
    caught, accused, supported = np.zeros((3, len(claims)), dtype=bool)
    for held_out in (half[text] == 0, half[text] == 1):
        if held_out.all() or not held_out.any():
            continue
        logit = Logit.fitted([claim for claim, out in zip(claims, held_out, strict=True) if not out])
        found = _evidence(claims, instead, logit)
        below, above = _bounds(found, text, ~held_out, false_alarms)
        caught[held_out] = found.exchanged[held_out] < below
        accused[held_out] = found.sound[held_out] < below
        supported[held_out] = found.sound[held_out] > above
    logit = Logit.fitted(claims)
    below, above = _bounds(_evidence(claims, instead, logit), text, np.ones(len(claims), dtype=bool), false_alarms)
    return AttributeLimits(
        language=key[0],
        attribute=key[1],
        values=tuple(logit.constants),
        constants=tuple(logit.constants.values()),
        scales=logit.scales,
        claims=len(claims),
        stated_at_once=stated_at_once,
        contradicted_below=below,
        supported_above=above,
        caught=float(caught.mean()),
        false_alarms=float(pd.Series(accused).groupby(text).any().mean()),
        supported=float(supported.mean()),
    )


def _evidence(claims: list[ExchangedClaim], instead: list[int], logit: Logit) -> _Evidence:
    sound = [logit.evidence(claim)[0] for claim in claims]
    exchanged = [logit.evidence(claim, value)[0] for claim, value in zip(claims, instead, strict=True)]
    return _Evidence(np.array(sound), np.array(exchanged))


def _bounds(found: _Evidence, text: np.ndarray, rows: np.ndarray, false_alarms: float) -> tuple[float, float]:
    """The limits by some claims: below which one is contradicted, and above which it is supported."""
    lowest = pd.Series(found.sound[rows]).groupby(text[rows]).min()  # a text is accused by its worst claim
    below = min(0.0, float(lowest.quantile(false_alarms)))
    return below, max(below, float(np.quantile(found.exchanged[rows], 1 - WRONGLY_SUPPORTED)))


# ---------------------------------------------------------------- use
class ClaimFinding(NamedTuple):
    """What the pictures say about a claim."""

    verdict: ClaimVerdict
    reason: str
    evidence: float = np.nan
    """Log odds against the alternative ``best``."""
    best: str = ""


def verdict_on(claim: ExchangedClaim, limits: AttributeLimits | None, *, stated: int) -> ClaimFinding:
    """The verdict on a claim of a text that states so many different values of the attribute.

    A text that states fewer values than sound ones do leaves some out, which the pictures show as well: a text about
    the yellow handle of a red kettle, say. The best alternatives may then be true beside the claim, as many as it may
    have left out.
    """
    if limits is None:
        return ClaimFinding("not checkable", "the data have too few claims of this attribute to set a limit")
    if claim.reason:
        return ClaimFinding("not checkable", claim.reason)
    if claim.stated.claim.value not in limits.values:
        return ClaimFinding(
            "not checkable", limits.unresolved or "the data state this value too rarely to set a limit for it"
        )
    evidence, best = limits.logit.evidence(claim)
    if limits.unresolved:
        return ClaimFinding("not checkable", limits.unresolved, evidence, best)
    if evidence > limits.supported_above:
        return ClaimFinding("supported", "", evidence, best)
    if evidence >= limits.contradicted_below:
        return ClaimFinding(
            "not checkable", "the pictures fit it about as well as the best alternative", evidence, best
        )
    left_out = max(0, limits.stated_at_once - stated)
    if left_out < len(claim.values) - 1:
        surest, other = limits.logit.evidence(claim, better=left_out)
        if surest < limits.contradicted_below:
            return ClaimFinding("contradicted", f"the pictures fit {other!r} better", surest, other)
    return ClaimFinding(
        "not checkable", f"the pictures fit {best!r} better, which the text may have left out", evidence, best
    )
