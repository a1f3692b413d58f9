"""The deviation between seeds: what of it is the models' own, and where it is stored."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_data
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.errors import ConfigError
from entityclip.experiments.seeds import seed_deviation
from entityclip.model.checkpoint_card import read_card
from entityclip.paths import AblationLayout, Layout, RunLayout
from entityclip.schemas import PromotionPolicy
from entityclip.settings import default_config, read_config, write_setting
from entityclip.training import presets
from entityclip.training.trainer import fit


def answers(recall: float, *, queries: int, rng: np.random.Generator) -> pd.DataFrame:
    """The evaluator's rows of a model that finds an entity with this probability; four queries an entity."""
    pairs = [f"p{i}" for i in range(queries)]
    about = {"index": "mixed", "direction": "image_to_text", "entity_id": [i // 4 for i in range(queries)]}
    return pd.DataFrame({"pair_id": pairs, "rank": np.where(rng.random(queries) < recall, 1, 2), **about})


def test_sampling_of_the_queries_is_not_the_models_own_deviation():
    """Models of equal quality differ on 400 queries by 2.5 points; that is in the interval of a gain already."""
    rng, policy = np.random.default_rng(0), PromotionPolicy()
    same = [seed_deviation([answers(0.5, queries=400, rng=rng) for _ in range(10)], policy=policy) for _ in range(20)]
    assert np.mean([found.sampling for found in same]) == pytest.approx(2.5, abs=0.1)
    assert np.mean([np.std(found.values, ddof=1) for found in same]) == pytest.approx(2.5, abs=0.3)
    assert np.median([found.deviation for found in same]) < 1


def test_the_models_own_deviation_remains_and_few_seeds_widen_it():
    rng, policy = np.random.default_rng(0), PromotionPolicy()
    qualities = [rng.normal(0.5, 0.04, size) for size in (10, 3)]
    many, few = (
        seed_deviation([answers(q, queries=20_000, rng=rng) for q in some], policy=policy) for some in qualities
    )
    assert many.deviation == pytest.approx(100 * np.std(qualities[0], ddof=1), rel=0.15)
    assert many.bound == pytest.approx(1.154 * many.deviation, rel=1e-2)  # Student's t with 9 degrees of freedom
    assert few.bound == pytest.approx(2.195 * few.deviation, rel=1e-2)


@pytest.mark.slow
def test_the_command_stores_the_deviation_in_the_settings(tmp_path: Path):
    layout = Layout(tmp_path)
    data = tiny_data(layout.data.root)
    layout.config.write_text(default_config())
    config = presets.tiny().train.changed(epochs=1, batch=8)
    fit(config, data=data, data_hash="data", run=RunLayout(tmp_path / "run"), report=lambda *_: None, progress=False)
    (tmp_path / "run" / "checkpoint").rename(layout.model.root)
    assert read_card(layout.model).config["epochs"] == 1

    command = ["seeds", "--workspace", str(tmp_path), "--seeds", "3", "--json"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout.splitlines()[-1])
    assert len(found["values"]) == 3
    assert read_config(layout.config).promotion.seed_deviation == round(found["bound"], 2)
    trained = {path: path.stat().st_mtime_ns for path in AblationLayout(layout.seeds.root).root.rglob("*.safetensors")}
    assert CliRunner().invoke(app, command).stdout.splitlines()[-1] == shown.stdout.splitlines()[-1]
    assert trained == {path: path.stat().st_mtime_ns for path in trained}


def test_one_setting_is_replaced_and_the_other_lines_stay(tmp_path: Path):
    file = tmp_path / "entityclip.yaml"
    file.write_text(default_config())
    write_setting(file, "promotion", "seed_deviation", 0.75)
    assert read_config(file).promotion.seed_deviation == 0.75
    changed = set(file.read_text().splitlines()) - set(default_config().splitlines())
    assert changed == {"  seed_deviation: 0.75"}


def test_settings_without_that_line_are_left_alone_and_the_line_is_named(tmp_path: Path):
    file = tmp_path / "entityclip.yaml"
    file.write_text("promotion: {min_gain: 1}\n")
    with pytest.raises(ConfigError, match=r"add `  seed_deviation: 0\.75` under `promotion:`"):
        write_setting(file, "promotion", "seed_deviation", 0.75)
    assert file.read_text() == "promotion: {min_gain: 1}\n"
