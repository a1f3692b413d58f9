"""The models that the gate uses beside its text rules: the champion and its text-quality model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import get_run_logger

from entityclip.errors import CheckpointError, ConfigError, DataError
from entityclip.evaluation.promotion import judge_flaw
from entityclip.explanations.config import GenerationConfig
from entityclip.paths import Layout
from entityclip.quality.review import read_reviews
from entityclip.quality.text_quality_model import TextQualityModel
from entityclip.schemas import EvalReport
from entityclip.settings import read_config
from expectations.gate_scorers import NO_CHAMPION, GateScorers
from flows.workspace import registry

if TYPE_CHECKING:
    from entityclip.model.checkpoint import LoadedModel


def gate_scorers(layout: Layout, *, floors: bool = True) -> GateScorers:
    """The champion, its text-quality model and the domain's rules; what does not exist yet is left out.

    Args:
        layout: The workspace.
        floors: Whether the champion must reach ``gate.min_judge_score`` and be above chance.
    """
    settings = read_config(layout.config)
    domain = settings.explain.rules if isinstance(settings.explain, GenerationConfig) else None
    champion, why = _champion(layout, min_score=settings.gate.min_judge_score if floors else None)
    if champion is None:
        return GateScorers(domain=domain, no_champion=why)
    return GateScorers(champion, _text_quality_model(champion, layout), domain)


def _champion(layout: Layout, *, min_score: float | None) -> tuple[LoadedModel | None, str]:
    """The champion's model; None and the reason if there is none, it cannot be loaded, or it is too weak."""
    current = registry.champion(layout)
    if current is None:
        return None, NO_CHAMPION
    copy = registry.fetch_release(layout, current.version)
    if min_score is not None:
        flaw = judge_flaw(EvalReport.read(copy.report("evaluation")), min_score=min_score)
        if flaw:
            return None, f"{current.version} is too weak to judge texts: {flaw}"
    from entityclip.model import checkpoint  # loads torch: imported only when needed, as below

    try:
        return checkpoint.load(copy.model), ""
    except CheckpointError as error:
        return None, f"{current.version} cannot judge this batch: {error}"


def _text_quality_model(champion: LoadedModel, layout: Layout) -> TextQualityModel | None:
    """The champion's text-quality model: fitted once per champion, on the data version before this batch."""
    known = TextQualityModel.read(layout.text_quality)
    if known is not None and known.learned_from.get("judge") == champion.card.fingerprint:
        return known
    from entityclip.quality.fit_text_quality import fit_text_quality

    try:
        learned = fit_text_quality(champion, layout.data, reviews=read_reviews(layout.reviews))
    except (ConfigError, DataError) as error:
        get_run_logger().warning("the text-quality model of the champion cannot be fitted: %s", error)
        return None
    learned.write(layout.text_quality)
    return learned
