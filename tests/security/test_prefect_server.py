"""Who reaches a Prefect server's API can run any command: none of the three that this project starts is open."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from prefect.context import refresh_global_settings_context
from prefect_homes import prefect_home

from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.platform import doctor
from flows.platform.local_stack import down, prefect_environment, running, start, up
from flows.workspace.create import open_workspace
from flows.workspace.triggers import RESOURCE

pytestmark = pytest.mark.slow
SECONDS = 300.0
"""What anything here may take on a busy machine."""
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FOREIGN = {"Origin": "https://evil.example", "Host": "evil.example"}
TEMPORARY = """
import os, sys
from flows.platform.ephemeral_server import begin
with begin() as answers:
    answers()
    print(os.environ["PREFECT_API_URL"], flush=True)
    sys.stdin.read()
"""
EMIT = f"""
from prefect.events import emit_event
import flows
emit_event("entityclip.security", resource={{"prefect.resource.id": {RESOURCE!r}}})
"""


def require_closed(api: str) -> None:
    """The way of an attack: a flow, a deployment that pulls its code with a command, a run of it."""

    def post(path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{api}/{path}", json=body, headers=FOREIGN, timeout=60)

    flow = post("flows/", {"name": "owned"})
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": "id"}}]
    deployment = {"name": "owned", "flow_id": flow.json().get("id", str(uuid.uuid4())), "pull_steps": steps}
    made = post("deployments/", deployment)
    run = post(f"deployments/{made.json().get('id', uuid.uuid4())}/create_flow_run", {})
    preflight = httpx.options(f"{api}/flows/", headers=FOREIGN | {"Access-Control-Request-Method": "POST"}, timeout=60)
    assert [answer.status_code for answer in (flow, made, run)] == [401, 401, 401]
    for answer in (flow, made, run, preflight):
        assert "access-control-allow-origin" not in answer.headers


def wait(until: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not until():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.5)


def healthy(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def environment_of(environment: dict[str, str]) -> Iterator[None]:
    """This process sees it too, as a person who typed the exports of docs/operations.md."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        refresh_global_settings_context()
        yield
    refresh_global_settings_context()


# ---------------------------------------------------------------- make up
def test_what_make_up_starts_is_closed_to_strangers_and_open_to_the_project(
    workspace: Layout, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "1")
    environment = prefect_environment(workspace, port=free_port)
    api = environment["PREFECT_API_URL"]
    workspace.config.write_text("runs: {timezone: Asia/Tokyo}\n")
    open_workspace(workspace.root)
    prefect_home(workspace.prefect_home)
    try:
        up(workspace, port=free_port, service_port=1)
        require_closed(api)
        secret = environment["PREFECT_API_AUTH_STRING"]
        run = ["deployment", "run", "collect/weekly", "--watch", "--watch-interval", "1"]
        prefect = [sys.executable, "-m", "prefect", *run]
        for command in (prefect, [sys.executable, "-c", EMIT]):
            subprocess.run(command, env=environment, check=True, timeout=SECONDS)
        auth = tuple(secret.split(":"))
        assert "Asia/Tokyo" in httpx.get(f"{api}/deployments/name/retrain/nightly", auth=auth, timeout=60).text
        wait(lambda: "entityclip.security" in httpx.post(f"{api}/events/filter", json={}, auth=auth, timeout=60).text)
        with environment_of(environment):
            assert doctor.prefect(workspace).state == "fine"
        with environment_of({"PREFECT_API_URL": api}):
            refused = doctor.prefect(workspace)
            assert (refused.state, str(workspace.prefect_auth) in refused.remedy) == ("wrong", True)
        require_hidden(workspace, secret)
    finally:
        down(workspace)


def require_hidden(workspace: Layout, secret: str) -> None:
    """Only the owner can read the file, and the secret stands in no log and on no command line."""
    assert workspace.prefect_auth.stat().st_mode & 0o777 == 0o600
    assert workspace.prefect_auth.read_text().strip() == secret
    known = secret.partition(":")[2]
    assert not [p for p in workspace.root.rglob("*.log") if known in p.read_text(errors="replace")]
    for name in ("server", "worker"):
        process = running(workspace, name)
        assert process is not None
        assert not [p for p in (process, *process.children(recursive=True)) if known in " ".join(p.cmdline())]
    shown = subprocess.run(["git", "status", "--porcelain"], cwd=workspace.root, capture_output=True, text=True)
    assert shown.stdout == ""


def test_a_server_that_an_earlier_version_left_open_is_named_and_nothing_is_deployed(
    workspace: Layout, free_port: int
) -> None:
    environment = os.environ | {"PREFECT_HOME": str(prefect_home(workspace.prefect_home))}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(free_port)]
    try:
        start(workspace, "server", command, environment=environment, cwd=workspace.root)
        wait(lambda: healthy(f"http://127.0.0.1:{free_port}/api"))
        with pytest.raises(WorkspaceError, match=r"open to every user of this machine.*entityclip down"):
            up(workspace, port=free_port, service_port=1)
        with environment_of({"PREFECT_API_URL": f"http://127.0.0.1:{free_port}/api"}):
            assert doctor.prefect(workspace).state == "wrong"
    finally:
        down(workspace)


# ---------------------------------------------------------------- a run by hand
def test_the_temporary_server_is_closed_to_strangers(tmp_path: Path) -> None:
    environment = os.environ | {"PREFECT_HOME": str(prefect_home(tmp_path))}
    with subprocess.Popen(
        [sys.executable, "-c", TEMPORARY], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        require_closed(parent.stdout.readline().strip())
        (server,) = psutil.Process(parent.pid).children()
        secret = server.environ()["PREFECT_SERVER_API_AUTH_STRING"]
        assert not [p for p in tmp_path.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
        assert secret not in " ".join(server.cmdline())
        assert parent.stdin is not None
        parent.stdin.close()
    psutil.wait_procs([server], timeout=60)


# ---------------------------------------------------------------- compose
def test_the_server_of_compose_is_closed_to_strangers(tmp_path: Path, free_port: int) -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["prefect"]
    given = {"POSTGRES_PASSWORD": "p", "PREFECT_AUTH_STRING": "team:" + "s" * 32}
    environment = {name: filled(value, given) for name, value in service["environment"].items()}
    api = f"http://127.0.0.1:{free_port}/api"
    replaced = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tmp_path}/prefect.db",
        "PREFECT_HOME": str(prefect_home(tmp_path)),
        "PREFECT_API_URL": api,
    }
    assert service["command"][:4] == ["prefect", "server", "start", "--host"]
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(free_port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=os.environ | environment | replaced, stdout=log, stderr=log)
    try:
        wait(lambda: healthy(api) or server.poll() is not None)
        require_closed(api)
        worker = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker"]["environment"]
        auth = tuple(filled(worker["PREFECT_API_AUTH_STRING"], given).split(":"))
        assert httpx.get(f"{api}/version", auth=auth, timeout=60).status_code == 200
    finally:
        server.terminate()
        server.wait(60)


def test_compose_starts_nothing_without_a_secret_of_its_own() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert "${PREFECT_AUTH_STRING:?" in text
    with pytest.raises(KeyError):
        filled("${PREFECT_AUTH_STRING:?}", {"PREFECT_AUTH_STRING": ""})


def filled(value: str, given: dict[str, str]) -> str:
    """As Compose puts variables in; one that is missing or empty stops it."""

    def put(match: re.Match[str]) -> str:
        name = match.group(1)
        if not given.get(name):
            raise KeyError(name)
        return given[name]

    return re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", put, value)
