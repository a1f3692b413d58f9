"""The scorers of texts besides the rules on words: champion, text-quality model, and the rules of the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from entityclip.data import pairs
from entityclip.explanations.rules import DomainRules, broken_rules
from entityclip.paths import DataLayout
from entityclip.quality import score_explanations
from entityclip.quality.text_quality_model import TextQualityModel
from expectations.suites import Need

if TYPE_CHECKING:
    from entityclip.model.checkpoint import LoadedModel

NO_CHAMPION = "no model is in service to compare texts with pictures"
NO_TEXT_QUALITY_MODEL = "no text-quality model has been trained yet for the model in service"


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

    @property
    def missing(self) -> dict[Need, str]:
        """Each missing scorer, with the reason."""
        if self.champion is None:
            return {"champion": self.no_champion, "text_quality": self.no_champion}
        return {} if self.text_quality else {"text_quality": NO_TEXT_QUALITY_MODEL}

    def score(self, written: pd.DataFrame, staging: DataLayout) -> pd.DataFrame:
        """All scores that the scorers can compute; ``low_text_quality`` holds probabilities below the threshold."""
        entities, source_provided = pairs.read_frame(staging.entities), pairs.read_frame(staging.source_provided)
        scored = score_explanations(written, entities, source_provided=source_provided, broken_rule=self._broken_rule)
        if self.champion is None:
            return scored
        from entityclip.quality.model_scores import (
            score_with_model,  # loads torch, which rules on words do not need
        )

        scored = score_with_model(self.champion, scored, staging)
        if self.text_quality is None:
            return scored
        likely = self.text_quality.probability(scored)
        shown = likely.map("{:.3f}".format).astype("str")
        return scored.assign(text_quality=likely, low_text_quality=shown.where(likely < self.text_quality.threshold))

    def _broken_rule(self, text: str, _: str) -> str | None:
        """The domain rules that a text breaks, with the reasons; None where it breaks none."""
        broken = broken_rules(text, self.domain) if self.domain else {}
        return "; ".join(f"{rule}: {why}" for rule, why in broken.items()) or None


TEXT_RULES_ONLY = GateScorers()
"""Rules on words alone."""
