"""The model half of the main job: train on a data version, calibrate, evaluate.

What loads torch is imported where it is used: a run that reuses all of it does not wait for it.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pandas as pd
from dvclive import Live
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from entityclip import training
from entityclip.data.cache_key import Inputs
from entityclip.data.pairs import require_complete
from entityclip.errors import CheckpointError
from entityclip.model.checkpoint_card import CheckpointCard, read_card, verify
from entityclip.paths import Layout, RunLayout
from entityclip.reports.run_report import StageFact
from entityclip.schemas import EvalReport, Record, Split
from entityclip.storage import atomic_path
from entityclip.training import TrainConfig
from flows.steps.artifacts import show_evaluation
from flows.steps.stage_timer import StageTimer
from flows.workspace.locks import device_lease

STAGES = ("train", "calibrate", "evaluate")
CALIBRATED = "the card carries mix and thresholds"


class Learned(Record):
    """A trained and evaluated model."""

    run: str
    card: CheckpointCard
    evaluation: EvalReport
    stages: tuple[StageFact, ...]


@task(cache_policy=NO_CACHE)
def train_model(config: TrainConfig, layout: Layout, run: RunLayout, data_hash: str) -> CheckpointCard:
    """Train, or go on where a killed run was saved; metrics are live in DVCLive's folder."""
    if run.checkpoint.card.is_file():
        return read_card(run.checkpoint)
    from entityclip.training.trainer import fit

    with device_lease(layout, config.device), _live(run) as live:

        def report(epoch: int, terms: dict[str, float]) -> None:
            live.step = epoch
            for name, value in terms.items():
                live.log_metric(name, value)
            live.make_summary()

        return fit(config, data=layout.data, data_hash=data_hash, run=run, report=report, decoded=layout.decoded)


@task(cache_policy=NO_CACHE)
def calibrate_model(layout: Layout, run: RunLayout) -> CheckpointCard:
    """Mix, thresholds and the weight of re-ranking from the validation pictures, onto the checkpoint's card."""
    from entityclip.evaluation.calibrate import calibrate
    from entityclip.model import checkpoint
    from entityclip.retrieval.rerank import calibrate_rerank

    model = checkpoint.load(run.checkpoint)
    card = calibrate(model, layout.data)
    weight = calibrate_rerank(replace(model, card=card), layout.data)
    card = card.model_copy(update={"rerank": weight})
    card.write(run.checkpoint.card)
    log = get_run_logger()
    log.info("weight of the explanation by slice: %s; stretch: %s", card.mix, card.stretch)
    log.info("least confidence of a tag by precision: %s", card.thresholds)
    log.info("weight of the matching head in re-ranking: %g%s", weight, "" if weight else ", it does not surely help")
    return card


@task(cache_policy=NO_CACHE)
def evaluate_model(layout: Layout, run: RunLayout) -> EvalReport:
    """Figures of the checkpoint on the evaluation set, with every single query kept beside them."""
    from entityclip.evaluation.evaluate import evaluate
    from entityclip.model import checkpoint

    report, queries = evaluate(checkpoint.load(run.checkpoint), layout.data, split=evaluation_split(layout))
    with atomic_path(run.queries) as temporary:
        queries.to_parquet(temporary, index=False)
    report.write(run.evaluation)
    return report


@flow(name="learn", flow_run_name="learn-{data_hash}")
def learn(layout: Layout, config: TrainConfig, data_hash: str) -> Learned:
    """Train on ``data/`` and evaluate; a run of the same data, config and code is reused when it is whole."""
    inputs = training.run_inputs(config, data_hash=data_hash)
    key, run, clock = inputs.key, layout.run(inputs.key), StageTimer()
    with clock.stage("train"):
        trained, why = trained_before(layout, inputs)
        if trained:
            clock.reason = why
        else:
            get_run_logger().info("training: %s", why)
            run.checkpoint.card.unlink(missing_ok=True)  # of a checkpoint that was damaged since: it is given up
        card = train_model(config, layout, run, data_hash)
        inputs.write(layout.receipt("train"))
    with clock.stage("calibrate"):
        if card.mix:
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
    return Learned(run=key, card=card, evaluation=evaluation, stages=clock.facts)


def evaluation_split(layout: Layout) -> Split:
    """The frozen test pictures; the validation pictures where the data hold no test split."""
    return "test" if require_complete(layout.data).get("test", 0) else "val"


def losses(run: RunLayout) -> pd.DataFrame | None:
    """The loss's terms by epoch, from DVCLive's plots; None where there are none."""
    curves = [
        pd.read_csv(path, sep="\t").drop_duplicates("step", keep="last").set_index("step")[path.stem]
        for path in sorted(run.live.glob("plots/metrics/*.tsv"))
        if path.stem not in training.TIMES
    ]
    return pd.concat(curves, axis=1).rename_axis("epoch").reset_index() if curves else None


def _live(run: RunLayout) -> Live:
    """DVCLive's record of the run; one that a kill left half-written is begun again."""
    try:
        return Live(str(run.live), save_dvc_exp=False, dvcyaml=None, report=None, resume=True)
    except ValueError:
        shutil.rmtree(run.live)
        return _live(run)


# ---------------------------------------------------------------- reuse
def trained_before(layout: Layout, inputs: Inputs) -> tuple[bool, str]:
    """Whether the run of these inputs is done and its weights are whole, and why, or why not."""
    run, before = layout.run(inputs.key), Inputs.read(layout.receipt("train"))
    if not run.checkpoint.card.is_file():
        goes_on = ", and it goes on where it was stopped" if run.resume.is_file() else ""
        return False, (inputs.changes(before) or f"the checkpoint of run {inputs.key} is missing") + goes_on
    try:
        verify(run.checkpoint)
    except CheckpointError as error:
        return False, str(error)
    return True, f"run {inputs.key} is of the same data, config and code; its weights hash to what its card says"


def evaluated_before(run: RunLayout, card: CheckpointCard) -> tuple[EvalReport | None, str]:
    """The report of an earlier run about this model, and why it holds; else None and why not."""
    report = EvalReport.read(run.evaluation)
    if report is None or not run.queries.is_file():
        missing = run.evaluation if report is None else run.queries
        return None, f"{missing.name} of run {run.root.name} is missing or of another version"
    if report.model_fingerprint != card.fingerprint:
        return None, f"{run.evaluation.name} is about model {report.model_fingerprint[:12]}"
    return report, f"this model was evaluated on this data version; set {report.evaluation_hash[:12]}"
