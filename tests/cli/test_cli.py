"""The commands as a user types them, one after the other, on a table with Japanese columns and a few bad rows."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image, ImageDraw
from tiny import TRAIN_PICTURES, tiny_data, tiny_model, tiny_picture
from typer.testing import CliRunner, Result

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.paths import DataLayout, PackageLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex

MAPPING = """\
file: 写真
entity: 商品コード
encoding: cp932
default_language: ja
images: photos
entities: {table: 商品マスタ.csv, entity: 商品コード, aliases: [商品名], explanations: [説明文], encoding: cp932}
"""
COLOURS = {"YK-10": "red", "YK-20": "blue", "PT-7": "green"}


def entityclip(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="entityclip")


def answer(*arguments: object) -> dict[str, Any]:
    """The JSON object in the last line."""
    result = entityclip(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def refusal(*arguments: object) -> str:
    """The one line that says why not."""
    result = entityclip(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def write(path: Path, *rows: tuple[str, ...]) -> None:
    with path.open("w", encoding="cp932", newline="") as stream:
        csv.writer(stream).writerows(rows)


def photo(colour: str, number: int) -> Image.Image:
    """A disc of this colour in one of eight places, none of which is a near duplicate of another."""
    image = Image.new("RGB", (90, 90), "white")
    left, top = 30 * (number % 3), 30 * (number // 3)
    ImageDraw.Draw(image).ellipse((left, top, left + 28, top + 28), fill=colour)
    return image


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of each of three products, one product without any, and two rows that cannot be used."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "photos").mkdir()
    rows = []
    for code, colour in COLOURS.items():
        for number in range(8):
            photo(colour, number).save(folder / "photos" / f"{code}_{number}.png")
            rows.append((f"{code}_{number}.png", code, ("test", "val", "", "", "", "", "", "")[number], "社内"))
    rows += [("なし.jpg", "YK-10", "", ""), ("../mapping.yaml", "YK-10", "", "")]
    write(folder / "商品写真.csv", ("写真", "商品コード", "split", "メモ"), *rows)
    texts = [
        ("YK-10", "赤いやかん", "丸くて赤い胴のやかんです。"),
        ("PT-9", "白い急須", "連絡先は sales@example.com です。"),
    ]
    write(folder / "商品マスタ.csv", ("商品コード", "商品名", "説明文"), *texts)
    (folder / "mapping.yaml").write_text(MAPPING, encoding="utf-8")
    return folder


def ingest(shop: Path, to: Path, *options: object) -> Result:
    return entityclip(
        *("ingest", "table", "--path", shop / "商品写真.csv", "--mapping", shop / "mapping.yaml", "--to", to),
        *("--val-share", 0, "--test-share", 0, *options),
    )


@pytest.fixture(scope="module")
def mine(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "mine"
    assert ingest(shop, folder).exit_code == 0
    assert entityclip("explain", folder, "--workspace", folder.parent).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    data, model = tiny_data(tmp_path_factory.mktemp("data")), tiny_model(folder)
    EntityIndex.build(model, data).save(PackageLayout(folder).entities)
    PictureIndex.build(model, data).save(PackageLayout(folder).pictures)
    return folder


# ---------------------------------------------------------------- data
def test_rejected_rows_are_no_error_and_have_their_reasons(shop, tmp_path):
    result = ingest(shop, tmp_path / "mine")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "24 pictures (train 18, val 3, test 3) of 4 entities; 2 rejected" in result.stdout
    rejected = pd.read_csv(tmp_path / "mine" / "rejected.csv")
    assert list(rejected["row"]) == [25, 26]
    assert str(tmp_path / "mine" / "rejected.csv") in result.stdout
    assert all(reason in result.stdout for reason in rejected["reason"])


def test_a_dry_run_shows_the_roles_of_the_columns_and_keeps_nothing(shop, tmp_path):
    result = ingest(shop, tmp_path / "mine", "--dry-run")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    for line in (
        ["商品写真.csv", "写真", "file"],
        ["商品写真.csv", "メモ", "-"],
        ["商品マスタ.csv", "商品名", "aliases"],
    ):
        assert line in lines
    assert "24 pictures" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_ingest_replaces_its_own_folder_and_no_other(shop, tmp_path):
    for _ in range(2):
        assert ingest(shop, tmp_path / "mine").exit_code == 0
    papers, data = tmp_path / "papers", tmp_path / "data"
    papers.mkdir()
    (papers / "thesis.txt").write_text("years of work")
    ingest(shop, data)
    data.with_name("data.dvc").write_text("outs: []")
    for folder, named in ((papers, "thesis.txt"), (data, "data.dvc")):
        result = ingest(shop, folder)
        assert result.exit_code == 1
        assert named in result.stderr
    assert (papers / "thesis.txt").read_text() == "years of work"
    assert pairs.require_complete(DataLayout(data))["pairs"] == 24


@pytest.mark.slow
def test_the_built_in_sample_is_drawn_in_the_workspace(tmp_path):
    report = answer("ingest", "catalog", "--products", 18, "--to", tmp_path / "mine", "--workspace", tmp_path)
    assert report["entities"] == 18
    assert report["rejected"] > 0
    assert (tmp_path / ".entityclip" / "catalog" / "pictures.csv").is_file()


def test_every_source_text_becomes_an_explanation_once(mine):
    for _ in range(2):
        assert answer("explain", mine, "--workspace", mine.parent) == {
            "explanations": 2,
            "explained": 2,
            "entities": 4,
            "rejected": {},
        }
    assert len(pairs.read_frame(mine / "explanations")) == 2


def test_scores_count_the_faults_and_name_the_words(mine, tmp_path):
    scores = answer("score", mine, "--csv", tmp_path / "scores.csv")
    assert scores["faults"]["email"] == 1
    assert sum(scores["faults"].values()) == 1
    assert "sales@example.com" in entityclip("score", mine).stdout
    assert list(pd.read_csv(tmp_path / "scores.csv")["email"].dropna()) == ["sales@example.com"]


def test_data_without_explanations_say_what_to_run(shop, tmp_path):
    ingest(shop, tmp_path / "mine")
    for command in (("score", tmp_path / "mine"), ("train", "--data", tmp_path / "mine", "--run", tmp_path / "run")):
        assert f"entityclip explain {tmp_path / 'mine'}" in refusal(*command)


# ---------------------------------------------------------------- model
@pytest.mark.slow
def test_a_trained_model_is_measured_and_answers(mine, shop, tmp_path):
    train = ("train", "--preset", "tiny", "--data", mine, "--run", tmp_path / "run", "--epochs")
    card = answer(*train, 1)
    assert answer(*train, 1) == card
    assert "choose a new folder" in refusal(*train, 2)
    model = ("--checkpoint", card["checkpoint"], "--data", mine)
    report = answer("evaluate", *model, "--csv", tmp_path / "queries.csv")
    assert (report["model_fingerprint"], report["pictures"], report["entities"]) == (card["fingerprint"], 3, 4)
    assert set(pd.read_csv(tmp_path / "queries.csv")["index"]) >= {"caption", "explanation", "mixed"}
    assert [tag["score"] for tag in answer("tag", shop / "photos" / "YK-10_0.png", *model, "-k", 4)["tags"]]
    (hit,) = answer("search", "赤いやかん", *model, "--target", "entities", "-k", 1)["hits"]
    assert (hit["entity"], hit["exact"]) == ("YK-10", True)


def test_a_run_is_never_put_into_a_folder_of_something_else(mine, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "holds other files" in refusal("train", "--preset", "tiny", "--data", mine, "--run", tmp_path)


# ---------------------------------------------------------------- questions
def test_a_package_answers_without_data(package, tmp_path):
    hits = answer("search", "kx-red", "--package", package, "-k", TRAIN_PICTURES[0])["hits"]
    assert {hit["entity"] for hit in hits} == {"KX-RED"}
    tiny_picture("red", 0).save(tmp_path / "photo.png")
    tags = answer("tag", tmp_path / "photo.png", "--package", package, "-k", 3)["tags"]
    assert [tag["score"] for tag in tags] == sorted((tag["score"] for tag in tags), reverse=True)
    assert len(tags) == 3


def test_command_with_half_a_model_names_the_missing_half(package):
    for options in ((), ("--checkpoint", package), ("--package", package, "--data", package)):
        assert "--package DIR, or --checkpoint" in refusal("search", "kettle", *options)


def test_every_mistake_is_one_line_that_names_it(package, mine, tmp_path):
    (tmp_path / "notes.jpg").write_text("no picture")
    (tmp_path / "mapping.yaml").write_text("photo: 写真\ncode: 商品コード\n")
    new = tmp_path / "new"
    mistakes = {
        ("ingest", "nosuch", "--to", new): "nosuch",
        ("ingest", "table", "--path", tmp_path / "absent.csv", "--to", new): "absent.csv",
        ("ingest", "table", "--path", tmp_path, "--mapping", tmp_path / "mapping.yaml", "--to", new): "mapping.yaml",
        ("ingest", "grocery", "--to", new, "--dry-run"): "--path",
        ("ingest", "catalog", "--to", tmp_path / "notes.jpg"): "notes.jpg",
        ("explain", new): str(new),
        ("train", "--data", mine, "--run", new, "--preset", "nosuch"): "nosuch",
        ("evaluate", "--checkpoint", new, "--data", mine): str(new),
        ("search", " ", "--package", package): "empty",
        ("search", "kettle", "--package", package, "-k", 0): "k is 0",
        ("tag", tmp_path / "notes.jpg", "--package", package): "notes.jpg",
        ("tag", tmp_path / "absent.jpg", "--package", package): "absent.jpg",
        ("tag", tmp_path, "--package", package): str(tmp_path),
    }
    for command, named in mistakes.items():
        assert named in refusal(*command)
    assert not new.exists()


def test_an_index_of_another_model_is_refused(package, tmp_path):
    other = tmp_path / "other"
    tiny_model(other, seed=1)
    shutil.copytree(package / "index", other / "index")
    assert "IndexMismatch" in refusal("search", "kettle", "--package", other)


# ---------------------------------------------------------------- help
@pytest.mark.slow
def test_help_names_every_command_and_waits_for_no_torch():
    code = "import sys, entityclip.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    shown = entityclip("--help").stdout
    for command in ("ingest", "explain", "score", "train", "calibrate", "evaluate", "tune", "search", "tag"):
        assert command in shown
        assert entityclip(command, "--help").exit_code == 0
