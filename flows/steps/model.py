"""Second part of the retraining: train on a data version, calibrate, evaluate.

Imports that load torch are inside functions, so that a run that reuses everything does not wait for them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
from dvclive import Live
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from entityclip import training
from entityclip.data.cache_key import Inputs
from entityclip.data.pairs import evaluation_split
from entityclip.errors import CheckpointError
from entityclip.model.checkpoint_card import CheckpointCard, read_card, verify
from entityclip.paths import Layout, RunLayout
from entityclip.reports.run_report import StageFact
from entityclip.schemas import EvalReport, Record
from entityclip.storage import atomic_path
from entityclip.training import TrainConfig
from flows.steps.artifacts import show_evaluation
from flows.steps.stage_timer import StageTimer
from flows.workspace.locks import device_lease

if TYPE_CHECKING:
    from entityclip.training.trainer import Report

STAGES = ("train", "calibrate", "evaluate")
CALIBRATED = "the card carries mixture, thresholds and the open-set rule"


class TrainedModel(Record):
    """A trained and evaluated model."""

    run: str
    card: CheckpointCard
    evaluation: EvalReport
    stages: tuple[StageFact, ...]


@task(cache_policy=NO_CACHE)
def train_model(
    config: TrainConfig, layout: Layout, run: RunLayout, data_hash: str, *, processes: int
) -> CheckpointCard:
    """Train, or resume a killed run, here or in several processes; DVCLive writes the metrics after every epoch."""
    if not run.checkpoint.card.is_file():
        from entityclip.training.launch import launch, require_devices

        require_devices(config.device, processes)
        with device_lease(layout, config.device, processes=processes):
            if processes == 1:
                fit_recorded(config, layout, run, data_hash)
            else:
                launch(fit_recorded, config, layout, run, data_hash, processes=processes)
    return read_card(run.checkpoint)


def fit_recorded(config: TrainConfig, layout: Layout, run: RunLayout, data_hash: str) -> None:
    """Train on ``data/``, alone or together with the processes that call it too; the first one keeps the record."""
    from entityclip.training.devices import join
    from entityclip.training.trainer import fit, silent

    with _recorded(run) if join(config).is_main_process else nullcontext(silent) as report:
        fit(config, data=layout.data, data_hash=data_hash, run=run, report=report, decoded=layout.decoded)


@contextmanager
def _recorded(run: RunLayout) -> Iterator[Report]:
    """What writes an epoch into DVCLive's record of the run."""
    with _live(run) as live:

        def report(epoch: int, terms: dict[str, float]) -> None:
            live.step = epoch
            for name, value in terms.items():
                live.log_metric(name, value)
            live.make_summary()

        yield report


@task(cache_policy=NO_CACHE)
def calibrate_model(layout: Layout, run: RunLayout) -> CheckpointCard:
    """Calibrate mixture, thresholds, open-set rule and re-ranking weight on validation pictures, for the card."""
    from entityclip.evaluation.calibrate import calibrate
    from entityclip.model import checkpoint
    from entityclip.retrieval.rerank import calibrate_rerank

    model = replace(checkpoint.load(run.checkpoint), vectors=layout.picture_vectors)
    card = calibrate(model, layout.data)
    weight = calibrate_rerank(replace(model, card=card), layout.data)
    card = card.model_copy(update={"rerank": weight})
    run.evaluation.unlink(missing_ok=True)  # of an earlier calibration
    card.write(run.checkpoint.card)
    log = get_run_logger()
    for group, found in card.mixture.items():
        log.info("mixed index, %s: %s", group, found)
    log.info("confidence threshold of a tag by precision: %s", card.thresholds)
    log.info("open-set rule: %s", card.open_set)
    log.info(
        "weight of the matching head in re-ranking: %g%s", weight, "" if weight else "; its gain is not significant"
    )
    return card


