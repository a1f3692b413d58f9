"""Reading at ingest: a stage of the run, only where the settings ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.logging import disable_run_logger
from printed import needs_reader, printed_data

from entityclip.data import labels
from entityclip.errors import ConfigError
from entityclip.paths import DataLayout, Layout
from entityclip.retrieval.picture_labels import label_words
from entityclip.settings import LabelPolicy
from flows.steps.data import read_staged_labels, reading_of, stages
from flows.steps.run_report import label_summary


def test_without_the_setting_there_is_no_stage_and_no_other_input(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert stages(layout) == ("ingest", "explain", "validate", "version")
    assert reading_of(LabelPolicy()) == {}
    layout.config.write_text("labels: {read_at_ingest: true}\n")
    assert stages(layout) == ("ingest", "read labels", "explain", "validate", "version")


def test_without_the_extra_the_run_is_refused_before_it_ingests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'entityclip\[labels\]'"):
        reading_of(LabelPolicy(read_at_ingest=True))


@needs_reader
@pytest.mark.slow
def test_staged_pictures_are_read_once_and_the_report_lists_the_words(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.config.write_text("labels: {read_at_ingest: true, pictures_per_entity: 1}\n")
    printed_data(layout.staging.root)
    with disable_run_logger():
        assert read_staged_labels.fn(layout).read_now == 2
        assert read_staged_labels.fn(layout).read_now == 0
    assert set(label_words(layout.staging)["word"]) == {"tropicana", "apelsin", "peruna"}
    summary = label_summary(layout.staging)
    assert summary is not None
    assert (summary.pictures, summary.with_text, summary.entities) == (2, 2, 2)
    assert dict(summary.words) == {"KX-RED": ["apelsin", "tropicana"], "KX-GREEN": ["peruna", "tropicana"]}
    assert label_summary(DataLayout(tmp_path / "none")) is None
