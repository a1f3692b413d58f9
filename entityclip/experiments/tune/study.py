"""The search: Optuna proposes settings, a short run prunes, a full run scores; a killed search resumes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from pydantic import Field

from entityclip.data import pairs
from entityclip.data.pairs import digest
from entityclip.errors import ConfigError, DataError, TrainingError, WorkspaceError
from entityclip.evaluation.calibrate import PICTURES, calibrate_index
from entityclip.experiments.tune.plot import plot_trials
from entityclip.experiments.tune.space import MOST_EXPERTS, QUALITIES, WEIGHTS, Proposal, without_poor_explanations
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout, StudyLayout
from entityclip.retrieval import metrics
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import SLICES, Record
from entityclip.training import TrainConfig, run_key
from entityclip.training.trainer import fit

if TYPE_CHECKING:
    import optuna

RUNGS = (0.25, 1.0)
"""A trial is trained for these shares of the epochs, each from scratch with a full schedule."""

STARTUP = 4
"""Number of full trials before median pruning starts."""

State = Literal["complete", "pruned", "failed"]


class Score(Record):
    """Score of one training run on the validation pictures."""

    recall: dict[str, float]
    """Slice -> recall@1 of the mixed index, its weights calibrated on the same pictures, in percent."""
    seconds: float
    """Of training and scoring."""

    @property
    def mean(self) -> float:
        """Mean over the slices, so that frequent entities do not dominate."""
        return float(np.mean(list(self.recall.values())))


class TrialRow(Record):
    """One row of the table of trials."""

    number: int
    state: State
    score: float | None
    epochs: int
    seconds: float
    proposal: Proposal


class SearchLimits(Record):
    """How long a search goes on."""

    trials: int = Field(description="Total number of trials, including those of earlier calls.")
    minutes: float | None = Field(default=None, description="No trial starts after this time.")


class TuningResult(Record):
    """A finished search."""

    best: TrialRow
    config: TrainConfig
    trials: tuple[TrialRow, ...]


def tune(
    config: TrainConfig,
    *,
    data: DataLayout,
    data_hash: str,
    study: StudyLayout,
    limits: SearchLimits,
    report: Callable[[TrialRow], None],
    progress: bool = False,
) -> TuningResult:
    """Search from ``config`` on; the first trial is ``config`` itself, or the nearest point in the search space.

    A killed search resumes its trial and training run. Other settings, data or code start another search, also in the
    same folder.

    Args:
        config: Start of the search; settings outside the search space stay as they are.
        data: A data version with validation pictures.
        data_hash: Its hash.
        study: Folder of the search.
        limits: Number of trials, and time.
        report: Called after each trial.
        progress: Show progress bars of the training runs.

    Returns:
        Best trial, its settings, and all trials; also written to ``study.best``, ``study.table`` and ``study.plot``.

    Raises:
        ConfigError: Optuna is not installed, or ``limits`` are impossible.
        DataError: The data are incomplete or hold no validation pictures.
        TrainingError: No trial was trained in full.
        WorkspaceError: Another search runs in this folder, or its trials cannot be read.
    """
    trials, minutes = limits.trials, limits.minutes
    if trials < 1 or (minutes is not None and minutes <= 0):
        raise ConfigError(f"{trials} trials in {minutes} minutes; expected at least 1, and more than 0")
    optuna = _optuna()
    pairs.require_complete(data)
    if pairs.read_frame(data.pairs, name="val", columns=["pair_id"]).empty:
        raise DataError(f"{data.pairs}: no validation pictures to compare settings with; ingest data with a val split")
    key = digest(run_key(config, data_hash=data_hash), json.dumps([MOST_EXPERTS, WEIGHTS, QUALITIES, RUNGS]))
    with _study_lock(study), _readable(study):
        search = optuna.create_study(
            storage=f"sqlite:///{study.storage}",
            study_name=key,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
        )
        _enqueue_start(search, config)
        # A sampler with the same seed would propose the same points again.
        search.sampler = optuna.samplers.TPESampler(seed=config.seed + len(search.trials))
        search.optimize(
            lambda trial: _objective(trial, config, data=data, data_hash=data_hash, study=study, progress=progress),
            n_trials=max(0, trials - len(_finished(search))),
            timeout=None if minutes is None else 60 * minutes,
            catch=(TrainingError,),
            callbacks=[lambda _, trial: report(_row(trial))],
        )
        return _written(search, config, study)


# ---------------------------------------------------------------- one trial
def _objective(
    trial: optuna.Trial, config: TrainConfig, *, data: DataLayout, data_hash: str, study: StudyLayout, progress: bool
) -> float:
    proposal = Proposal.drawn(trial)
    trial.set_user_attr("proposal", proposal.model_dump())
    chosen = study.data(proposal.min_quality)
    if without_poor_explanations(data, chosen, min_quality=proposal.min_quality):
        data_hash = digest(data_hash, str(proposal.min_quality))
    spent = 0.0
    for epochs in sorted({max(1, round(share * config.epochs)) for share in RUNGS}):
        settings = proposal.applied(config, epochs=epochs)
        try:
            score = _scored(settings, data=chosen, data_hash=data_hash, study=study, progress=progress)
        except TrainingError as error:  # these settings diverge; the search continues with others
            trial.set_user_attr("error", str(error))
            raise
        spent += score.seconds
        trial.report(score.mean, step=epochs)
        trial.set_user_attr("epochs", epochs)
        trial.set_user_attr("seconds", spent)
        if epochs < config.epochs and trial.should_prune():
            raise _optuna().TrialPruned
    return score.mean


def _scored(config: TrainConfig, *, data: DataLayout, data_hash: str, study: StudyLayout, progress: bool) -> Score:
    """Train and score, unless done before; the weights are deleted afterwards to save disk space."""
    key = run_key(config, data_hash=data_hash)
    if known := Score.read(study.score(key)):
        return known
    run, started = study.run(key), time.monotonic()
    fit(
        config,
        data=data,
        data_hash=data_hash,
        run=run,
        report=lambda *_: None,
        decoded=study.decoded,
        progress=progress,
    )
    recall = validation_recall(checkpoint.load(run.checkpoint, device=config.device), data)
    score = Score(recall=recall, seconds=time.monotonic() - started)
    score.write(study.score(key))
    shutil.rmtree(run.root)
    return score


def validation_recall(model: LoadedModel, data: DataLayout) -> dict[str, float]:
    """Slice -> recall@1 of the mixed index on the validation pictures, in percent."""
    pictures = PictureIndex.build(model, data, split="val", most=PICTURES)
    known = PictureIndex.build(model, data, split="train")
    entities = EntityIndex.build(model, data, pictures=known)
    entities = calibrate_index(entities, pictures, scale=model.scale)
    truth = entities.rows_of(pictures.rows["entity_id"])
    vectors, offset = entities.vectors["mixed"], entities.offsets["mixed"]
    first = metrics.ranks(pictures.vectors, vectors, truth, offset=offset).rank == 1
    slices = entities.rows["slice"].to_numpy()[truth]
    return {name: 100 * float(first[slices == name].mean()) for name in SLICES if (slices == name).any()}


# ---------------------------------------------------------------- results
def _finished(search: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in search.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def _row(trial: optuna.trial.FrozenTrial) -> TrialRow:
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned"}
    return TrialRow(
        number=trial.number,
        state=states.get(trial.state.name, "failed"),
        score=next(reversed(trial.intermediate_values.values()), None),
        epochs=trial.user_attrs.get("epochs", 0),
        seconds=trial.user_attrs.get("seconds", 0.0),
        proposal=Proposal.model_validate(trial.user_attrs["proposal"]),
    )


def _written(search: optuna.Study, config: TrainConfig, study: StudyLayout) -> TuningResult:
    rows = tuple(_row(trial) for trial in search.trials if "proposal" in trial.user_attrs)
    whole = [row for row in rows if row.state == "complete"]
    if not whole:
        raise TrainingError(f"{study.root}: none of {len(rows)} trials was trained in full; raise --trials")
    best = max(whole, key=lambda row: row.score or 0.0)
    found = TuningResult(best=best, config=best.proposal.applied(config, epochs=config.epochs), trials=rows)
    found.config.write(study.best)
    table = pd.DataFrame([row.model_dump(exclude={"proposal"}) | row.proposal.model_dump() for row in rows])
    table.to_csv(study.table, index=False)
    study.plot.write_text(plot_trials(table), encoding="utf-8")
    return found


def _enqueue_start(search: optuna.Study, config: TrainConfig) -> None:
    """Queue the trials of a killed search; a new search begins with the current settings."""
    for trial in search.trials:
        if trial.state.name == "RUNNING":
            search.tell(trial.number, state=_optuna().trial.TrialState.FAIL)
    proposed = [(t.number, t.params or t.system_attrs.get("fixed_params", {})) for t in search.trials]
    for trial in search.trials:
        again = any(number > trial.number and params == trial.params for number, params in proposed)
        if trial.state.name == "FAIL" and "error" not in trial.user_attrs and not again:
            search.enqueue_trial(trial.params)
    if not search.trials:
        search.enqueue_trial(Proposal.of(config).within_the_space())


@contextmanager
def _study_lock(study: StudyLayout) -> Iterator[None]:
    study.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(study.lock, timeout=0):
            yield
    except Timeout:
        raise WorkspaceError(f"{study.root}: another search runs here; wait for it, or name a new folder") from None


@contextmanager
def _readable(study: StudyLayout) -> Iterator[None]:
    from sqlalchemy.exc import DatabaseError

    try:
        yield
    except DatabaseError as error:
        raise WorkspaceError(f"{study.storage}: its trials cannot be read ({error.orig}); name a new folder") from error


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError("the search needs Optuna, which is not installed; run: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
