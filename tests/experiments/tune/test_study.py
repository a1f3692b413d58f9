"""The search finds the better settings on validation pictures, and goes on where it was killed."""

from __future__ import annotations

from pathlib import Path

import optuna
import pandas as pd
import pytest
from filelock import FileLock
from tiny import tiny_data

from entityclip.data import pairs
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError, DataError, TrainingError, WorkspaceError
from entityclip.experiments.tune import SearchLimits, TrialRow, TuningResult, tune
from entityclip.experiments.tune.space import Proposal
from entityclip.model.config import ExpertConfig, LossConfig, ModelConfig, TowerConfig
from entityclip.paths import DataLayout, StudyLayout
from entityclip.training import TrainConfig, read_config

pytestmark = pytest.mark.slow

CONFIG = TrainConfig(
    model=ModelConfig(
        towers=TowerConfig(architecture="entityclip-tiny", mean_pool=True),
        experts=ExpertConfig(image=1, shared=1, text=1),
    ),
    preprocessing=Preprocessing(size=32),
    tokenisation=Tokenisation(context=24),
    epochs=4,
    batch=8,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


def search(
    data: DataLayout, folder: Path, *, trials: int, config: TrainConfig = CONFIG, minutes: float | None = None
) -> tuple[TuningResult, list[TrialRow]]:
    rows: list[TrialRow] = []
    found = tune(
        config,
        data=data,
        data_hash="d",
        study=StudyLayout(folder),
        limits=SearchLimits(trials=trials, minutes=minutes),
        report=rows.append,
    )
    return found, rows


@pytest.fixture(scope="module")
def searched(data: DataLayout, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyLayout, TuningResult]:
    folder = tmp_path_factory.mktemp("study")
    found, rows = search(data, folder, trials=3)
    assert [row.number for row in rows] == [0, 1, 2]
    return StudyLayout(folder), found


def stored(study: StudyLayout) -> optuna.Study:
    (name,) = optuna.get_all_study_names(f"sqlite:///{study.storage}")
    return optuna.load_study(study_name=name, storage=f"sqlite:///{study.storage}")


def test_search_begins_with_the_settings_as_they_are(searched):
    _, found = searched
    assert found.trials[0].proposal == Proposal.of(CONFIG)
    assert found.best.score == max(row.score for row in found.trials if row.state == "complete")
    assert len({row.proposal.beta for row in found.trials}) == 3


def test_best_settings_are_a_file_that_training_reads(searched):
    study, found = searched
    best = read_config(study.best)
    assert best == found.config == found.best.proposal.applied(CONFIG, epochs=CONFIG.epochs)
    table = pd.read_csv(study.table)
    assert list(table["number"]) == [0, 1, 2]
    assert {"beta", "eta", "explanation", "image_experts", "min_quality", "score"} <= set(table.columns)
    assert study.plot.read_text().rstrip().endswith("</svg>")


def test_weights_are_thrown_away_and_scores_are_kept(searched):
    study, _ = searched
    assert not list(study.root.rglob("*.safetensors"))
    assert len(list((study.root / "runs").glob("*.json"))) == 6  # each trial at both of its lengths


def test_a_search_goes_on_where_it_ended(searched, data):
    study, _ = searched
    found, rows = search(data, study.root, trials=4)
    assert [row.number for row in rows] == [3]
    assert len(found.trials) == 4
    again, rows = search(data, study.root, trials=4)
    assert (again, rows) == (found, [])


def test_a_trial_that_a_kill_cut_short_is_run_again(tmp_path, data):
    search(data, tmp_path, trials=1)
    study = StudyLayout(tmp_path)
    cut = stored(study).ask()  # a kill leaves it like this
    proposal = Proposal.drawn(cut)
    found, rows = search(data, tmp_path, trials=2)
    assert [row.proposal for row in rows] == [proposal]
    assert sorted(row.state for row in found.trials) == ["complete", "complete"]
    assert stored(study).trials[cut.number].state.name == "FAIL"


def test_other_settings_are_another_search_in_the_same_folder(tmp_path, data):
    search(data, tmp_path, trials=1)
    other = CONFIG.model_copy(update={"learning_rate": 3e-3})
    found, rows = search(data, tmp_path, trials=1, config=other)
    assert [row.number for row in rows] == [0]
    assert found.config.learning_rate == 3e-3


def test_settings_that_diverge_fail_and_end_nothing(tmp_path, data):
    wild = CONFIG.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(TrainingError, match="none of 2 trials was trained in full"):
        search(data, tmp_path, trials=2, config=wild)
    assert [t.state.name for t in stored(StudyLayout(tmp_path)).trials] == ["FAIL", "FAIL"]


def test_settings_outside_the_space_start_at_its_edge():
    outside = CONFIG.model_copy(update={"loss": LossConfig(beta=0, eta=7.0)})
    start = Proposal.of(outside).within_the_space()
    assert (start["beta"], start["eta"], start["explanation"]) == (0.01, 1.0, 1.0)


@pytest.mark.parametrize(("trials", "minutes"), [(0, None), (1, 0.0), (1, -3.0)])
def test_impossible_budgets_are_refused(tmp_path, data, trials, minutes):
    with pytest.raises(ConfigError, match="expected at least 1"):
        search(data, tmp_path, trials=trials, minutes=minutes)


def test_data_without_validation_pictures_are_refused(tmp_path):
    blind = tiny_data(tmp_path / "data")
    pairs.write_rows(blind.pairs, pairs.PAIRS, [], name="val")
    with pytest.raises(DataError, match="no validation pictures"):
        search(blind, tmp_path / "study", trials=1)


def test_a_folder_in_which_a_search_is_at_work_is_refused(tmp_path, data):
    with FileLock(StudyLayout(tmp_path).lock), pytest.raises(WorkspaceError, match="another search runs here"):
        search(data, tmp_path, trials=1)


def test_damaged_trials_are_one_clear_line(tmp_path, data):
    StudyLayout(tmp_path).storage.write_bytes(b"rubbish" * 500)
    with pytest.raises(WorkspaceError, match=r"trials\.sqlite: its trials cannot be read"):
        search(data, tmp_path, trials=1)
