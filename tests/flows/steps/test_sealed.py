"""Sealed pictures: when there are any, that nothing reads them, and that a release opens them once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger
from tiny import tiny_data, tiny_model
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.data.sources.base import Source
from entityclip.evaluation.evaluate import evaluate
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.schemas import PromotionDecision, SealedLook, SetLooks
from entityclip.training import presets
from entityclip.training.text_settings import data_texts
from expectations.suites import copy_context
from flows.steps.data import split_shares
from flows.steps.model import TrainedModel
from flows.steps.sealed import open_sealed, sealed_share, set_looks
from flows.workspace.history import history_entries, summary
from flows.workspace.registry import assign_champion
from flows.workspace.versions import release, version_data


class Rows(Source):
    """A source with so many rows."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


def marked(data: DataLayout, **counts: int) -> None:
    pairs.start(data)
    pairs.finish(data, **counts)


def test_pictures_are_sealed_where_there_are_enough_and_stay_sealed(tmp_path: Path) -> None:
    layout, preset = Layout(tmp_path), presets.table()
    assert [split_shares(layout, preset, Rows(n)).sealed for n in (100, 19_999, 20_000)] == [0, 0, 0.1]
    marked(layout.data, pairs=20_000, sealed=2_000)
    assert split_shares(layout, preset, Rows(100)).sealed == 0.1
    marked(layout.data, pairs=100)
    assert split_shares(layout, preset, Rows(100)).sealed == 0
    layout.config.write_text("sealed: {share: 0.2, min_pictures: 50}\n")
    assert split_shares(layout, preset, Rows(100)).sealed == 0.2
    layout.config.write_text("sealed: {share: 0}\n")
    assert split_shares(layout, preset, Rows(10**6)).sealed == 0


def test_a_workspace_with_the_rules_of_an_earlier_version_goes_on_without_sealed_pictures(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    copy_context(layout.expectations)
    assert sealed_share(layout, pictures=20_000) == (0.1, "")
    suite = json.loads(layout.pairs_suite.read_text())
    (rule,) = (rule for rule in suite["expectations"] if rule["meta"]["rule"] == "unknown_split")
    rule["kwargs"]["value_set"] = ["train", "val", "test"]
    layout.pairs_suite.write_text(json.dumps(suite))
    share, why = sealed_share(layout, pictures=20_000)
    assert share == 0
    assert why == (
        "the rule unknown_split in expectations/gx/expectations/pairs.json does not accept 'sealed'; add it to the "
        "rule's value_set"
    )
    marked(layout.data, pairs=20_000)
    assert set_looks(layout, "new").summary.endswith(f"no sealed split: {why}")


def test_every_look_is_counted_and_small_data_say_why_nothing_is_sealed(tmp_path: Path, decided) -> None:
    layout = Layout(tmp_path)
    marked(layout.data, pairs=300)
    assert set_looks(layout, "first").summary == (
        "models that the test pictures decided about, this one included: 1; no sealed split: 300 pictures are fewer "
        "than sealed.min_pictures, 20,000"
    )
    for number, challenger in enumerate(("first", "second", "second")):
        decided(challenger, "data").write(layout.decision(str(number)))
    layout.sealed_look("first").parent.mkdir(parents=True)
    layout.sealed_look("first").write_text("{}")
    marked(layout.data, pairs=30_000, sealed=3_000)
    assert set_looks(layout, "third") == SetLooks(deciding=3, sealed=1)
    assert set_looks(layout, "first") == SetLooks(deciding=2, sealed=0)
    marked(layout.data, pairs=30_000)
    assert set_looks(layout, "third").no_sealed == "the rows of the source name their splits"


def test_no_tokenizer_learns_from_a_sealed_caption(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "data")
    captions = data_texts(data)["captions"]
    sealed = next(pairs.iter_rows(data.pairs, name="test")) | {"caption": "only sealed", "split": "sealed"}
    pairs.write_rows(data.pairs, pairs.PAIRS, [sealed], name="sealed")
    assert data_texts(data)["captions"] == captions


def test_a_command_does_not_open_sealed_pictures(tmp_path: Path) -> None:
    command = ["evaluate", "--checkpoint", str(tmp_path), "--data", str(tmp_path), "--split", "sealed"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "'train', 'val', 'test'" in refused.output


@pytest.mark.slow
def test_a_promoted_model_opens_the_sealed_pictures_once(workspace: Layout, tmp_path: Path, decided) -> None:
    version = version_data(workspace, tiny_data(tmp_path / "accepted", sealed=4), message="Data")
    looks = []
    for number in (1, 2):
        run = workspace.run(f"run-{number}")
        model = tiny_model(run.checkpoint.root, seed=number, data_hash=version.data_hash)
        report, _ = evaluate(model, workspace.data, progress=False)
        trained = TrainedModel(run=run.root.name, card=model.card, evaluation=report, stages=())
        decision: PromotionDecision = decided(model.card.fingerprint, version.data_hash)
        with disable_run_logger():
            looks.append(open_sealed.fn(workspace, trained, decision))
            assert open_sealed.fn(workspace, trained, decision) == looks[-1]
    assert all(isinstance(look, SealedLook) for look in looks)
    assert [look.look for look in looks] == [1, 2]
    assert {look.pictures for look in looks} == {24}
    checkpoint = CheckpointLayout(run.checkpoint.root)
    made = release(workspace, checkpoint=checkpoint, reports={"evaluation": report}, decision=decision)
    assign_champion(workspace, made.version, message="better")
    assert "24 sealed pictures" in summary(history_entries(workspace)[0])
    shown = CliRunner().invoke(app, ["history", "--workspace", str(workspace.root), "--json"])
    assert json.loads(shown.stdout.splitlines()[-1])["sealed"]["look"] == 2
    pairs.finish(workspace.data, pairs=36)
    unsealed = trained.model_copy(update={"card": trained.card.model_copy(update={"fingerprint": "f" * 16})})
    assert open_sealed.fn(workspace, unsealed, decision) is None
    assert len(workspace.sealed_looks) == 2
