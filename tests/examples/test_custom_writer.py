"""A writer of one's own, by its import path."""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd
import pytest
import yaml
from programs import EXAMPLES
from tiny import tiny_data
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.errors import ConfigError
from entityclip.explanations import open_writer, writer_config
from entityclip.schemas import ExplanationRequest


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)


def test_its_texts_become_explanations(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "mine")
    pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, [], name="source_provided")
    arguments = ["explain", str(tmp_path / "mine"), "--config", str(EXAMPLES / "custom_writer.yaml")]
    done = CliRunner().invoke(app, [*arguments, "--workspace", str(tmp_path)])
    assert done.exit_code == 0, done.output
    frame = pd.read_parquet(tmp_path / "mine" / "explanations")
    assert set(frame["generator"]) == {"colours-2-v1"}
    assert frame["text"].str.contains("is mostly .*red").any()


def test_an_entity_without_a_picture_gets_no_text() -> None:
    writer = runpy.run_path(str(EXAMPLES / "custom_writer.py"))["ColourWriter"]()
    (answer,) = writer.write([ExplanationRequest(entity_id="1", entity="KX", caption="KX")])
    assert answer.records == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factory": "no_such_module:Writer"}, "cannot be imported: No module named.*PYTHONPATH"),
        ({"factory": "custom_writer:NoSuchWriter"}, "cannot be imported: .*NoSuchWriter"),
        ({"factory": "custom_writer"}, "here: custom.factory: .*pattern"),
        ({"options": {"colors": 2}}, "explain.options: .* unexpected keyword argument 'colors'"),
        ({"factory": "argparse:Namespace"}, "makes a Namespace without generator"),
    ],
)
def test_a_setting_that_names_no_writer_is_an_error(change: dict[str, object], message: str, tmp_path: Path) -> None:
    settings = yaml.safe_load((EXAMPLES / "custom_writer.yaml").read_text()) | change
    with pytest.raises(ConfigError, match=message):
        open_writer(writer_config(settings, origin="here"), ledger=tmp_path / "ledger.sqlite")
