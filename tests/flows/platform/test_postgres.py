"""Prefect's server on PostgreSQL, as a team runs it: a cluster of its own on loopback, gone after the test."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from entityclip.paths import Layout
from flows.platform.local_stack import down, prefect_environment, up
from flows.workspace.triggers import RESOURCE

pytestmark = pytest.mark.slow
SECONDS = 300.0
"""What anything here may take on a busy machine."""


def not_root() -> dict[str, Any]:
    """How to start a program of PostgreSQL, which refuses root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL with one user, who needs a password."""

    programs: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """As Prefect's server takes it."""
        return f"postgresql+asyncpg://prefect:{self.password}@127.0.0.1:{self.port}/postgres"

    def ask(self, query: str) -> list[str]:
        """Rows of one column."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "prefect", "-d", "postgres"]
        command = [str(self.programs / "psql"), *where, "-tAc", query]
        environment = os.environ | {"PGPASSWORD": self.password}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=SECONDS)
        return done.stdout.split()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def cluster(program: Callable[..., Path]) -> Iterator[Cluster]:
    folder = program("initdb", package="postgresql").resolve().parent
    # Not in pytest's folder, which other users cannot enter.
    with tempfile.TemporaryDirectory() as home:
        as_user, word = not_root(), Path(home) / "word"
        found = Cluster(folder, free_port(), secrets.token_hex(12))
        word.write_text(found.password)
        for path in (Path(home), word):
            shutil.chown(path, as_user.get("user", -1))
        how = {"cwd": home, "stdout": subprocess.DEVNULL, "timeout": SECONDS, "check": True, **as_user}
        made = ["--username=prefect", f"--pwfile={word}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        subprocess.run([folder / "initdb", "-D", "data", "--no-sync", *made], **how)
        with served(found, Path(home), as_user):
            yield found


@contextmanager
def served(cluster: Cluster, home: Path, as_user: dict[str, Any]) -> Iterator[None]:
    settings = ["listen_addresses=127.0.0.1", f"port={cluster.port}", f"unix_socket_directories={home}", "fsync=off"]
    command = [cluster.programs / "postgres", "-D", "data", *(part for s in settings for part in ("-c", s))]
    with (home / "log").open("wb") as log, subprocess.Popen(command, cwd=home, stderr=log, **as_user) as server:
        try:
            wait(lambda: ready(cluster) or server.poll() is not None)
            assert server.poll() is None, (home / "log").read_text()
            yield
        finally:
            server.terminate()


def ready(cluster: Cluster) -> bool:
    command = [cluster.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(cluster.port)]
    return subprocess.run(command, check=False).returncode == 0


def wait(until: Any) -> None:
    end = time.monotonic() + SECONDS
    while not until():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.5)


def ended(cluster: Cluster, flow: str) -> list[str]:
    """States of the runs of a flow that are over, as the database has them."""
    runs = "flow_run r join flow f on f.id = r.flow_id"
    over = "('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
    return cluster.ask(f"select r.state_type from {runs} where f.name = '{flow}' and r.state_type::text in {over}")


def test_deployments_and_triggers_run_on_postgresql(
    cluster: Cluster, workspace: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", cluster.url)
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "1")
    environment = prefect_environment(workspace, port=free_port())
    emit = (
        "from prefect.events import emit_event; import flows.workspace.triggers\n"
        f"emit_event('entityclip.drift', resource={{'prefect.resource.id': {RESOURCE!r}}},"
        f" payload={{'workspace': {str(workspace.config)!r}}})"
    )
    try:
        up(workspace, port=int(environment["PREFECT_API_URL"].split(":")[2].split("/")[0]), service_port=free_port())
        run = ["-m", "prefect", "deployment", "run", "collect/weekly", "--watch", "--watch-interval", "1"]
        for command in (run, ["-c", emit]):
            subprocess.run([sys.executable, *command], env=environment, check=True, timeout=SECONDS)
        assert ended(cluster, "collect") == ["COMPLETED"]
        # The event's workspace is a file: its run begins, and is refused at once.
        wait(lambda: ended(cluster, "retrain"))
        assert ended(cluster, "retrain") == ["FAILED"]
    finally:
        down(workspace)
    assert not (workspace.prefect_home / "prefect.db").exists()
    assert not [p for p in workspace.root.rglob("*.log") if cluster.password in p.read_text()]
