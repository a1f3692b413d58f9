"""The value report of a workspace: seconds, and how many of its figures have no source.

    python benchmarks/value.py --workspace build/shop --json
    python benchmarks/value.py --json

Each workspace must have its criteria committed before its data. Without --workspace, one is made with the criteria of
docs/value-report.md, and the built-in catalogue is run in it with the preset ``tiny``, which takes about two minutes;
``run_seconds`` says how long, and ``seconds`` is the report alone, in both languages, read and compared with its
sources. ``--pdf`` prints them too and needs Chromium.
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


def tiny_workspace(root: Path) -> tuple[Path, float]:
    """A workspace with the documented criteria and one small release; and the seconds of its run."""
    block = re.search(r"^```yaml\n(.*?)^```", CRITERIA.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    if block is None:
        raise SystemExit(f"{CRITERIA}: no criteria in a yaml block")
    (criteria := root / "criteria.yaml").write_text(block[1], encoding="utf-8")
    workspace = root / "workspace"
    command("value-report", "--workspace", workspace, "--criteria", criteria, "--commit")
    started = time.monotonic()
    command("run", "--workspace", workspace, "--preset", "tiny")
    return workspace, time.monotonic() - started


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


def main(
    workspace: Annotated[list[Path] | None, typer.Option(help="With committed criteria; repeatable.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print both pages as PDF too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Write the reports and print one JSON object, last."""
    with tempfile.TemporaryDirectory() as folder:
        ran = None
        if not workspace:
            made, ran = tiny_workspace(Path(folder))
            workspace = [made]
        found = [reported(each, pdf=pdf) for each in workspace]
    answer = {
        "untraced": sum(each["untraced"] for each in found),
        "seconds": round(sum(each["seconds"] for each in found), 1),
        "run_seconds": None if ran is None else round(ran, 1),
        "reports": found,
    }
    if not as_json:
        for each in found:
            typer.echo(f"{each['workspace']}: {each['verdict']}, {each['count']} figures, {each['untraced']} untraced")
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
