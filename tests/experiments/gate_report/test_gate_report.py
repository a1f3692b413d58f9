"""What the gate and its rules are worth: the same training with their texts in and out."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny import tiny_data, tiny_vit
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError, DataError
from entityclip.experiments.gate_report import (
    GateStudy,
    GateVariant,
    Limit,
    TrainedVariant,
    costs,
    parse_limit,
    recall_table,
    variants,
    worth_table,
)
from entityclip.experiments.gate_report.page import markdown
from entityclip.experiments.gate_report.study import OFF, ON
from entityclip.experiments.gate_report.tuning import best_limit, tune
from entityclip.experiments.train_and_evaluate import Measurement, TrainingResult
from entityclip.explanations import WriterCost
from entityclip.paths import AblationLayout, DataLayout
from entityclip.quality.quarantine_file import broken_texts
from entityclip.quality.review import Review
from entityclip.schemas import EvalReport
from entityclip.training import TrainConfig, presets
from entityclip.training.presets import Preset

TEXTS = pd.DataFrame({"explanation_id": list("abcde"), "entity_id": list("ABCDE"), "words": [9.0, 1, 5, 7, None]})
BROKEN = pd.DataFrame({"id": ["a", "b", "b", "c"], "rule": ["email", "email", "phone", "refusal"], "value": ""})


# ---------------------------------------------------------------- which texts
def test_each_rule_that_stands_alone_somewhere_has_a_variant() -> None:
    found = {v.name: "".join(v.texts["explanation_id"]) for v in variants(TEXTS, BROKEN)}
    assert found == {OFF: "abcde", ON: "de", "without email": "ade", "without refusal": "cde"}


def test_a_gate_that_set_nothing_aside_and_one_of_another_batch_are_refused() -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        variants(TEXTS, BROKEN.iloc[:0])
    with pytest.raises(DataError, match="is not in the data"):
        variants(TEXTS, BROKEN.assign(id="z"))


# ---------------------------------------------------------------- what they are worth
def trained(name: str, hits: list[int], *, rule: str = "", seed: int = 0, seconds: float = 30.0) -> TrainedVariant:
    """A training in which these queries found their entity first; queries of frequent products, then of rare ones."""
    half = len(hits) // 2
    queries = pd.DataFrame(
        {
            "pair_id": [f"p{i}" for i in range(len(hits))],
            "entity_id": [f"e{i // 2}" for i in range(len(hits))],
            "slice": ["frequent"] * half + ["none"] * (len(hits) - half),
            "index": "explanation",
            "direction": "image_to_text",
            "rank": [1 if hit else 2 for hit in hits],
        }
    )
    evaluation = EvalReport(
        model_fingerprint="", evaluation_hash="", split="test", pictures=len(hits), entities=9, metrics=(), seconds=1
    )
    measured = TrainingResult(evaluation=evaluation, seconds=seconds, device="cpu")
    return TrainedVariant(GateVariant(name, rule, TEXTS), seed, Measurement(measured, queries))


SOME = [
    trained(OFF, [0] * 10 + [1] * 2 + [0] * 8),
    trained(ON, [1] * 10 + [1] * 8 + [0] * 2),
    trained("without email", [1] * 10 + [1] * 4 + [0] * 6, rule="email"),
    trained("without refusal", [1] * 10 + [1] * 8 + [0] * 2, rule="refusal"),
]


def figure(table: pd.DataFrame, **where: str) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_recall_is_by_slice_with_an_interval() -> None:
    table = recall_table(SOME)
    assert figure(table, variant=ON, slice="none")["value"] == 80
    assert figure(table, variant=OFF, slice="all")["value"] == 10
    unsure = figure(table, variant=ON, slice="none")
    assert unsure["low"] < 80 < unsure["high"]


def test_a_rule_is_worth_what_is_lost_without_it() -> None:
    table = worth_table(SOME, BROKEN)
    email = figure(table, rule="email", slice="none")
    assert (email["rows"], email["alone"], email["value"]) == (2, 1, 40)
    assert email["low"] < 40 < email["high"]
    assert figure(table, rule="refusal", slice="all")["value"] == 0
    assert figure(table, rule="", slice="all")["value"] == 80
    assert figure(table, rule="phone", slice="all")["alone"] == 0


def test_seeds_are_pooled_query_by_query() -> None:
    seeds = [
        trained(ON, [1] * 20),
        trained(OFF, [0] * 20),
        trained(ON, [0] * 20, seed=1),
        trained(OFF, [0] * 20, seed=1),
    ]
    assert figure(worth_table(seeds, BROKEN), rule="", slice="all")["value"] == 50
    assert figure(recall_table(seeds), variant=ON, slice="all")["queries"] == 40


def test_the_tables_are_markdown() -> None:
    lines = markdown(worth_table(SOME, BROKEN), "rule").splitlines()
    assert lines[0] == "| rule | rows | alone | 10 or more pictures | never photographed | all together |"
    assert lines[2].startswith("| the whole gate | 3 | 3 | 100.0 [100.0, 100.0] | 60.0")


def test_costs_are_shown_for_each_recovered_point() -> None:
    fields = {"explanation_id": "a", "entity_id": "A", "entity": "A", "rules": "", "text": "", "day": "2026-11-01"}
    review = Review.model_validate(fields | {"decision": "accept", "reviewer": "Ana", "minutes": 6})
    lines = costs(WriterCost(tokens_in=300, tokens_out=100, money=2, seconds=8), [review], SOME, points=4.0)
    assert [line.amount for line in lines] == [400, 2, 8, 30, 6]
    assert [line.per_point for line in lines] == [100, 0.5, 2, 7.5, 1.5]
    assert all(line.per_point is None for line in costs(WriterCost(), [], SOME, points=-1.0))


# ---------------------------------------------------------------- limits
def test_a_limit_is_read_or_refused_with_an_example() -> None:
    assert parse_limit("too_short: words >= 2, 4,8") == Limit("too_short", "words", ">=", (2, 4, 8))
    assert parse_limit("r:c<=-0.5,1").keyword == "max_value"
    for wrong in ("", "words >= 2", "too_short: words >= 2", "too_short: words > 2, 3", "a: b >= 1, x", "a: b >= 1,,2"):
        with pytest.raises(ConfigError, match="too_short: words >= 2, 4, 8"):
            parse_limit(wrong)


def test_the_best_limit_counts_every_slice_the_same_and_of_equals_the_mildest() -> None:
    rows = [(2, "none", 10), (2, "all", 90), (4, "none", 30), (4, "all", 0), (8, "none", 30), (8, "all", 0)]
    tuned = pd.DataFrame(rows, columns=["limit", "slice", "value"])
    assert best_limit(tuned, limit=parse_limit("r: words >= 2, 4, 8")) == 4
    assert best_limit(tuned, limit=parse_limit("r: words <= 2, 4, 8")) == 8


# ---------------------------------------------------------------- real trainings
@pytest.fixture
def study(tmp_path: Path) -> GateStudy:
    config = TrainConfig(
        model=tiny_vit(tmp_path),
        preprocessing=Preprocessing(size=32),
        tokenisation=Tokenisation(context=24),
        epochs=1,
        batch=8,
    )
    return GateStudy(tiny_data(tmp_path / "data"), "d", config, 1, AblationLayout(tmp_path / "to"))


def quarantine_file(data: DataLayout, file: Path) -> Path:
    """Two texts of the tiny data, each by a rule of its own."""
    ids = pairs.read_frame(data.explanations)["explanation_id"]
    lines = {"table": "explanations", "id": ids[:2], "rule": ["email", "refusal"], "value": ""}
    pd.DataFrame(lines).to_csv(file, index=False)
    return file


def test_a_limit_that_lets_nothing_pass_or_no_number_is_refused(study: GateStudy, tmp_path: Path) -> None:
    broken = broken_texts(quarantine_file(study.data, tmp_path / "q.csv"))
    scored = pairs.read_frame(study.data.explanations).assign(words=[3, 5, 7, 9, 11])
    with pytest.raises(ConfigError, match="no text passes"):
        tune(study, parse_limit("email: words >= 2, 99"), scored=scored, broken=broken)
    with pytest.raises(ConfigError, match="expected one of words"):
        tune(study, parse_limit("email: text >= 2, 99"), scored=scored, broken=broken)


@pytest.mark.slow
def test_the_command_ends_with_a_page_and_never_trains_twice(
    study: GateStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: Preset(name="tiny", source="catalog", train=study.config))
    file, to = quarantine_file(study.data, tmp_path / "q.csv"), tmp_path / "report"
    arguments = ["gate-report", str(file), "--data", str(study.data.root), "--to", str(to), "--preset", "tiny"]
    arguments += ["--workspace", str(tmp_path), "--seeds", "1", "--tune", "email: words >= 2, 4", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout.splitlines()[-1])
    assert {row["variant"] for row in answer["recall"]} == {OFF, ON, "without email", "without refusal"}
    assert {row["rule"] for row in answer["worth"]} == {"", "email", "refusal"}
    page = (to / "gate.html").read_text()
    assert page.count("<svg") == 2
    assert "is best on validation pictures" in page
    assert "the whole gate" in (to / "worth.md").read_text()

    weights = {path: path.stat().st_mtime_ns for path in to.rglob("*.safetensors")}
    assert len(weights) == 4  # both limits keep the texts of 'without email', and share its training
    again = CliRunner().invoke(app, arguments)
    assert json.loads(again.stdout.splitlines()[-1])["recall"] == answer["recall"]
    assert {path: path.stat().st_mtime_ns for path in to.rglob("*.safetensors")} == weights
