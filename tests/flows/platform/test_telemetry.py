"""JSON logs and Prometheus metrics of a run, whether it succeeds or fails."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.platform.telemetry import observed

log = logging.getLogger("flows.observed")


def figures(layout: Layout) -> dict[str, float]:
    families = text_string_to_metric_families(layout.metrics("f").read_text())
    return {f"{s.name}{s.labels.get('of', '')}": s.value for family in families for s in family.samples}


def lines(layout: Layout) -> list[dict[str, str]]:
    return [json.loads(line) for line in layout.log("f").read_text().splitlines()]


def test_lines_carry_the_data_hash_and_no_secret(tmp_path) -> None:
    layout = Layout(tmp_path)
    with observed(layout, "f") as run:
        log.warning("before")
        run.data_hash = "abc.dir"
        log.warning("pushed to https://ana:hunter2@shop.example/x?token=hunter3\nand on")
    log.warning("after the run")
    assert [line["message"].split()[0] for line in lines(layout)] == ["before", "pushed"]
    assert [line["data_hash"] for line in lines(layout)] == ["", "abc.dir"]
    assert "hunter" not in layout.log("f").read_text()


def test_figures_of_a_run_that_ended_well(tmp_path) -> None:
    layout = Layout(tmp_path)
    with observed(layout, "f") as run:
        run.figures[("drift", 'bright"ness')] = 0.25
    found = figures(layout)
    assert found["entityclip_flow_run_succeeded"] == 1
    assert found['entityclip_flow_driftbright"ness'] == 0.25
    assert 0 <= found["entityclip_flow_run_seconds"] < 5
    assert not list(layout.metrics("f").parent.glob("*.tmp*"))


def test_a_run_that_fails_says_so_and_why(tmp_path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(WorkspaceError), observed(layout, "f"):
        raise WorkspaceError("the remote is away")
    assert figures(layout)["entityclip_flow_run_succeeded"] == 0
    assert lines(layout)[-1]["message"] == "WorkspaceError: the remote is away"


def test_figures_that_cannot_be_written_hide_nothing(tmp_path) -> None:
    layout = Layout(tmp_path)
    layout.metrics("f").parent.parent.mkdir(parents=True)
    layout.metrics("f").parent.write_text("a file where the folder was")
    with pytest.raises(WorkspaceError, match="the remote is away"), observed(layout, "f"):
        raise WorkspaceError("the remote is away")
    with observed(layout, "f"):
        pass  # and a run that ended well has ended well


def test_a_log_that_cannot_be_written_says_so_nowhere(tmp_path, monkeypatch, capfd) -> None:
    layout = Layout(tmp_path)
    with observed(layout, "f"):
        log.warning("opens the file")
        (handler,) = (h for h in logging.getLogger("flows").handlers if isinstance(h, logging.FileHandler))
        monkeypatch.setattr(handler, "stream", Path("/dev/full").open("w"))  # noqa: SIM115 (observed closes it)
        for number in range(3):
            log.warning("line %d", number)
    assert "Traceback" not in capfd.readouterr().err
