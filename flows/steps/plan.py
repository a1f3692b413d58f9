"""The plan of a run: for every step, whether it would run or be reused, and why.

It calls the functions that a run calls to decide this, and writes nothing: no file, no commit, no run.
"""

from __future__ import annotations

from collections.abc import Iterator

from entityclip import training
from entityclip.errors import PackagingError
from entityclip.explanations import open_writer
from entityclip.model.checkpoint_card import CheckpointCard, read_card
from entityclip.paths import Layout, RunLayout
from entityclip.reports.run_report import StageFact
from entityclip.schemas import Release
from entityclip.settings import read_config
from entityclip.training.presets import Preset
from flows.steps import data, deploy_release, model, release
from flows.workspace.registry import champion, release_of
from flows.workspace.source import WorkspaceSource
from flows.workspace.versions import released


def plan(layout: Layout, preset: Preset, origin: WorkspaceSource) -> tuple[StageFact, ...]:
    """Every step of a run with these settings, in order.

    Raises:
        EntityClipError: The run could not start: an unknown setting, a source that cannot be read.
    """
    return tuple(_steps(layout, preset, origin))


def _steps(layout: Layout, preset: Preset, origin: WorkspaceSource) -> Iterator[StageFact]:
    prepared, why = _prepared(layout, preset, origin)
    yield from (_step(name, why, reused=prepared is not None) for name in data.stages(layout))
    if prepared is None:
        yield _step("train", _with_backbone("depends on the data version", preset), reused=False)
        yield from _waiting((*model.STAGES[1:], *release.STAGES), "depends on the data version")
    else:
        yield from _learned(layout, preset, prepared.version.data_hash)


def _prepared(layout: Layout, preset: Preset, origin: WorkspaceSource) -> tuple[data.Prepared | None, str]:
    if not layout.config.exists() or not layout.rules.exists():
        return None, f"{layout.root}: there is no workspace yet; the first run creates it"
    if missing := origin.missing(layout):
        return None, missing
    source = data.source_of(layout, origin, progress=False)
    settings = read_config(layout.config)
    writer = open_writer(settings.explain, ledger=layout.ledger)
    return data.kept_data(layout, data.data_inputs(layout, preset, source, writer, settings))


def _learned(layout: Layout, preset: Preset, data_hash: str) -> Iterator[StageFact]:
    inputs = training.run_inputs(preset.train, data_hash=data_hash)
    run = layout.run(inputs.key)
    trained, why = model.trained_before(layout, inputs)
    yield _step("train", why if trained else _with_backbone(why, preset), reused=trained)
    if not trained:
        yield from _waiting((*model.STAGES[1:], *release.STAGES), "depends on the trained model")
        return
    card = read_card(run.checkpoint)
    if not model.calibrated(card):
        what = "open-set rule" if card.mixture else "calibrated mix"
        yield _step("calibrate", f"the model card has no {what} yet", reused=False)
        yield from _waiting((*model.STAGES[2:], *release.STAGES), "depends on the calibrated model")
        return
    yield _step("calibrate", model.CALIBRATED, reused=True)
    evaluation, why = model.evaluated_before(run, card)
    yield _step("evaluate", why, reused=evaluation is not None)
    if evaluation is None:
        yield from _waiting(release.STAGES, "depends on the evaluation")
    else:
        yield from _released(layout, run, card, floors=preset.floors)


def _released(layout: Layout, run: RunLayout, card: CheckpointCard, *, floors: bool) -> Iterator[StageFact]:
    decision, why = release.decided_before(layout, run, card, floors=floors)
    yield _step("promote", why, reused=decision is not None)
    if decision is None:
        yield from _waiting(release.STAGES[1:], "depends on the comparison with the champion")
        return
    version = released(layout, card.fingerprint) if decision.promoted else None
    current = champion(layout)
    if decision.promoted and (version is None or release.awaits_promotion(layout, release_of(layout, version))):
        certified = (
            version is not None and deploy_release.certified_before(layout, release_of(layout, version)) is not None
        )
        why = f"{version or 'the promoted model'} has not become the champion yet"
        yield from (
            _step(name, release.CERTIFIED if certified else why, reused=certified) for name in release.STAGES[1:]
        )
    elif current is not None:
        yield from _ready(layout, current)


def _ready(layout: Layout, current: Release) -> Iterator[StageFact]:
    try:
        bento, why = release.packaged_before(layout, current)
    except PackagingError as error:  # a run would end with it
        bento, why = None, str(error)
    yield _step("package", why, reused=bento is not None)
    if bento is None:
        yield from _waiting(("smoke",), "a newly built Bento is smoke-tested")
    else:
        tested, why = release.smoke_tested_before(layout, current)
        yield _step("smoke", why, reused=tested is not None)


def _with_backbone(why: str, preset: Preset) -> str:
    """Why the model is trained, and what it starts from."""
    return ". ".join(filter(None, (why, preset.train.backbone)))


def _step(name: str, why: str, *, reused: bool) -> StageFact:
    return StageFact(name=name, seconds=0.0, reused=reused, reason=why)


def _waiting(names: tuple[str, ...], why: str) -> Iterator[StageFact]:
    return (_step(name, why, reused=False) for name in names)
