"""Real runs of the main job in real workspaces, killed during a stage, and the comparison afterwards.

A run is killed with its process group at a random moment after its log shows that a stage has begun, within the time
that the stage took in an undisturbed run. Then the same command continues.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from entityclip.data.sources.catalog import MAPPING, draw_catalog
from entityclip.paths import Layout
from entityclip.schemas import BentoRecord
from flows.workspace.dvc_hashes import folder_hash
from flows.workspace.registry import champion, history, versions

MOMENTS = (
    ("start", r"^"),
    ("open the workspace", r"Beginning flow run 'retrain-"),
    ("ingest", r"Beginning subflow run 'data-"),
    ("explain", r"'ingest_source-.*Finished"),
    ("validate", r"'explain_entities-.*Finished"),
    ("version", r"'validate_batch-.*Finished"),
    ("train", r"Beginning subflow run 'train-"),
    ("calibrate", r"'train_model-.*Finished"),
    ("evaluate", r"'calibrate_model-.*Finished"),
    ("promote", r"Beginning subflow run 'release-"),
    ("release", r"'decide-.*Finished"),
    ("package", r"'release_model-.*Finished"),
    ("smoke", r"'package_release-.*Finished"),
    ("assign_stage", r"'smoke_test-.*Finished"),
    ("show", r"Flow run 'release-.*Finished"),
    ("end", r"Flow run 'retrain-.*Finished"),
)
"""Stage -> the line of the log with which it begins."""
STAGES = tuple(name for name, _ in MOMENTS)
PRODUCTS = 20
LONGEST_RUN = 900.0


@dataclass
class KillGround:
    """A folder with a source, a home and workspaces."""

    root: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def catalog(self) -> Path:
        """A small catalogue without faults, so that the gate does not refuse it."""
        return self.root / "catalog"

    def prepare(self) -> KillGround:
        """Draw the source."""
        draw_catalog(self.catalog, products=PRODUCTS, faults=False)
        mapping = self.root / "mapping.yaml"
        mapping.write_text(MAPPING.model_dump_json())
        return self

    def command(self, workspace: Path) -> list[str]:
        """Command line of the main job."""
        job = [sys.executable, "-m", "entityclip", "run", "--preset", "tiny", "--source", "table"]
        where = ["--source-path", str(self.catalog), "--mapping", str(self.root / "mapping.yaml")]
        return [*job, *where, "--workspace", str(workspace), *self.arguments]

    def home(self, workspace: Path) -> Path:
        """Home and Prefect's home of the runs in this workspace."""
        return self.root / f"{workspace.name}.home"

    def start(self, workspace: Path) -> JobProcess:
        """A run in a process group of its own."""
        home = self.home(workspace)
        home.mkdir(exist_ok=True)
        own = {"HOME": str(home), "PREFECT_HOME": str(home), "OMP_NUM_THREADS": "1", "GIT_CONFIG_NOSYSTEM": "1"}
        return JobProcess(
            self.command(workspace), os.environ | own | {"ENTITYCLIP_LEASES": str(self.root)} | self.environment
        )


