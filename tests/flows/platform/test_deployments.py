"""prefect.yaml and deploy/ match the code: every entrypoint, parameter, event, module and probe."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import EventTrigger
from prefect.exceptions import ParameterTypeError
from prefect.utilities.templating import apply_values
from pydantic import TypeAdapter

from entityclip.cli.contributed import contributed
from entityclip.paths import Layout
from flows.platform.deployments import placeholders
from flows.workspace.triggers import RESOURCE, Cause

ROOT = Path(__file__).resolve().parents[3]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    module, name = deployment["entrypoint"].split(".py:")
    return getattr(import_module(module.replace("/", ".")), name)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_a_deployment_fits_its_flow(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    assert isinstance(flow, Flow)
    parameters = deployment.get("parameters", {})
    if parameters:  # the typed form checks them before a run begins
        flow.validate_parameters(parameters)
    assert deployment["work_pool"] == {"name": "local"}
    for trigger in deployment.get("triggers", []):
        flow.validate_parameters(parameters | trigger["parameters"])
        parsed = TypeAdapter(EventTrigger).validate_python(
            {k: v for k, v in trigger.items() if k in EventTrigger.model_fields}
        )
        assert parsed.expect == {f"entityclip.{cause}" for cause in get_args(Cause)}
        assert parsed.match["prefect.resource.id"] == [f"{RESOURCE}*"]


def test_what_the_code_starts_by_name_is_deployed() -> None:
    from flows.approve import DEPLOYMENT

    names = {f"{flow_of(d).name}/{d['name']}" for d in DEPLOYMENTS}
    assert {DEPLOYMENT, "retrain/on-event", "retrain/nightly"} <= names


def test_wrong_parameters_are_refused_before_a_run_begins() -> None:
    flow = flow_of(next(d for d in DEPLOYMENTS if d["name"] == "nightly"))
    for wrong in ({"preset": "dmeo"}, {"epochs": 0}, {"device": "tpu"}):
        with pytest.raises(ParameterTypeError, match=next(iter(wrong))):
            flow.validate_parameters(wrong)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC"])
def test_the_schedules_count_in_the_workspaces_time_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    layout = Layout(tmp_path)
    if zone != "UTC":
        layout.config.write_text(f"runs: {{timezone: {zone}}}\n")
    for name, value in placeholders(layout).items():
        monkeypatch.setenv(name, value)
    schedules = [each for d in DEPLOYMENTS for each in apply_values(d.get("schedules", []), {}) if "cron" in each]
    assert len(schedules) == 5
    assert {CronSchedule(**each).timezone for each in schedules} == {zone}


def test_compose_starts_commands_that_exist_behind_servers_that_are_ready() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            ready = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}[how["condition"]]
            assert ready in services[needed], f"{name} waits for {needed}, which never says so"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        command = service.get("command", [])
        if command[:1] == ["entityclip"]:
            assert command[1] in contributed(), name
    assert "POSTGRES_PASSWORD" in services["prefect"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_a_manifest_selects_its_own_pods_and_mounts_what_it_names(path: Path) -> None:
    for part in yaml.safe_load_all(path.read_text()):
        if part["kind"] != "StatefulSet":
            continue
        pod = part["spec"]["template"]
        assert part["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
        claims = {claim["metadata"]["name"] for claim in part["spec"]["volumeClaimTemplates"]}
        containers = pod["spec"]["containers"]
        mounted = {mount["name"] for container in containers for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]} | claims
        for container in containers:
            ports = {port["name"] for port in container.get("ports", [])}
            probes = [probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")]
            assert all(probe["port"] in ports for probe in probes)
