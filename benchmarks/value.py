"""The value report of the demo and of real photographs: seconds, and how many of its figures have no source.

    python benchmarks/value.py --source ../shared/grocery --json
    python benchmarks/value.py --workspace build/shop --json

Without --workspace, two workspaces are made with the criteria of docs/value-report.md, which are committed before the
data, and a main job runs in each: the built-in catalogue with the preset ``demo``, and the Grocery Store data set in
--source with the preset ``photos`` and --minutes of training. Where that folder is missing, the second one is skipped,
and ``skipped`` says so. ``run_seconds`` is the time of the main job; ``seconds`` is that of the report in both
languages, with each figure read again and compared with its source. ``--pdf`` prints the pages too and needs Chromium.
With --keep, the new workspaces stay in that folder.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from lib.machine import facts

CRITERIA = Path(__file__).parents[1] / "docs" / "value-report.md"


def command(*arguments: object) -> dict[str, Any]:
    """What an ``entityclip`` command prints last with ``--json``; its progress goes to this terminal."""
    whole = [sys.executable, "-m", "entityclip", *map(str, arguments), "--json"]
    done = subprocess.run(whole, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def documented_criteria(folder: Path) -> Path:
    """The criteria of docs/value-report.md, as a file."""
    block = re.search(r"^```yaml\n(.*?)^```", CRITERIA.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    if block is None:
        raise SystemExit(f"{CRITERIA}: no criteria in a yaml block")
    (criteria := folder / "criteria.yaml").write_text(block[1], encoding="utf-8")
    return criteria


def made(workspace: Path, criteria: Path, *options: object) -> float:
    """Commit the criteria in a new workspace, then run the main job in it; returns the seconds of the run."""
    command("value-report", "--workspace", workspace, "--criteria", criteria, "--commit")
    started = time.monotonic()
    command("run", "--workspace", workspace, *options)
    return time.monotonic() - started


def reported(workspace: Path, *, pdf: bool) -> dict[str, Any]:
    """Both languages of one workspace's report; the workspace itself is not written to."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        for language in ("en", "ja"):
            options = ["--language", language, "--to", folder, "--pdf" if pdf else "--no-pdf"]
            answer = command("value-report", "--workspace", workspace, *options)
        seconds = time.monotonic() - started
    kept = {name: answer[name] for name in ("release", "verdict", "count", "untraced")}
    return {"workspace": workspace.name, **kept, "seconds": round(seconds, 1)}


def trials(folder: Path, source: Path, *, preset: str, minutes: float) -> tuple[dict[Path, float], dict[str, str]]:
    """New workspace -> seconds of its main job, and what was skipped with the reason."""
    criteria = documented_criteria(folder)
    jobs: dict[str, tuple[object, ...]] = {"demo": ("--preset", preset)}
    skipped = {}
    if source.is_dir():
        photographs = ("--preset", "photos", "--source", "grocery", "--source-path", source, "--minutes", minutes)
        jobs["grocery"] = photographs
    else:
        skipped["grocery"] = f"no folder {source}; name that of the Grocery Store data set with --source"
    return {folder / name: made(folder / name, criteria, *options) for name, options in jobs.items()}, skipped


def main(
    workspace: Annotated[list[Path] | None, typer.Option(help="With committed criteria; repeatable.")] = None,
    source: Annotated[Path, typer.Option(help="Folder of the Grocery Store data set.")] = Path("../shared/grocery"),
    preset: Annotated[str, typer.Option(help="Of the main job on the built-in catalogue.")] = "demo",
    minutes: Annotated[float, typer.Option(help="Training on the photographs.")] = 4,
    keep: Annotated[Path | None, typer.Option(help="New folder for the workspaces that are made.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print both pages as PDF too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Write the reports and print one JSON object, last."""
    with tempfile.TemporaryDirectory() as folder:
        (place := keep or Path(folder)).mkdir(parents=True, exist_ok=True)
        ran, skipped = dict[Path, float](), dict[str, str]()
        if not workspace:
            ran, skipped = trials(place, source, preset=preset, minutes=minutes)
        found = [
            reported(each, pdf=pdf) | ({"run_seconds": round(ran[each], 1)} if each in ran else {})
            for each in workspace or ran
        ]
    answer = {
        "untraced": sum(each["untraced"] for each in found),
        "seconds": round(sum(each["seconds"] for each in found), 1),
        "minutes": minutes if ran else None,
        "skipped": skipped,
        "reports": found,
    }
    if not as_json:
        for each in found:
            typer.echo(f"{each['workspace']}: {each['verdict']}, {each['count']} figures, {each['untraced']} untraced")
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
