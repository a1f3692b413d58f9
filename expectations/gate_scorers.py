"""The scorers of texts besides the rules on words: the models that look at pictures, and the rules of the domain."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from entityclip.data import pairs
from entityclip.explanations.rules import DomainRules, broken_rules
from entityclip.paths import DataLayout
from entityclip.quality import score_explanations
from entityclip.quality.claims.agreement import NOT_REVIEWED, ReviewedClaims
from entityclip.quality.claims.claim_table import contradictions, unusual_claims
from entityclip.quality.printed_claims import not_on_label, printed_on
from entityclip.quality.text_quality_model import TextQualityModel
from expectations.suites import Need

if TYPE_CHECKING:
    from entityclip.model.checkpoint import LoadedModel
    from entityclip.quality.claims.claim_model import ClaimModel
    from entityclip.quality.claims.second_reader import SecondReader
    from entityclip.quality.claims.vocabulary import Vocabulary
    from entityclip.quality.model_scores import EntityPictures
    from entityclip.quality.tower_pictures import PretrainedTower

NO_CHAMPION = "no model is in service to compare texts with pictures"
NO_TEXT_QUALITY_MODEL = "no text-quality model has been trained yet for the model in service"
NO_CLAIM_MODEL = "no limits for claims have been set yet for the model in service"

_SEED = 0
_REMEDY = (
    "correct the texts, or set gate.judge_first_batch: false in entityclip.yaml if they are not about what can be seen"
)


class Scored(NamedTuple):
    """A table with its scores."""

    table: pd.DataFrame
    missing: Mapping[Need, str] = MappingProxyType({})
    """Each scorer without a result for this table, with the reason."""
    refusal: str = ""
    """Why the table as a whole cannot pass; empty where it can."""
    claims: pd.DataFrame | None = None
    """One row per claim of the texts, see ``claim_table.COLUMNS``; None where claims were not checked."""


class _Batch(NamedTuple):
    """What the scorers read beside the texts."""

    staging: DataLayout
    entities: pd.DataFrame
    source_provided: pd.DataFrame


class GateScorers(NamedTuple):
    """Scorers of the gate; None where one is missing. Rules that need it are then skipped, with the reason."""

    champion: LoadedModel | None = None
    """Compares texts with pictures. It must not have been trained on the batch that it scores."""
    text_quality: TextQualityModel | None = None
    """Fitted with the champion; not used without one."""
    domain: DomainRules | None = None
    """The workspace's own rules on texts."""
    no_champion: str = NO_CHAMPION
    """Reason why there is no champion."""

    tower: PretrainedTower | None = None
    """A pretrained image tower: it stands in for a champion, and reads pictures for the probes of claims."""
    claim_model: ClaimModel | None = None
    """Limits for claims, set for the champion; not used without one."""
    no_claims: str = NO_CLAIM_MODEL
    """Reason why there are none."""
    max_exchanged_texts: int = 20_000
    """Texts with an exchanged claim that are embedded at most."""
    second_reader: SecondReader | None = None
    """Reads claims beside the champion, or alone where there is none."""
    vocabulary: Vocabulary | None = None
    """Words that state a claim, where the champion has none; None: claims are then not checked."""
    reviewed: ReviewedClaims = NOT_REVIEWED
    """What people decided about texts, for their agreement with the readers."""

    def score(self, written: pd.DataFrame, staging: DataLayout) -> Scored:
        """All scores that the scorers can compute; ``low_text_quality`` holds the value of a text below the limit.

        ``not_on_label`` is a claim that no picture shows; it is empty where labels were not read.
        """
        batch = _Batch(staging, pairs.read_frame(staging.entities), pairs.read_frame(staging.source_provided))
        scored, printed = self._scored(written, batch), printed_on(staging)
        claims = None if printed is None else not_on_label(scored.table, batch.entities, batch.source_provided, printed)
        return scored._replace(table=scored.table.assign(not_on_label=claims))

    def _scored(self, written: pd.DataFrame, batch: _Batch) -> Scored:
        """All scores but those of labels."""
        scored = score_explanations(
            written, batch.entities, source_provided=batch.source_provided, broken_rule=self._broken_rule
        )
        if self.champion is None:
            return self._without_champion(scored, batch)
        # Loads torch, which rules on words do not need.
        from entityclip.quality.model_scores import embed_pictures, score_with_model

        pictures = embed_pictures(self.champion, batch.staging, set(scored["entity_id"]))
        scored = score_with_model(self.champion, scored, batch.staging, seen=pictures)
        missing: dict[Need, str] = {}
        claims = self._claims(scored, pictures, batch)
        claims = self._read_again(claims, scored, batch, why=self.no_claims)
        if claims is None:
            missing["claims"] = self.no_claims
        else:
            scored = _with_claims(scored, claims)
        if self.text_quality is None:
            return Scored(scored, {**missing, "text_quality": NO_TEXT_QUALITY_MODEL}, claims=claims)
        likely = self.text_quality.probability(scored)
        low = likely.map("{:.3f}".format).astype("str").where(likely < self.text_quality.threshold)
        return Scored(scored.assign(text_quality=likely, low_text_quality=low), missing, claims=claims)

    def _claims(self, scored: pd.DataFrame, pictures: EntityPictures, batch: _Batch) -> pd.DataFrame | None:
        """Every claim with its verdict; of a larger batch, those of ``max_exchanged_texts`` texts, which are drawn.

        None without limits for claims.
        """
        if self.champion is None or self.claim_model is None:
            return None
        from entityclip.quality.claims.claim_model import ClaimPictures, check_claims
        from entityclip.quality.claims.source_colours import checked_by_source

        most, drawn = self.max_exchanged_texts, self._drawn(len(scored))
        texts = scored.iloc[drawn]
        by_tower = None
        if self.tower is not None and self.claim_model.tower == self.tower.fingerprint:
            by_tower = self.tower.pictures(batch.staging, set(texts["entity_id"]))
        seen = ClaimPictures(pictures, by_tower)
        claims = check_claims(self.champion, self.claim_model, texts, batch.entities, seen, most_texts=most)
        claims = checked_by_source(claims, texts, batch.source_provided, self.claim_model.vocabulary)
        return claims.assign(position=drawn[claims["position"].to_numpy(dtype=np.int64)])

    def _drawn(self, texts: int) -> np.ndarray:
        """Positions of the texts whose claims are checked, of so many."""
        return np.sort(np.random.default_rng(_SEED).permutation(texts)[: self.max_exchanged_texts])

    def _read_again(
        self, claims: pd.DataFrame | None, scored: pd.DataFrame, batch: _Batch, *, why: str
    ) -> pd.DataFrame | None:
        """``claims`` as both readers see them; where the champion's limits are missing, as the second reader does."""
        if self.second_reader is None:
            return claims
        from entityclip.quality.claims.claim_model import unchecked_claims
        from entityclip.quality.claims.source_colours import checked_by_source

        if claims is None and self.vocabulary is not None:
            claims = unchecked_claims(scored, batch.entities, self.vocabulary, why=why)
            claims = checked_by_source(claims, scored, batch.source_provided, self.vocabulary)
        if claims is None:
            return None
        return self.second_reader.read(claims, scored, batch.staging, progress=True)

    def _without_champion(self, scored: pd.DataFrame, batch: _Batch) -> Scored:
        """By the pretrained tower and the second reader, where there are any."""
        missing: dict[Need, str] = dict.fromkeys(("champion", "text_quality", "claims"), self.no_champion)
        claims, found = None, None
        if self.tower is not None:
            from entityclip.quality.first_batch import judge_first_batch

            pictures = self.tower.pictures(batch.staging, set(scored["entity_id"]))
            found = judge_first_batch(scored, batch.entities, pictures)
            claims = self._first_run_claims(scored, pictures, batch)
        claims = self._read_again(claims, scored, batch, why=self.no_champion)
        if claims is not None:
            scored = _with_claims(scored, claims)
            del missing["claims"]
        if self.tower is None or found is None:
            return Scored(scored, missing, claims=claims)
        contrast = pd.Series(found.contrast, index=scored.index)
        scored = scored.assign(picture_contrast=contrast)
        if found.why_not:
            why = f"{self.no_champion}, and {self.tower.name} cannot stand in: {found.why_not}"
            refusal = found.unrelated and f"{found.unrelated}; {_REMEDY}"
            return Scored(scored, {**missing, "text_quality": why}, refusal, claims)
        low = contrast.map("{:.1f}".format).astype("str").where(contrast < found.limit)
        del missing["text_quality"]
        return Scored(scored.assign(low_text_quality=low), missing, claims=claims)

    def _first_run_claims(self, scored: pd.DataFrame, pictures: EntityPictures, batch: _Batch) -> pd.DataFrame | None:
        """The claims of the drawn texts, by what the pretrained tower sees; None where claims are off or the source has
        too few texts."""
        if self.vocabulary is None or self.max_exchanged_texts == 0:
            return None
        from entityclip.quality.claims.first_run import first_run_claims
        from entityclip.quality.claims.source_colours import checked_by_source

        drawn = self._drawn(len(scored))
        texts = scored.iloc[drawn]
        claims = first_run_claims(texts, batch.source_provided, batch.entities, pictures, self.vocabulary)
        if claims is None:
            return None
        claims = checked_by_source(claims, texts, batch.source_provided, self.vocabulary)
        return claims.assign(position=drawn[claims["position"].to_numpy(dtype=np.int64)])

    def _broken_rule(self, text: str, _: str) -> str | None:
        """The domain rules that a text breaks, with the reasons; None where it breaks none."""
        broken = broken_rules(text, self.domain) if self.domain else {}
        return "; ".join(f"{rule}: {why}" for rule, why in broken.items()) or None


def _with_claims(scored: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """``scored`` with the columns of the rules on claims."""
    return scored.assign(
        contradicted_claim=contradictions(claims, len(scored)).set_axis(scored.index),
        unusual_claim=unusual_claims(claims, len(scored)).set_axis(scored.index),
    )


TEXT_RULES_ONLY = GateScorers()
"""Rules on words alone."""
