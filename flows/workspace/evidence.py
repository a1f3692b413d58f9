"""The files of a workspace that the value report reads, each from its commit or from the workspace itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from entityclip.data.pairs import read_frame
from entityclip.errors import EntityClipError, WorkspaceError
from entityclip.experiments.learning_curve import LearningCurve
from entityclip.explanations import Ledger
from entityclip.paths import Layout
from entityclip.quality.review import read_reviews
from entityclip.reports.value.figures import SourceFile
from entityclip.reports.value.readings import ReleaseEvidence
from entityclip.reports.words import Language
from entityclip.schemas import Release, release_costs
from flows.workspace.criteria import CommittedCriteria
from flows.workspace.registry import champion, release_of
from flows.workspace.repository import Repository


def reported_release(layout: Layout, version: str | None) -> Release:
    """The release to report on: the named one, or the champion.

    Raises:
        WorkspaceError: There is no such release, or no champion yet.
    """
    found = champion(layout) if version is None else release_of(layout, version)
    if found is None:
        raise WorkspaceError(
            f"{layout.root}: no release is the champion; run the pipeline until one is promoted (entityclip run), or "
            "name one with --release"
        )
    return found


def gather(layout: Layout, release: Release, committed: CommittedCriteria) -> ReleaseEvidence:
    """Everything on record about a release.

    Raises:
        WorkspaceError: The release has no evaluation.
    """
    source, preset = source_and_preset(layout, release)
    run = "entityclip run" + (f" --source {source} --preset {preset}" if source and preset else "")
    evaluation = _committed(layout, layout.report("evaluation"), release.commit, command=run)
    if evaluation is None:
        raise WorkspaceError(f"{layout.root}: {release.version} has no reports/evaluation.json; run the pipeline again")
    return ReleaseEvidence(
        criteria=SourceFile(
            name=layout.criteria.name,
            content=yaml.safe_load(committed.text),
            commit=committed.commit,
            command="entityclip value-report --criteria criteria.yaml --commit",
        ),
        evaluation=evaluation,
        promotion=_committed(layout, layout.report("promotion"), release.commit, command=run),
        quality=_committed(layout, layout.report("quality"), release.commit, command=run),
        serving_check=_committed(layout, layout.serving_check(release.version), "HEAD", command=run),
        ledger=_ledger(layout, release, command=run),
        learning_curve=_learning_curve(layout, evaluation),
        reviews=_reviews(layout),
        metrics=_metrics(layout, command=run),
    )


def source_and_preset(layout: Layout, release: Release) -> tuple[str, str]:
    """Source of a release's data and preset of its training, like catalog and tiny; both '' if not on record."""
    text = Repository(layout.root).committed(layout.source, commit=release.commit)
    found = json.loads(text) if text else {}
    return found.get("source", ""), found.get("preset", "")


def main_language(layout: Layout) -> Language:
    """Japanese where most entities of the data are, else English."""
    try:
        languages = read_frame(layout.data.entities, columns=["language"])["language"]
    except (EntityClipError, OSError):  # the data are not on this machine
        return "en"
    return "ja" if (languages == "ja").mean() > 0.5 else "en"


def _name(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.root).as_posix()


def _committed(layout: Layout, path: Path, commit: str, *, command: str) -> SourceFile | None:
    repository = Repository(layout.root)
    text = repository.committed(path, commit=commit)
    if text is None:
        return None
    known = repository.git("rev-parse", commit)
    return SourceFile(name=_name(layout, path), content=json.loads(text), commit=known, command=command)


def _ledger(layout: Layout, release: Release, *, command: str) -> SourceFile | None:
    if not layout.ledger.exists():
        return None
    with Ledger(layout.ledger) as ledger:
        spent, costs = ledger.spent(), release_costs(ledger.readings())
    content: dict[str, Any] = {f"total({name})": value for name, value in spent.model_dump().items()}
    for cost in costs:
        if cost.release == release.version:
            content["release"] = cost.model_dump()
    return SourceFile(name=_name(layout, layout.ledger), content=content, command=command)


def _learning_curve(layout: Layout, evaluation: SourceFile) -> SourceFile | None:
    """The curve that was measured with the settings of this release; None where there is none."""
    path = layout.learning_curve.curve
    curve = LearningCurve.read(path)
    if curve is None or curve.epochs is not None or curve.model != evaluation.content["model_fingerprint"]:
        return None
    found = curve.model_dump(mode="json")
    return SourceFile(name=_name(layout, path), content=found, command="entityclip learning-curve")


def _reviews(layout: Layout) -> SourceFile | None:
    if not layout.reviews.exists():
        return None
    minutes = sum(review.minutes for review in read_reviews(layout.reviews))
    name = _name(layout, layout.reviews)
    return SourceFile(name=name, content={"total(minutes)": minutes}, command="entityclip review")


def _metrics(layout: Layout, *, command: str) -> SourceFile | None:
    """Metrics of the last run, by the lines that hold them."""
    path = layout.metrics("retrain")
    if not path.exists():
        return None
    content: dict[str, float] = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            content[f"{sample.name}{{{labels}}}"] = sample.value
    return SourceFile(name=_name(layout, path), content=content, command=command)
