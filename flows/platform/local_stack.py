"""Starts and stops Prefect server, worker and service together on one machine.

``entityclip up --workspace DIR`` and ``entityclip down --workspace DIR``.

It starts a Prefect server, a work pool, the deployments of ``prefect.yaml``, a worker, and the champion's service if
there is a champion. Parts that run already are left as they are. A process is identified by its id and start time, so
that a process that reuses the id is never stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import psutil

from bentos.middleware import keys
from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from entityclip.schemas import Record
from flows.platform.deployments import COMMAND, HOME, placeholders
from flows.platform.prefect_auth import kept_auth_string, require_closed, server_settings
from flows.steps.deploy_release import state_of
from flows.workspace.registry import champion

POOL = "local"
START_SECONDS = 180.0
STOP_SECONDS = 30.0


class Started(Record):
    """A process that this program started."""

    pid: int
    began: float


# ---------------------------------------------------------------- processes
def running(layout: Layout, name: str) -> psutil.Process | None:
    """The process started under this name, if it still runs."""
    note = Started.read(layout.process(name))
    try:
        process = psutil.Process(note.pid) if note else None
        same = process is not None and abs(process.create_time() - note.began) < 1 if note else False
        return process if same and process and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def start(layout: Layout, name: str, command: list[str], *, environment: Mapping[str, str], cwd: Path) -> bool:
    """Start a process that outlives this one and writes to a log; False if it runs already."""
    if running(layout, name) is not None:
        return False
    log = layout.process_log(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    Started(pid=child.pid, began=psutil.Process(child.pid).create_time()).write(layout.process(name))
    return True


def stop(layout: Layout, name: str) -> bool:
    """Terminate the process and its children, then kill those that remain; False if it did not run."""
    process = running(layout, name)
    if process is not None:
        family = [process, *process.children(recursive=True)]
        process.terminate()  # only the parent: a second signal would make a worker drop its runs
        _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for left in alive:
            left.kill()
        psutil.wait_procs(alive, timeout=STOP_SECONDS)
    layout.process(name).unlink(missing_ok=True)
    return process is not None


def wait_until(ready: Callable[[], bool], layout: Layout, name: str) -> None:
    """Wait until a started process answers.

    Raises:
        WorkspaceError: It exited, or did not answer in time; names its log.
    """
    end = time.monotonic() + START_SECONDS
    while not ready():
        if running(layout, name) is None or time.monotonic() > end:
            raise WorkspaceError(f"{name} does not answer; see its log {layout.process_log(name)}")
        time.sleep(0.5)


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def listens(layout: Layout, name: str, port: int) -> bool:
    """Whether our own process listens on this port; another process there must not get the secret."""
    process = running(layout, name)
    try:
        family = [process, *process.children(recursive=True)] if process else []
        held = [connection for each in family for connection in each.net_connections("tcp")]
    except psutil.NoSuchProcess:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in held)


# ---------------------------------------------------------------- up and down
def up(layout: Layout, *, port: int, service_port: int) -> list[str]:
    """Start the parts that do not run yet; returns a line for each part.

    Raises:
        WorkspaceError: A part does not start; running parts are left as they are.
    """
    environment = prefect_environment(layout, port=port)
    api = environment["PREFECT_API_URL"]
    if running(layout, "server") is None and answers(f"{api}/health"):
        raise WorkspaceError(f"port {port}: another Prefect server answers there; stop it, or name another --port")
    secret = environment["PREFECT_API_AUTH_STRING"]
    closed = environment | server_settings(secret, port=port)
    _prefect(layout, closed, "server", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    wait_until(lambda: answers(f"{api}/health") and listens(layout, "server", port), layout, "server")
    require_closed(layout, api, secret)
    _once(environment, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    _once(environment, *COMMAND)
    _prefect(layout, environment, "worker", "worker", "start", "--pool", POOL)
    lines = [
        f"Prefect: {api.removesuffix('/api')}  (worker on pool {POOL!r}, deployments of {HOME / 'prefect.yaml'})",
        f"Log in to its page with the line in {layout.prefect_auth}; commands need it in PREFECT_API_AUTH_STRING.",
    ]
    return [*lines, *_serve(layout, service_port)]


def down(layout: Layout) -> list[str]:
    """Stop everything, the worker before the server it reports to; returns a line for each part."""
    return [f"{name}: {'stopped' if stop(layout, name) else 'did not run'}" for name in ("service", "worker", "server")]


def prefect_environment(layout: Layout, *, port: int) -> dict[str, str]:
    """Environment of the server, the worker and Prefect's commands.

    Raises:
        ConfigError: The workspace's settings cannot be read.
        WorkspaceError: The file of the server's auth string can be read by other users.
    """
    return os.environ | {
        "PREFECT_HOME": str(layout.prefect_home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_AUTH_STRING": kept_auth_string(layout),
        **placeholders(layout),
    }


def _prefect(layout: Layout, environment: Mapping[str, str], name: str, *arguments: str) -> None:
    start(layout, name, [sys.executable, "-m", "prefect", *arguments], environment=environment, cwd=HOME)


def _once(environment: Mapping[str, str], *arguments: str) -> None:
    """Run a Prefect command to its end.

    Raises:
        WorkspaceError: It failed; carries the end of its output.
    """
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(command, env=dict(environment), cwd=HOME, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise WorkspaceError(f"prefect {' '.join(arguments[:2])} failed: {(done.stderr or done.stdout)[-1500:]}")


def _serve(layout: Layout, port: int) -> list[str]:
    """Start the champion's service; it switches to later champions, see ``deploy_release.go_live``."""
    release = champion(layout)
    if release is None:
        first = f"entityclip run --workspace {layout.root} --preset ..., which names the source"
        run = "prefect deployment run retrain/nightly" if layout.source.exists() else first
        return [f"Service: no champion yet; {run}; then start again"]
    state, lines = state_of(layout), []
    if not state.keys.exists():
        key = keys.make(state.keys, name="first", scopes=("query", "feedback"))
        lines = [f"The service's first key, shown only once: {key}"]
    command = [sys.executable, "-m", "entityclip", "serve", "--workspace", str(layout.root), "--port", str(port)]
    start(layout, "service", command, environment=os.environ, cwd=HOME)
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), layout, "service")
    return [*lines, f"Service: http://127.0.0.1:{port}  ({release.version} is the champion)"]
