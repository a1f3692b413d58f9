"""The command: over a package, killed in the middle, and corrections back into the feedback spool."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tiny import COLOURS, tiny_picture
from typer.testing import CliRunner

from bentos.runtime.feedback import Spool
from entityclip.annotation.annotate import CHUNK
from entityclip.cli import app
from entityclip.paths import AnnotationLayout, Layout

cli = CliRunner()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, colour in enumerate(COLOURS):
        tiny_picture(colour, number).save(folder / f"{colour}.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def run(*arguments: object) -> dict[str, object]:
    done = cli.invoke(app, ["annotate", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_folder_is_annotated_and_the_corrections_come_back(package, photos, tmp_path):
    to = AnnotationLayout(tmp_path / "annotated")
    assert run(photos, "--to", to.root, "--package", package.root, "--dry-run") == {"files": 7}
    assert not to.root.exists()
    found = run(photos, "--to", to.root, "--package", package.root, "--format", "csv", "--format", "coco")
    assert found == {"files": 7, "new": 7, "sure": 6, "unknown": 0, "problems": 1, "with_text": 0, "partly_read": 0}
    assert to.coco.exists()
    assert not to.jsonl.exists()
    assert run(photos, "--to", to.root, "--package", package.root)["new"] == 0
    rows = to.csv.read_text(encoding="utf-8-sig").splitlines()
    assert rows[1].split(",")[-2] == "v1.0.0"
    first = rows[1].split(",")
    rows[1] = ",".join([first[0], "KX-NEW", *first[2:]])
    to.csv.write_text("\n".join(rows) + "\n", encoding="utf-8")
    back = ("import", to.csv, "--annotated", to.root, "--pictures", photos, "--by", "田中")
    workspace = Layout(tmp_path / "shop")
    assert run(*back, "--workspace", workspace.root, "--dry-run") == {"right": 0, "wrong": 1, "missing": 1}
    assert not workspace.service.feedback.exists()
    run(*back, "--workspace", workspace.root)
    run(*back, "--workspace", workspace.root)  # twice: the same judgements
    kept = [feedback for _, feedback in Spool(workspace.service.feedback).read()]
    assert [(row.verdict, row.entity, row.key, row.release) for row in kept] == [
        ("wrong", first[1], "person 田中", "v1.0.0"),
        ("missing", "KX-NEW", "person 田中", "v1.0.0"),
    ]
    assert kept[0].picture == (photos / first[0]).read_bytes()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "exactly one of --workspace, --package and --service"),
        (("--package", "a", "--service", "b"), "exactly one of"),
        (("--package", "a", "--format", "word"), "format 'word': expected one of csv, jsonl"),
    ],
)
def test_wrong_options_are_refused(photos, tmp_path, options, reason):
    done = cli.invoke(app, ["annotate", str(photos), "--to", str(tmp_path / "to"), *options])
    assert done.exit_code == 1
    assert reason in done.output


@pytest.mark.slow
def test_after_a_kill_the_same_command_gives_the_same_bytes(package, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6 * CHUNK):
        tiny_picture(COLOURS[number % 6], number).save(photos / f"{number:04}.png")
    whole, killed = (AnnotationLayout(tmp_path / name) for name in ("whole", "killed"))

    def command(layout: AnnotationLayout) -> list[str]:
        start = [sys.executable, "-m", "entityclip", "annotate", str(photos), "--to", str(layout.root)]
        return [*start, "--package", str(package.root), "--format", "jsonl"]

    subprocess.run(command(whole), check=True)
    process = subprocess.Popen(command(killed))
    while process.poll() is None and not kept(killed):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not killed.jsonl.exists()
    before = kept(killed)
    assert 0 < before < 6 * CHUNK
    assert before % CHUNK == 0
    subprocess.run(command(killed), check=True)
    assert killed.jsonl.read_bytes() == whole.jsonl.read_bytes()


def kept(layout: AnnotationLayout) -> int:
    try:
        with closing(sqlite3.connect(f"file:{layout.records}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM annotations").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0
