"""``entityclip read`` and ``entityclip tag --read``, as a user types them."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from printed import LINES, card, card_of, needs_reader, printed_data
from tiny import tiny_data, tiny_model
from typer.testing import CliRunner, Result

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.data.label_cache import LabelCache
from entityclip.paths import Layout, PackageLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import Label


def entityclip(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="entityclip")


def answer(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@needs_reader
@pytest.mark.slow
def test_pictures_are_read_and_unusable_ones_listed_with_the_reason(tmp_path: Path) -> None:
    good, bad, gone = tmp_path / "カード.png", tmp_path / "notes.jpg", tmp_path / "gone.png"
    card_of("KX-204B").save(good)
    bad.write_text("no picture")
    for _ in range(2):  # the second time from the workspace
        result = entityclip("read", good, bad, gone, "--workspace", tmp_path, "--json")
        first, second, third = answer(result)["pictures"]
        assert (first["file"], first["outcome"]) == (str(good), "read")
        assert [label["text"] for label in first["labels"]] == ["KX-204B"]
        assert (second["outcome"], third["outcome"]) == ("failed", "failed")
        assert "not a JPEG" in second["reason"]
        assert f"{bad}: not a JPEG" in result.stderr
        assert "KX-204B" in result.stdout.splitlines()[1]
    with sqlite3.connect(Layout(tmp_path).labels) as kept:
        assert kept.execute("SELECT count(*) FROM reading").fetchone() == (1,)
    assert first["seconds"] == 0


def test_a_time_budget_of_nothing_is_refused(tmp_path: Path) -> None:
    result = entityclip("read", tmp_path / "a.png", "--seconds", "0")
    assert (result.exit_code, result.stderr) == (1, "ConfigError: --seconds is 0; expected more than 0\n")


def test_without_the_extra_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    result = entityclip("read", tmp_path / "a.png")
    assert result.exit_code == 1
    assert "pip install 'entityclip[labels]'" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("a.png", "--data", "mine")])
def test_either_pictures_or_a_data_folder_are_read(arguments: tuple[str, ...]) -> None:
    result = entityclip("read", *arguments)
    assert (result.exit_code, result.stderr) == (1, "ConfigError: expected pictures, or --data DIR\n")


def test_where_the_settings_forbid_it_no_text_is_kept(tmp_path: Path) -> None:
    Layout(tmp_path).config.write_text("labels: {keep: false}\n")
    result = entityclip("read", tmp_path / "a.png", "--workspace", tmp_path)
    assert result.exit_code == 1
    assert "labels.keep is false" in result.stderr
    assert not Layout(tmp_path).labels.exists()
    Layout(tmp_path).config.write_text("labels: {keep: false, read_at_ingest: true}\n")
    assert "reading at ingest stores the text" in entityclip("read", "a.png", "--workspace", tmp_path).stderr
    Layout(tmp_path).config.write_text("service: {labels: true}\n")
    assert "labels.read_at_ingest" in entityclip("read", "a.png", "--workspace", tmp_path).stderr


@needs_reader
@pytest.mark.slow
def test_words_read_in_a_data_folder_count_for_tag(tmp_path: Path) -> None:
    data = printed_data(tmp_path / "data")
    tiny_model(tmp_path / "checkpoint")
    with LabelCache(Layout(tmp_path).labels, screen=tuple) as cache:
        for row in pairs.iter_rows(data.pairs, columns=["entity", "image_sha256"]):
            lines = (Label(text=text, confidence=0.9, box=(0, 0, 1, 1)) for text, _ in LINES[row["entity"]])
            cache.put(row["image_sha256"], tuple(lines))
    counts = answer(entityclip("read", "--data", data.root, "--workspace", tmp_path, "--json"))
    assert counts == {"pictures": 4, "with_text": 4, "read_now": 0}
    card(("PERUNA", (60, 90)), pixels=48).save(tmp_path / "card.png")
    model = ("--checkpoint", tmp_path / "checkpoint", "--data", data.root)
    tags = answer(entityclip("tag", tmp_path / "card.png", *model, "--read", "true", "--json"))["tags"]
    assert (tags[0]["entity"], tags[0]["why"][0]["by"]) == ("KX-GREEN", "label words")


@needs_reader
@pytest.mark.slow
def test_tag_names_the_label(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "data")
    package = PackageLayout(tmp_path / "package")
    model = tiny_model(package.root)
    pictures = PictureIndex.build(model, data)
    EntityIndex.build(model, data, pictures=pictures).save(package.entities)
    pictures.save(package.pictures)
    card_of("KX-ORANGE", pixels=48).save(tmp_path / "card.png")
    result = entityclip("tag", tmp_path / "card.png", "--package", package.root, "--read", "true", "--json")
    found = answer(result)
    assert [label["text"] for label in found["labels"]] == ["KX-ORANGE"]
    assert (found["tags"][0]["entity"], found["tags"][0]["why"][0]["by"]) == ("KX-ORANGE", "label")
    assert "KX-ORANGE (label)" in result.stdout
    plain = entityclip("tag", tmp_path / "card.png", "--package", package.root, "--json")
    assert "labels" not in answer(plain)
    assert "(label)" not in plain.stdout
