"""The last step of the retraining: the run's page and summary."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from bentos.build.example import serve_command
from entityclip.data.label_lines import read_label_lines
from entityclip.data.pairs import read_frame
from entityclip.paths import DataLayout, Layout
from entityclip.reports.examples import draw_examples
from entityclip.reports.near_duplicates import similar_pairs
from entityclip.reports.run_report import (
    LabelSummary,
    ReportContent,
    RunFacts,
    StageFact,
    slice_table,
    write_report,
)
from entityclip.retrieval.label_vocabulary import LabelVocabulary
from entityclip.schemas import Record, ReleaseCost
from flows.platform.notifications import tell_verdict
from flows.steps.data import Prepared
from flows.steps.model import TrainedModel, losses
from flows.steps.release import ReleaseOutcome

LABELLED, LABEL_WORDS = 30, 8
"""Entities on the page with words on their labels, and words of each, at most."""
COSTS = 6
"""Releases on the page with their cost, at most."""


class Retrained(Record):
    """Result of one retraining."""

    report: Path
    recall: str
    serve: str | None
    version: str | None
    stages: tuple[StageFact, ...]
    refused: tuple[str, ...] = ()
    """Reasons of a refusal; empty if the challenger was not refused."""


@task(cache_policy=NO_CACHE)
def show(
    layout: Layout,
    prepared: Prepared,
    trained: TrainedModel,
    released: ReleaseOutcome,
    costs: tuple[ReleaseCost, ...],
) -> Retrained:
    """Write the run's page and summarize the run. If every step was reused, the page stays as it is."""
    run = layout.run(trained.run)
    stages = (*prepared.stages, *trained.stages, *released.stages)
    serve = serve_command(released.bento) if released.bento else None
    changed = any(not stage.reused for stage in stages if stage.name != "source")  # which is read every time
    if changed or not run.report.is_file():
        _write_page(layout, prepared, trained, released, stages=stages, serve=serve, costs=costs)
    if not any(stage.name == "promote" and stage.reused for stage in stages):
        tell_verdict(layout, released.decision, version=released.release.version if released.release else None)
    create_link_artifact(key="report", link=run.report.as_uri(), link_text="The run's page: recall, loss, hits, misses")
    return Retrained(
        report=run.report,
        recall=slice_table(trained.evaluation),
        serve=serve,
        version=released.release.version if released.release else None,
        stages=stages,
        refused=_refused(released),
    )


def _refused(released: ReleaseOutcome) -> tuple[str, ...]:
    if not released.decision.promoted:
        return released.decision.reasons
    return () if released.serving_check is None or released.serving_check.certified else released.serving_check.reasons


def _write_page(
    layout: Layout,
    prepared: Prepared,
    trained: TrainedModel,
    released: ReleaseOutcome,
    *,
    stages: tuple[StageFact, ...],
    serve: str | None,
    costs: tuple[ReleaseCost, ...],
) -> None:
    run = layout.run(trained.run)
    queries = pd.read_parquet(run.queries)
    content = ReportContent(
        facts=RunFacts(
            finished=datetime.now(UTC),
            stages=stages,
            data_hash=prepared.version.data_hash,
            model_fingerprint=trained.card.fingerprint,
        ),
        ingest=prepared.ingest,
        quality=prepared.quality,
        evaluation=trained.evaluation,
        queries=queries,
        losses=losses(run),
        similar=similar_pairs(layout.data),
        labels=label_summary(layout.data),
        examples=draw_examples(queries, layout.data, split=trained.evaluation.split),
        explanations=_explanations(layout, trained),
        decision=released.decision,
        release=released.release,
        sealed=released.sealed,
        costs=costs[-COSTS:],
        commands={"Serve the champion, then query it": serve} if serve else {},
    )
    write_report(run.report, content)


def _explanations(layout: Layout, trained: TrainedModel) -> dict[str, str]:
    """entity_id -> first text, of the products whose explanation is to be rewritten."""
    if trained.evaluation.improvements is None:
        return {}
    wanted = {poor.entity_id for poor in trained.evaluation.improvements.rewrite}
    texts = read_frame(layout.data.explanations, columns=["entity_id", "text"]).drop_duplicates("entity_id")
    return {entity: text for entity, text in texts.itertuples(index=False) if entity in wanted}


def label_summary(data: DataLayout) -> LabelSummary | None:
    """What was read on the pictures; None where labels were not read."""
    lines = read_label_lines(data)
    if lines is None:
        return None
    from entityclip.retrieval.picture_labels import label_words  # loads torch

    vocabulary = LabelVocabulary(label_words(data, split="train"), 1.0)
    names = read_frame(data.entities, columns=["entity_id", "entity"]).set_index("entity_id")["entity"]
    most = vocabulary.words.groupby("entity_id").size().sort_values(ascending=False, kind="stable").index[:LABELLED]
    return LabelSummary(
        pictures=len(lines),
        with_text=int((lines["lines"].map(len) > 0).sum()),
        entities=len(vocabulary.entities),
        words=[(str(names[entity]), vocabulary.words_of(str(entity), most=LABEL_WORDS)) for entity in most],
    )
