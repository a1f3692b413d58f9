"""Kills and other faults of a nightly run: the main job must end as if nothing had happened.

    python benchmarks/faults.py --kills 100
    python benchmarks/faults.py --kills 14 --seed 3 --only smoke
    python benchmarks/faults.py --kills 0 --others

Each round uses a new workspace. Its runs are killed one after the other, once in each stage, each with its process
group and signal 9. Then the same command runs to its end and is compared with an undisturbed run: the same data,
model and commits, one release, a clean Git and DVC, no run that Prefect shows as Running, no process left, and
verified scores. A problem that a round finds counts against each of its kills.

``--others`` injects other faults first: a full disk at several moments (needs the right to mount), a remote that
cannot be written, a Git without an identity, a lock of another process. The run must end with one line that names the
problem, or succeed; when the cause is gone, the same command must end as if nothing had happened.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from lib.kill_harness import STAGES, KillGround, Reference, forget, kill_in, undisturbed, wrong
from lib.machine import facts

from entityclip.paths import Layout

DISKS = (1, 6, 20, 40)
"""Megabytes: full while the workspace is made, while data are versioned, at the model, at the Bento."""


def round_of_kills(
    ground: KillGround, workspace: Path, stages: tuple[str, ...], *, reference: Reference, seed: int
) -> tuple[int, list[dict[str, Any]]]:
    """Kill in these stages, in this order. Returns the number of kills that hit, and the problems found at the end."""
    random, hit = Random(seed), []
    for stage in stages:
        run = kill_in(ground, workspace, stage, lasted=reference.lasted, random=random)
        print(f"  {stage}: {'killed' if run else 'ended before'}", flush=True)
        hit += [stage] if run else []
    run = ground.start(workspace)
    found = wrong(ground, workspace, run, run.end(), reference)
    print(f"seed {seed}: {len(hit)} kills, {'; '.join(found) or 'as if nothing had happened'}", flush=True)
    return len(hit), [{"stage": " > ".join(hit), "seed": seed, "wrong": each} for each in found]


# ---------------------------------------------------------------- other faults
def full_disk(ground: KillGround, workspace: Path, reference: Reference, *, megabytes: int) -> list[str]:
    """The disk of the workspace is full at some moment; later it has space again."""
    workspace.mkdir()
    size = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(workspace)]
    if subprocess.run(size, capture_output=True, check=False).returncode != 0:
        return ["not tried: this user may not mount"]
    try:
        failure = _refused(ground, workspace, expected=f"{workspace}.*(No space left|full)")
        subprocess.run(["mount", "-o", "remount,size=2g", str(workspace)], check=True)
        return failure or _goes_on(ground, workspace, reference)
    finally:
        subprocess.run(["umount", "--lazy", str(workspace)], check=True)


def unwritable_remote(ground: KillGround, workspace: Path, reference: Reference) -> list[str]:
    """A file is in the place of the remote's folder; later it is removed."""
    kill_in(ground, workspace, "ingest", lasted={}, random=Random(0))
    remote = Layout(workspace).remote
    shutil.rmtree(remote, ignore_errors=True)
    remote.write_text("no folder")
    failure = _refused(ground, workspace, expected="remote|pushing")
    remote.unlink()
    return failure or _goes_on(ground, workspace, reference)


def foreign_lock(ground: KillGround, workspace: Path, reference: Reference) -> list[str]:
    """A lock of another Git process is left; later it is deleted, as the message says."""
    kill_in(ground, workspace, "validate", lasted={}, random=Random(0))
    lock = workspace / ".git" / "index.lock"
    lock.touch()
    os.utime(lock, (0, 0))  # older than any run of ours
    failure = _refused(ground, workspace, expected="index.lock")
    lock.unlink()
    return failure or _goes_on(ground, workspace, reference)


def nobody(ground: KillGround, workspace: Path, reference: Reference) -> list[str]:
    """Git has no identity and must not guess one."""
    settings = ground.root / "strict.gitconfig"
    settings.write_text("[user]\n\tuseConfigOnly = true\n")
    strict = KillGround(ground.root, environment={"GIT_CONFIG_GLOBAL": str(settings)})
    return _goes_on(strict, workspace, reference)


def _refused(ground: KillGround, workspace: Path, *, expected: str) -> list[str]:
    """Require exit status 1 and a last message that names the cause."""
    run = ground.start(workspace)
    status = run.end()
    last = (run.words.strip().splitlines() or [""])[-1]
    print(f"  reported: {last[:300]}", flush=True)
    plain = status == 1 and re.search(expected, last) is not None
    return [] if plain else [f"exit status {status}, last words: {run.words[-800:]}"]


def _goes_on(ground: KillGround, workspace: Path, reference: Reference) -> list[str]:
    run = ground.start(workspace)
    return wrong(ground, workspace, run, run.end(), reference)


def others(ground: KillGround, reference: Reference) -> dict[str, list[str]]:
    """Fault -> problems found afterwards."""
    tries: dict[str, Callable[[KillGround, Path, Reference], list[str]]] = {
        **{f"disk full at {size} MB": partial(full_disk, megabytes=size) for size in DISKS},
        "remote cannot be written": unwritable_remote,
        "lock of somebody else": foreign_lock,
        "no identity": nobody,
    }
    found = {}
    for number, (name, attempt) in enumerate(tries.items()):
        found[name] = attempt(ground, ground.root / f"other-{number}", reference)
        print(f"{name}: {'; '.join(found[name]) or 'as if nothing had happened'}", flush=True)
    return found


def main(
    kills: Annotated[int, typer.Option(min=0, help="How many.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the first round; the next has the next.")] = 0,
    only: Annotated[str | None, typer.Option(help=f"One stage alone: {', '.join(STAGES)}.")] = None,
    other: Annotated[bool, typer.Option("--others", help="Other faults first.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where to work; a failed round's workspace stays there.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Only the JSON object; progress goes to standard error.")
    ] = False,
) -> None:
    """Kill, continue, compare; print one JSON object last."""
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        answer = _measure(kills, seed, only=only, other=other, folder=folder)
    print(json.dumps(answer | facts()))


def _measure(kills: int, seed: int, *, only: str | None, other: bool, folder: Path | None) -> dict[str, Any]:
    root = Path(tempfile.mkdtemp(prefix="faults-", dir=folder))
    ground, started = KillGround(root).prepare(), time.monotonic()
    reference = undisturbed(ground, root / "reference")
    print(f"undisturbed: { ({name: round(s, 1) for name, s in reference.lasted.items()}) }", flush=True)
    failures: list[dict[str, Any]] = []
    for name, wrongs in (others(ground, reference) if other else {}).items():
        failures += [{"stage": name, "seed": None, "wrong": each} for each in wrongs]
    done, survived = 0, 0
    while done < kills:
        stages = ((only,) if only else STAGES)[: kills - done]
        workspace = root / f"seed-{seed}"
        hit, found = round_of_kills(ground, workspace, stages, reference=reference, seed=seed)
        done, survived, failures = done + hit, survived + (0 if found else hit), [*failures, *found]
        if not found:
            forget(ground, workspace)
        seed += 1
    if not failures:
        shutil.rmtree(root)
    return {"kills": done, "survived": survived, "failures": failures, "seconds": round(time.monotonic() - started)}


if __name__ == "__main__":
    typer.run(main)
