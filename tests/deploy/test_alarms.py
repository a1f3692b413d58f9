"""The alarms of deploy/prometheus/: each sounds when it should, and only then; each is in the book."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from entityclip.paths import Layout
from flows.platform.telemetry import observed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alarms.yml"
ALARMS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))

OK, LATE = "200", "bentoml_service_request_duration_seconds_bucket"
QUIET = {
    'up{job="entityclip"}': "1x60",
    'bentoml_service_request_total{http_response_code="200"}': "0+6000x60",
    'bentoml_service_request_total{http_response_code="500"}': "0+30x60",
    'bentoml_service_request_total{http_response_code="503"}': "0+120x60",
    f'{LATE}{{endpoint="/tag",le="1"}}': "0+6000x60",
    f'{LATE}{{endpoint="/tag",le="5"}}': "0+6000x60",
    f'{LATE}{{endpoint="/tag",le="+Inf"}}': "0+6000x60",
    'entityclip_wanted_not_live{pid="7"}': "0x60",
    'entityclip_flow_run_succeeded{flow="retrain"}': "1x60",
    'entityclip_flow_run_end_timestamp_seconds{flow="retrain"}': "-86400x60",
    'entityclip_flow_run_end_timestamp_seconds{flow="monitor"}': "-7000x60",
    'entityclip_flow_drifted{flow="monitor",of="contrast"}': "0x60",
    'node_filesystem_avail_bytes{mountpoint="/workspace"}': "20x60",
    'node_filesystem_size_bytes{mountpoint="/workspace"}': "100x60",
    "node_textfile_scrape_error": "0x60",
}
"""A good hour, a value a minute: few errors, few refusals, every run on time."""

LOUD = {
    "ServiceDown": {'up{job="entityclip"}': "0x60"},
    "ServiceFails": {'bentoml_service_request_total{http_response_code="500"}': "0+120x60"},
    "ServiceRefuses": {'bentoml_service_request_total{http_response_code="503"}': "0+600x60"},
    "ServiceSlow": {f'{LATE}{{endpoint="/tag",le="1"}}': "0+3000x60"},
    "WantedNotLive": {'entityclip_wanted_not_live{pid="7"}': "1x60"},
    "RunFailed": {'entityclip_flow_run_succeeded{flow="retrain"}': "0x60"},
    "NoRun": {'entityclip_flow_run_end_timestamp_seconds{flow="retrain"}': "-180000x60"},
    "NoWatch": {'entityclip_flow_run_end_timestamp_seconds{flow="monitor"}': "-11000x60"},
    "Drift": {'entityclip_flow_drifted{flow="monitor",of="contrast"}': "1x60"},
    "DiskAlmostFull": {'node_filesystem_avail_bytes{mountpoint="/workspace"}': "9x60"},
    "FiguresUnreadable": {"node_textfile_scrape_error": "1x60"},
}
"""What makes each of them sound, and no other."""


def firing(folder: Path, series: dict[str, str], *, promtool: Path) -> str:
    """What promtool says when none should have fired in an hour of these series."""
    hour = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": "59m", "alertname": alarm["alert"], "exp_alerts": []} for alarm in ALARMS],
    }
    test = folder / "test.yml"
    test.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [hour]}))
    done = subprocess.run([promtool, "test", "rules", str(test)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def test_an_alarm_sounds_when_it_should_and_no_other_does(tmp_path: Path, program: Callable[..., Path]) -> None:
    promtool = program("promtool", package="prometheus")
    assert firing(tmp_path, QUIET, promtool=promtool) == ""
    assert list(LOUD) == [alarm["alert"] for alarm in ALARMS]
    for name, series in LOUD.items():
        output = firing(tmp_path, QUIET | series, promtool=promtool)
        assert set(re.findall(r"alertname: (\w+)", output)) == {name}, output


def expressions() -> list[str]:
    panels = [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    return shown + [alarm["expr"] for alarm in ALARMS]


def test_every_expression_is_valid_promql() -> None:
    for expression in expressions():
        promql_parser.parse(expression.replace("$__rate_interval", "1m"))
    assert len(expressions()) > len(ALARMS) + 12


def test_figures_of_runs_in_the_rules_are_written(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with observed(layout, "all") as run:
        names = ("drift", "drifted", "pictures", "stage_seconds", "release_cost", "cost_per_point")
        run.figures |= {(name, "x"): 1.0 for name in names}
    written = set(re.findall(r"^(\w+)\{", layout.metrics("all").read_text(), re.M))
    assert set(re.findall(r"entityclip_flow_\w+", " ".join(expressions()))) <= written


def test_every_alarm_is_in_the_book() -> None:
    book = (ROOT / "docs" / "operations.md").read_text()
    assert [alarm["alert"] for alarm in ALARMS if f"`{alarm['alert']}`" not in book] == []
