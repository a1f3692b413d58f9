"""The model that the gate uses beside its text rules: the champion, and only if it is good enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.logging import disable_run_logger
from tiny import tiny_data, tiny_model

from entityclip.errors import ConfigError
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import CheckpointLayout, Layout
from entityclip.quality.claims import claim_model, vocabulary
from entityclip.quality.claims.claim_model import ClaimModel
from entityclip.quality.claims.vocabulary import Vocabulary
from entityclip.schemas import EvalReport, Metric, PromotionDecision
from entityclip.settings import read_config
from entityclip.training.presets import preset
from flows.steps import quality_gate_models
from flows.steps.data import prepare_data, second_reader_of
from flows.steps.quality_gate_models import gate_scorers
from flows.steps.release import policy_of
from flows.workspace.registry import assign_champion
from flows.workspace.source import WorkspaceSource
from flows.workspace.versions import release, version_data


def report(fingerprint: str, low: float) -> EvalReport:
    figure = {"index": "explanation", "direction": "image_to_text", "slice": "all", "name": "R@1", "queries": 63}
    return EvalReport(
        model_fingerprint=fingerprint,
        evaluation_hash="set",
        split="test",
        pictures=63,
        entities=63,
        metrics=(Metric.model_validate({**figure, "value": low + 5, "low": low, "high": low + 10}),),
        seconds=0,
    )


@pytest.fixture
def champion_with(
    workspace: Layout, tmp_path: Path, decided: Callable[..., PromotionDecision]
) -> Callable[[float], Layout]:
    """Makes a model the champion whose R@1 has this lower end."""

    def make(low: float) -> Layout:
        version = version_data(workspace, tiny_data(tmp_path / "accepted"), message="Data")
        model = tiny_model(tmp_path / "checkpoint", data_hash=version.data_hash)
        made = release(
            workspace,
            checkpoint=CheckpointLayout(tmp_path / "checkpoint"),
            reports={"evaluation": report(model.card.fingerprint, low), "card": model.card},
            decision=decided(model.card.fingerprint, version.data_hash),
        )
        assign_champion(workspace, made.version, message="first")
        return workspace

    return make


def test_a_champion_below_the_floor_never_judges_texts(champion_with: Callable[[float], Layout]) -> None:
    layout = champion_with(0.0)
    found = gate_scorers(layout)
    assert (found.champion, found.text_quality) == (None, None)
    assert found.no_champion == (
        "v1.0.0 is too weak to judge texts: R@1 of the explanation index is 5.0 [0.0, 10.0]; the lower end must be "
        "above chance, 1.6, and at least gate.min_judge_score, 10"
    )
    layout.config.write_text("gate:\n  min_judge_score: 0\n")
    assert gate_scorers(layout).champion is None  # chance is to be beaten whatever the setting


def test_where_no_champion_judges_a_pretrained_tower_does_unless_it_is_off(workspace: Layout) -> None:
    first = gate_scorers(workspace)
    assert (first.champion, first.no_champion) == (None, "no model is in service to compare texts with pictures")
    assert first.tower is not None
    assert first.tower.name.startswith("efficientnet-lite")
    assert gate_scorers(workspace, judge_first_batch=False).tower is None
    for off in ("gate: {judge_first_batch: false}\n", "backbones: {backbone: none}\n"):
        workspace.config.write_text(off)
        assert gate_scorers(workspace).tower is None


@pytest.mark.slow
def test_a_champion_above_the_floor_judges_texts_and_the_setting_moves_the_floor(
    champion_with: Callable[[float], Layout],
) -> None:
    layout = champion_with(30.0)
    with disable_run_logger():
        assert gate_scorers(layout).champion is not None
        layout.config.write_text("gate:\n  min_judge_score: 31\n")
        assert gate_scorers(layout).champion is None


def test_limits_for_claims_are_set_again_for_another_judge_list_of_words_or_limit_of_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "workspace")
    first, second = (tiny_model(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    fits = []

    def fitted(model: LoadedModel, *_: object, vocabulary: Vocabulary, words: str, **how: Any) -> ClaimModel:
        fits.append(how["mine"])
        inputs = {"judge": model.card.fingerprint, "most_texts": how["most_texts"], "words": words}
        tower = how["tower"].fingerprint if how["tower"] else ""
        return ClaimModel(**inputs, tower=tower, vocabulary=vocabulary, attributes=(), varied=())

    monkeypatch.setattr(claim_model, "fit_claim_model", fitted)

    def fits_after(model: LoadedModel, most_texts: int, tower: Any = None) -> int:
        assert quality_gate_models._claim_model(model, layout, most_texts=most_texts, tower=tower) is not None
        return len(fits)

    assert [fits_after(first, 700), fits_after(first, 700)] == [1, 1]
    assert [fits_after(first, 800), fits_after(second, 800)] == [2, 3]
    packaged = tmp_path / "packaged.yaml"
    packaged.write_text("en: {colour: [red, blue]}\n")
    monkeypatch.setattr(vocabulary, "PACKAGED", packaged)
    assert [fits_after(second, 800), fits_after(second, 800)] == [4, 4]
    layout.attributes.parent.mkdir(parents=True)
    layout.attributes.write_text("en: {colour: [red, green]}\n")
    assert [fits_after(second, 800), fits_after(second, 800)] == [5, 5]
    assert fits == [True] * 4 + [False]
    tower = SimpleNamespace(fingerprint="another")
    assert [fits_after(second, 800, tower), fits_after(second, 800, tower), fits_after(second, 800)] == [6, 6, 7]


@pytest.mark.slow
def test_a_preset_without_floors_lets_any_champion_judge(champion_with: Callable[[float], Layout]) -> None:
    layout = champion_with(0.0)
    with disable_run_logger():
        assert gate_scorers(layout, floors=False).champion is not None


def test_without_floors_the_policy_that_decided_says_so(workspace: Layout) -> None:
    assert policy_of(workspace, floors=True) == read_config(workspace.config).promotion
    assert not policy_of(workspace, floors=False).require_above_chance


READER = "gate: {second_reader: {base_url: 'http://%s/v1', model: m}}\n"


def test_the_settings_give_a_second_reader_also_without_a_champion(workspace: Layout) -> None:
    assert gate_scorers(workspace).second_reader is None
    workspace.config.write_text(READER % "127.0.0.1:8000")
    scorers = gate_scorers(workspace)
    assert (scorers.champion, scorers.second_reader and scorers.second_reader.config.model) == (None, "m")
    assert "the second reader of claims" in second_reader_of(read_config(workspace.config).gate)
    workspace.config.write_text("gate: {second_reader: null}\n")
    assert second_reader_of(read_config(workspace.config).gate) == {}


def test_pictures_do_not_leave_for_a_host_that_is_not_allowed(workspace: Layout) -> None:
    workspace.config.write_text(READER % "vlm.example.com")
    origin = WorkspaceSource(preset="tiny", source="catalog", path=None, mapping=None, products=5)
    with disable_run_logger(), pytest.raises(ConfigError, match=r"vlm\.example\.com.*hosts\.allowed"):
        prepare_data.fn(workspace, preset("tiny"), origin)
    assert not workspace.staging.root.exists()  # before anything was read