class JobProcess:
    """One run whose log is read while it runs."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.began = time.monotonic()
        self.log: list[str] = []
        self.seen: dict[str, float] = {"start": 0.0}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line)
            for name, pattern in MOMENTS[1:]:
                if re.search(pattern, line):
                    self.seen.setdefault(name, time.monotonic() - self.began)

    def reach(self, stage: str) -> bool:
        """Wait until this stage, or a later one, has begun; False if the run ended before."""
        wanted = set(STAGES[STAGES.index(stage) :])
        while not wanted & self.seen.keys():
            if self._process.poll() is not None or time.monotonic() - self.began > LONGEST_RUN:
                return False
            time.sleep(0.005)
        return True

    def kill(self) -> bool:
        """Kill the process group with signal 9; False if the run had ended."""
        if alive := self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=30)
        return alive

    def end(self) -> int:
        """Wait for the end; returns the exit status."""
        try:
            status = self._process.wait(timeout=LONGEST_RUN)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1
        self._reader.join(timeout=30)
        return status

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def words(self) -> str:
        """The whole log."""
        return "".join(self.log)

    def lasted(self) -> dict[str, float]:
        """Stage -> seconds of a complete run."""
        names = [name for name in STAGES if name in self.seen]
        ends = [*(self.seen[name] for name in names[1:]), self.seen[names[-1]] + 2.0]
        return {name: end - self.seen[name] for name, end in zip(names, ends, strict=True)}


# ---------------------------------------------------------------- how it should be
@dataclass(frozen=True)
class Reference:
    """Result of an undisturbed run, and the seconds of its stages."""

    data_hash: str
    model: str
    subjects: tuple[str, ...]
    lasted: dict[str, float]


def undisturbed(ground: KillGround, workspace: Path) -> Reference:
    """Run to the end and record the result."""
    run = ground.start(workspace)
    if run.end() != 0:
        raise RuntimeError(f"the undisturbed run failed:\n{run.words[-3000:]}")
    layout = Layout(workspace)
    current = champion(layout)
    assert current is not None
    faults = list(unclean(ground, workspace))
    if faults:
        raise RuntimeError(f"already the undisturbed run leaves a mess: {faults}")
    return Reference(
        data_hash=current.data_hash,
        model=current.model_fingerprint,
        subjects=_subjects(layout),
        lasted=run.lasted(),
    )


def wrong(ground: KillGround, workspace: Path, run: JobProcess, status: int, reference: Reference) -> list[str]:
    """Every difference from an undisturbed run; empty if there is none."""
    if status != 0:
        return [f"exit status {status}: {run.words[-1500:]}"]
    layout = Layout(workspace)
    return [*unproved(layout), *_other(layout, reference), *unclean(ground, workspace)]


def unproved(layout: Layout) -> Iterator[str]:
    """Missing properties of a workspace with one release."""
    current = champion(layout)
    if current is None:
        yield "no champion"
        return
    if (current.version, len(versions(layout)), len(history(layout))) != ("v1.0.0", 1, 1):
        yield f"champion {current.version}, releases {list(versions(layout))}, {len(history(layout))} champion periods"
    if (found := folder_hash(layout.data.root)) != current.data_hash:
        yield f"data/ hashes to {found}, the release is of {current.data_hash}"
    proof = BentoRecord.read(layout.receipt(f"smoke-{current.version}"))
    if proof is None or proof.largest_difference is None or proof.largest_difference > 1e-4:
        yield f"the served scores are not proved: {proof}"


def _other(layout: Layout, reference: Reference) -> Iterator[str]:
    """Differences from the undisturbed run."""
    current = champion(layout)
    if current is not None and current.model_fingerprint != reference.model:
        yield f"model {current.model_fingerprint}, expected {reference.model}"
    if current is not None and current.data_hash != reference.data_hash:
        yield f"data {current.data_hash}, expected {reference.data_hash}"
    if (subjects := _subjects(layout)) != reference.subjects:
        yield f"commits {subjects}, expected {reference.subjects}"


def _subjects(layout: Layout) -> tuple[str, ...]:
    return tuple(_git(layout, "log", "--format=%s").splitlines())


def unclean(ground: KillGround, workspace: Path) -> Iterator[str]:
    """Leftovers of a run in Git, DVC, Prefect or among the processes."""
    layout, home = Layout(workspace), ground.home(workspace)
    if status := _git(layout, "status", "--porcelain"):
        yield f"git status: {status}"
    if bad := _git(layout, "fsck", "--no-progress", "--no-dangling"):
        yield f"git fsck: {bad}"
    dvc = [str(Path(sys.executable).with_name("dvc")), "status", "--json"]
    for command in (dvc, [*dvc, "--cloud"]):
        done = subprocess.run(
            command, cwd=layout.root, env=os.environ | {"HOME": str(home)}, capture_output=True, text=True
        )
        if done.returncode != 0 or json.loads(done.stdout or "{}"):
            yield f"dvc {' '.join(command[1:])}: {done.stdout}{done.stderr[-500:]}"
    if left := [p.name for p in workspace.iterdir() if p.name.endswith((".incoming", ".outgoing", ".partial"))]:
        yield f"half-written: {left}"
    with sqlite3.connect(home / "prefect.db") as database:
        open_ones = "SELECT name, state_type FROM flow_run WHERE state_type NOT IN ('COMPLETED', 'CRASHED', 'FAILED')"
        if runs := database.execute(open_ones).fetchall():
            yield f"Prefect: {runs}"
    if processes := of_home(home):
        yield f"processes: {processes}"


def of_home(home: Path, *, patience: float = 40.0) -> list[str]:
    """Command lines of processes that still use this home after a while."""
    end = time.monotonic() + patience
    while (found := list(_of_home(home))) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _of_home(home: Path) -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                yield " ".join(process.cmdline())[:200]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _git(layout: Layout, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=layout.root, capture_output=True, text=True, check=False)
    return (done.stdout + (done.stderr if done.returncode else "")).strip()


# ---------------------------------------------------------------- fire
def kill_in(
    ground: KillGround, workspace: Path, stage: str, *, lasted: dict[str, float], random: Random
) -> JobProcess | None:
    """Start a run and kill it during the stage, or soon after; None if it had ended before."""
    run = ground.start(workspace)
    if run.reach(stage):
        time.sleep(random.uniform(0.0, lasted.get(stage, 1.0)))
        if run.kill():
            return run
    run.end()
    return None


def forget(ground: KillGround, workspace: Path) -> None:
    """Delete a workspace with its home."""
    for folder in (workspace, ground.home(workspace)):
        shutil.rmtree(folder, ignore_errors=True)
