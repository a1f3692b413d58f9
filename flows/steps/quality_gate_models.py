"""The models that the gate uses beside its text rules: champion and text-quality model, or a pretrained tower."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from prefect import get_run_logger

from entityclip.data.pairs import digest
from entityclip.data.rights import read_rights
from entityclip.errors import CheckpointError, ConfigError, DataError
from entityclip.evaluation.promotion import judge_flaw
from entityclip.explanations.config import GenerationConfig
from entityclip.paths import Layout
from entityclip.quality.claims.agreement import NOT_REVIEWED, reviewed_claims
from entityclip.quality.claims.vocabulary import read_vocabulary
from entityclip.quality.review import read_reviews
from entityclip.quality.text_quality_model import TextQualityModel
from entityclip.schemas import EvalReport
from entityclip.settings import WorkspaceConfig, read_config
from expectations.gate_scorers import NO_CHAMPION, NO_CLAIM_MODEL, GateScorers
from flows.workspace import registry

if TYPE_CHECKING:
    from entityclip.model.checkpoint import LoadedModel
    from entityclip.quality.claims.claim_model import ClaimModel
    from entityclip.quality.claims.second_reader import SecondReader
    from entityclip.quality.tower_pictures import PretrainedTower


def gate_scorers(layout: Layout, *, floors: bool = True, judge_first_batch: bool = True) -> GateScorers:
    """The champion, its text-quality model, its limits for claims and the domain's rules; what does not exist yet is
    left out.

    Args:
        layout: The workspace.
        floors: Whether the champion must reach ``gate.min_judge_score`` and be above chance.
        judge_first_batch: Whether a pretrained tower stands in where no champion does.

    Raises:
        ConfigError: The settings name a backbone that is not on this machine.
    """
    settings = read_config(layout.config)
    domain = settings.explain.rules if isinstance(settings.explain, GenerationConfig) else None
    champion, why = _champion(layout, min_score=settings.gate.min_judge_score if floors else None)
    tower = _tower(layout, settings) if judge_first_batch else None
    most = settings.gate.max_exchanged_texts
    reader = _second_reader(layout, settings) if most else None
    reviewed = reviewed_claims(read_reviews(layout.reviews), layout.checked_claims()) if reader else NOT_REVIEWED
    if champion is None:
        return GateScorers(
            domain=domain,
            no_champion=why,
            tower=tower,
            max_exchanged_texts=most,
            second_reader=reader,
            vocabulary=read_vocabulary(layout.attributes),
            reviewed=reviewed,
        )
    return GateScorers(
        champion,
        _text_quality_model(champion, layout),
        domain,
        tower=tower,
        claim_model=_claim_model(champion, layout, most_texts=most, tower=tower) if most else None,
        no_claims=NO_CLAIM_MODEL if most else "gate.max_exchanged_texts is 0",
        max_exchanged_texts=most,
        second_reader=reader,
        vocabulary=read_vocabulary(layout.attributes) if reader else None,
        reviewed=reviewed,
    )


def _second_reader(layout: Layout, settings: WorkspaceConfig) -> SecondReader | None:
    if settings.gate.second_reader is None:
        return None
    from entityclip.quality.claims.second_reader import SecondReader

    return SecondReader(settings.gate.second_reader, layout.ledger, read_rights(layout.pairs_suite))


def _tower(layout: Layout, settings: WorkspaceConfig) -> PretrainedTower | None:
    """The image tower of the backbone; None where the settings or this machine have none."""
    if not settings.gate.judge_first_batch:
        return None
    import torch

    from entityclip.quality.tower_pictures import tower_at_hand

    device: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
    return tower_at_hand(settings.backbones, layout.tower_vectors, device=device)


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


def _claim_model(
    champion: LoadedModel, layout: Layout, *, most_texts: int, tower: PretrainedTower | None
) -> ClaimModel | None:
    """The champion's limits for claims: set once per champion, list of words and limit of texts, on the data version
    before this batch.

    ``reports/attributes.yaml`` has the words, to be copied to the workspace's rules and edited; those are then taken as
    they are.
    """
    from entityclip.quality.claims.claim_model import ClaimModel, fit_claim_model
    from entityclip.quality.claims.vocabulary import PACKAGED

    own = layout.attributes.exists()
    words = digest((layout.attributes if own else PACKAGED).read_bytes())
    known = ClaimModel.read(layout.claim_limits)
    inputs = (champion.card.fingerprint, words, most_texts, tower.fingerprint if tower else "")
    if known is not None and (known.judge, known.words, known.most_texts, known.tower) == inputs:
        return known
    try:
        vocabulary = read_vocabulary(layout.attributes)
        learned = fit_claim_model(
            champion, layout.data, vocabulary=vocabulary, words=words, mine=not own, most_texts=most_texts, tower=tower
        )
    except DataError as error:
        get_run_logger().warning("the champion's limits for claims cannot be set: %s", error)
        return None
    learned.write(layout.claim_limits)
    learned.vocabulary.write_yaml(layout.mined_attributes)
    return learned
