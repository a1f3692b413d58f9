"""Designs of writers at the gate: its rules on their texts, and the model that checks claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError
from entityclip.experiments.writer_designs.comparison import JudgedDesign, stated_claims
from entityclip.experiments.writer_designs.designs import DesignTexts
from entityclip.experiments.writer_designs.recall import found_entities
from entityclip.paths import CheckpointLayout, DataLayout, DesignsLayout, Layout
from entityclip.quality.claims.vocabulary import Vocabulary, read_vocabulary
from entityclip.quality.model_scores import EntityPictures, embed_pictures
from expectations.check import GateScorers, copy_context
from expectations.suites import POSITION, validate

if TYPE_CHECKING:
    from entityclip.model.checkpoint import LoadedModel

CONTEXT = 500
"""Other entities, of the categories of the sample, whose texts the rules compare with."""


class JudgedSample(NamedTuple):
    """Every design at the gate."""

    designs: list[JudgedDesign]
    not_computed: list[str]
    """Rules and measures without a result, with the reason."""
    champion: str
    """Fingerprint of the model that checked claims; '' where there is none."""
    vocabulary: Vocabulary
    """Words that state a claim."""
    release: str = ""
    """Of that model, where it is the champion of the workspace."""
    tower: str = ""
    """Name of the pretrained tower that checked claims, where there is no such model."""


def judge_designs(
    written: Sequence[DesignTexts],
    data: DataLayout,
    sample: Sequence[str],
    scorers: GateScorers,
    *,
    context_root: Path,
    vocabulary: Vocabulary,
) -> JudgedSample:
    """Apply the gate's rules on texts to each design; the pairs of the data are not validated.

    Args:
        written: What the designs wrote.
        data: Where the entities and their pictures are. If it has explanations, those of other entities take part where
            a rule compares texts with each other.
        sample: Ids of the entities.
        scorers: Models of the gate.
        context_root: Project root of the Great Expectations context with the rules.
        vocabulary: Words that state a claim, where the scorers have none.
    """
    if scorers.claim_model is not None:
        vocabulary = scorers.claim_model.vocabulary
    others, entities = _other_texts(data, sample), pairs.read_frame(data.entities)
    pictures = None if scorers.champion is None else _validation_pictures(scorers.champion, data, sample)
    why_not: dict[str, dict[str, None]] = {}
    judged = []
    for design in written:
        texts = pd.concat([design.texts, others], ignore_index=True)
        scored = scorers.score(texts, data)
        verdict = validate(scored.table, suite="explanations", context_root=context_root, missing=scored.missing)
        for rule in verdict.rules:
            if why := rule.skipped or rule.error:
                why_not.setdefault(why, {})[rule.rule] = None
        count = len(design.texts)
        hits = None
        if scorers.champion is not None and pictures is not None:
            hits = found_entities(scorers.champion, design.texts, entities, pictures)
        judged.append(
            JudgedDesign(
                design,
                words=scored.table["words"].tolist()[:count],
                broken=verdict.broken[verdict.broken[POSITION] < count],
                stated=stated_claims(design.texts, vocabulary),
                claims=None if scored.claims is None else scored.claims[scored.claims["position"] < count],
                hits=hits,
            )
        )
    if pictures is None:
        why = scorers.no_champion if scorers.champion is None else "the sample has no validation pictures"
        why_not.setdefault(why, {})["R@1"] = None
    by_tower = scorers.champion is None and any(one.claims is not None for one in judged)
    fingerprint = "" if scorers.champion is None else scorers.champion.card.fingerprint
    return JudgedSample(
        judged,
        [f"{', '.join(rules)}: {why}" for why, rules in why_not.items()],
        fingerprint,
        vocabulary,
        tower=scorers.tower.name if by_tower and scorers.tower else "",
    )


def _other_texts(data: DataLayout, sample: Sequence[str]) -> pd.DataFrame:
    """Texts of entities beside the sample; none where the data have none."""
    if not data.explanations.is_dir():
        return pairs.EXPLANATIONS.empty_table().to_pandas()
    entities = pairs.read_frame(data.entities, columns=["entity_id", "category"])
    inside, category = entities["entity_id"].isin(sample), entities["category"].fillna("")
    candidates = entities.loc[category.isin(category[inside]) & ~inside, "entity_id"].drop_duplicates()
    drawn = sorted(candidates, key=lambda entity: pairs.digest("context", entity))[:CONTEXT]
    texts = pairs.read_frame(data.explanations)
    return texts[texts["entity_id"].isin(drawn)]


def _validation_pictures(model: LoadedModel, data: DataLayout, sample: Sequence[str]) -> EntityPictures | None:
    """Pictures of the sample that the model was not trained on; None without any."""
    found = embed_pictures(model, data, set(sample), splits=("val",))
    return found if found.owners else None


# ---------------------------------------------------------------- models and rules
def scorers_of(layout: Layout, data: DataLayout, checkpoint: Path | None) -> GateScorers:
    """Those of the workspace's champion; or ``checkpoint``, with limits that the explanations of ``data`` set.

    Raises:
        DataError: There is a checkpoint, and ``data`` has no explanations.
    """
    if checkpoint is None:
        if not layout.rules.is_dir():
            return GateScorers(no_champion=f"{layout.root} is no workspace with a champion; name one, or --checkpoint")
        from prefect.logging import disable_run_logger

        from flows.steps.quality_gate_models import gate_scorers

        with disable_run_logger():  # this is no run
            return gate_scorers(layout)._replace(second_reader=None)  # costs tokens
    from entityclip.model.checkpoint import load
    from entityclip.quality.claims.claim_model import fit_claim_model
    from entityclip.quality.fit_text_quality import fit_text_quality

    if not data.explanations.is_dir():
        raise DataError(
            f"{data.root}: no explanations to set the model's limits by; run: entityclip explain {data.root}"
        )
    model = load(CheckpointLayout(checkpoint))
    limits = fit_claim_model(model, data, vocabulary=read_vocabulary(layout.attributes))
    try:
        quality = fit_text_quality(model, data)
    except ConfigError:  # too few texts; the rule that needs it is skipped
        quality = None
    return GateScorers(model, quality, claim_model=limits)


def release_of_judge(layout: Layout, checkpoint: Path | None) -> str:
    """Version of the champion that judges; '' where ``checkpoint`` does, or where there is no champion."""
    if checkpoint is not None or not layout.rules.is_dir():
        return ""
    from flows.workspace import registry

    current = registry.champion(layout)
    return current.version if current else ""


def rules_of(layout: Layout, target: DesignsLayout) -> Path:
    """Project root of the workspace's rules; where it has none, of a copy of the package's."""
    if layout.rules.is_dir():
        return layout.expectations
    copy_context(target.expectations)
    return target.expectations