@task(cache_policy=NO_CACHE)
def evaluate_model(layout: Layout, run: RunLayout) -> EvalReport:
    """Evaluate the checkpoint on the evaluation set; keep the result of every query."""
    from entityclip.evaluation.evaluate import evaluate
    from entityclip.model import checkpoint

    model = replace(checkpoint.load(run.checkpoint), vectors=layout.picture_vectors)
    report, queries = evaluate(model, layout.data, split=evaluation_split(layout.data), improvements=True)
    with atomic_path(run.queries) as temporary:
        queries.to_parquet(temporary, index=False)
    report.write(run.evaluation)
    return report


@flow(name="train", flow_run_name="train-{data_hash}")
def train(layout: Layout, config: TrainConfig, data_hash: str, *, processes: int = 1) -> TrainedModel:
    """Train on ``data/`` and evaluate; reuse an intact run with the same data, config and code, whatever number of
    processes it had.
    """
    inputs = training.run_inputs(config, data_hash=data_hash)
    key, run, clock = inputs.key, layout.run(inputs.key), StageTimer()
    with clock.stage("train"):
        trained, why = trained_before(layout, inputs)
        if trained:
            clock.reason = why
        else:
            get_run_logger().info("training: %s", why)
            run.checkpoint.card.unlink(missing_ok=True)  # the checkpoint is damaged
        card = train_model(config, layout, run, data_hash, processes=processes)
        inputs.write(layout.receipt("train"))
    with clock.stage("calibrate"):
        if calibrated(card):
            clock.reason = CALIBRATED
        else:
            card = calibrate_model(layout, run)
    with clock.stage("evaluate"):
        evaluation, why = evaluated_before(run, card)
        if evaluation is not None:
            clock.reason = why
        else:
            evaluation = evaluate_model(layout, run)
    show_evaluation(evaluation)
    return TrainedModel(run=key, card=card, evaluation=evaluation, stages=clock.facts)


def losses(run: RunLayout) -> pd.DataFrame | None:
    """The terms of the loss by epoch, from DVCLive's plots; None if there are none."""
    curves = [
        pd.read_csv(path, sep="\t").drop_duplicates("step", keep="last").set_index("step")[path.stem]
        for path in sorted(run.live.glob("plots/metrics/*.tsv"))
        if path.stem not in training.TIMES
    ]
    return pd.concat(curves, axis=1).rename_axis("epoch").reset_index() if curves else None


def _live(run: RunLayout) -> Live:
    """DVCLive's record of the run; a damaged one is started again."""
    try:
        return Live(str(run.live), save_dvc_exp=False, dvcyaml=None, report=None, resume=True)
    except ValueError:
        shutil.rmtree(run.live)
        return _live(run)


# ---------------------------------------------------------------- reuse
def trained_before(layout: Layout, inputs: Inputs) -> tuple[bool, str]:
    """Whether the run with these inputs is complete and its weights are intact; and the reason."""
    run, before = layout.run(inputs.key), Inputs.read(layout.receipt("train"))
    if not run.checkpoint.card.is_file():
        goes_on = ", and training resumes where it was stopped" if run.resume.is_file() else ""
        return False, (inputs.changes(before) or f"the checkpoint of run {inputs.key} is missing") + goes_on
    try:
        verify(run.checkpoint)
    except CheckpointError as error:
        return False, str(error)
    return True, f"run {inputs.key} has the same data, config and code; its weights match the hash on its card"


def calibrated(card: CheckpointCard) -> bool:
    """Whether the card has all that calibration finds; one of an earlier version may lack the open-set rule."""
    return bool(card.mixture) and card.open_set is not None


def evaluated_before(run: RunLayout, card: CheckpointCard) -> tuple[EvalReport | None, str]:
    """The report of an earlier run about this model and why it can be reused; otherwise None and why not."""
    report = EvalReport.read(run.evaluation)
    if report is None or not run.queries.is_file():
        missing = run.evaluation if report is None else run.queries
        return None, f"{missing.name} of run {run.root.name} is missing or of another version"
    if report.model_fingerprint != card.fingerprint:
        return None, f"{run.evaluation.name} is about model {report.model_fingerprint[:12]}"
    return report, f"this model was evaluated on this data version; set {report.evaluation_hash[:12]}"
