"""What looks at texts beside the rules on words: a model, its idea of sound texts, and the domain's own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from entityclip.data import pairs
from entityclip.explanations.rules import DomainRules, broken_rules
from entityclip.paths import DataLayout
from entityclip.quality import score_explanations
from entityclip.quality.text_quality_model import SoundnessModel
from expectations.suites import Need

if TYPE_CHECKING:
    from entityclip.model.checkpoint import LoadedModel

NO_CHAMPION = "no model is in service that could look at the pictures"
NO_SOUNDNESS = "nobody has learned yet what sound texts look like to the model in service"


class Judges(NamedTuple):
    """None for what is not there; the rules that need it are then skipped, and the report says so."""

    champion: LoadedModel | None = None
    """Looks whether texts fit the pictures. It must not have learned from a batch that nobody has judged."""
    soundness: SoundnessModel | None = None
    """What sound texts look like to the champion; says nothing without one."""
    domain: DomainRules | None = None
    """What the workspace asks of texts; where there is none, nothing is asked."""
    no_champion: str = NO_CHAMPION
    """Why there is no champion, where there is none."""

    @property
    def missing(self) -> dict[Need, str]:
        """What rules may need and is not there, with the reason."""
        if self.champion is None:
            return {"champion": self.no_champion, "soundness": self.no_champion}
        return {} if self.soundness else {"soundness": NO_SOUNDNESS}

    def score(self, written: pd.DataFrame, staging: DataLayout) -> pd.DataFrame:
        """Every score that can be had; ``unsound`` holds the probability of texts that are below the threshold."""
        entities, source_provided = pairs.read_frame(staging.entities), pairs.read_frame(staging.source_provided)
        scored = score_explanations(written, entities, source_provided=source_provided, broken_rule=self._broken_rule)
        if self.champion is None:
            return scored
        from entityclip.quality.model_scores import judged  # loads torch, and rules on words alone do not need it

        scored = judged(self.champion, scored, staging)
        if self.soundness is None:
            return scored
        likely = self.soundness.probability(scored)
        said = likely.map("{:.3f}".format).astype("str")
        return scored.assign(soundness=likely, unsound=said.where(likely < self.soundness.threshold))

    def _broken_rule(self, text: str, _: str) -> str | None:
        """The domain's rules that a text breaks, with what is wrong; None where it breaks none."""
        broken = broken_rules(text, self.domain) if self.domain else {}
        return "; ".join(f"{rule}: {why}" for rule, why in broken.items()) or None


NOBODY = Judges()
"""Rules on words alone."""
