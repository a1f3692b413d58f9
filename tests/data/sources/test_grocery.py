"""The Grocery Store data set: the published layout, and what happens where it is damaged or cannot be fetched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.base import EntityRow, PictureRow
from entityclip.data.sources.grocery import GrocerySource, fetch
from entityclip.errors import SourceError
from entityclip.paths import DataLayout
from entityclip.schemas import Rejection

HEADER = (
    "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
    "Iconic Image Path (str),Product Description Path (str)"
)


@pytest.fixture
def published(tmp_path, picture_bytes) -> Path:
    """Two products in the published layout, without a test list."""
    root = tmp_path / "repository" / "dataset"
    for folder in ("train/Apple", "val/Apple", "iconic"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(("train/Apple/1.jpg", "train/Apple/2.jpg", "val/Apple/1.jpg")):
        (root / name).write_bytes(picture_bytes(number))
    (root / "train.txt").write_text("train/Apple/1.jpg, 0, 0\ntrain/Apple/2.jpg, 1, 0\n")
    (root / "val.txt").write_text("val/Apple/1.jpg, 0, 0\n")
    rows = [
        f"{name},{i},Sour-Apple,0,/iconic/{name}.jpg,/iconic/{name}.txt"
        for i, name in enumerate(("Granny-Smith", "Pink-Lady"))
    ]
    (root / "classes.csv").write_text("\n".join([HEADER, *rows]))
    for name in ("Granny-Smith", "Pink-Lady"):
        (root / "iconic" / f"{name}.txt").write_text(f"{name} is round.\n")
    return root


def test_products_are_entities_with_their_description_and_group(published):
    first, second = GrocerySource(published).entities()
    assert isinstance(first, EntityRow)
    assert (first.entity, first.category, first.licence) == ("Granny Smith", "Sour Apple", "MIT")
    assert first.explanations == ("Granny-Smith is round.\n",)
    assert isinstance(second, EntityRow)
    assert second.entity == "Pink Lady"


def test_photographs_carry_their_split_and_the_iconic_ones_stay_out(published):
    source = GrocerySource(published)
    rows = [row for row in source.pictures() if isinstance(row, PictureRow)]
    assert [(row.file, row.row, row.entity, row.split) for row in rows] == [
        ("train/Apple/1.jpg", 1, "Granny Smith", "train"),
        ("train/Apple/2.jpg", 2, "Pink Lady", "train"),
        ("val/Apple/1.jpg", 1, "Granny Smith", "val"),
    ]
    assert len(source) == 3


def test_damaged_lines_pictures_and_descriptions_are_refused_with_a_reason(published):
    with (published / "train.txt").open("a") as stream:
        stream.write("nonsense\n../x.jpg, 0, 0\ntrain/Apple/9.jpg, 0, 0\ntrain/Apple/1.jpg, 77, 0\n")
    (published / "iconic" / "Pink-Lady.txt").write_bytes(b"\xff\xfe")
    source = GrocerySource(published)
    refused = [row for row in (*source.entities(), *source.pictures()) if isinstance(row, Rejection)]
    assert [(row.row, row.reason[:20]) for row in refused] == [
        (2, "the description is l"),
        (3, "'nonsense'; expected"),
        (4, "the path leaves the "),
        (5, "no such file in the "),
        (6, "'train/Apple/1.jpg, "),
    ]


def test_the_fingerprint_notices_an_edited_picture(published, picture_bytes):
    before = GrocerySource(published).fingerprint()
    assert GrocerySource(published).fingerprint() == before
    (published / "val/Apple/1.jpg").write_bytes(picture_bytes(9, size=(30, 30)))
    assert GrocerySource(published).fingerprint() != before


def test_a_folder_without_the_data_set_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"expected the Grocery Store data set: classes.csv, train.txt"):
        GrocerySource(tmp_path)


def test_fetch_brings_the_data_set_from_a_git_repository(published, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    repository = published.parent
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "data"], check=True)
    folder = fetch(tmp_path / "fetched" / "grocery", repository=str(repository))
    assert len(GrocerySource(folder)) == 3
    assert fetch(folder, repository="nowhere") == folder  # what is there is not fetched again


def test_a_repository_that_cannot_be_reached_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(SourceError, match=r"dvc get .*/nowhere failed: .*; fetch .* yourself"):
        fetch(tmp_path / "fetched" / "grocery", repository=str(tmp_path / "nowhere"))
    assert not (tmp_path / "fetched" / "grocery").exists()


def test_a_fetch_that_takes_too_long_is_given_up(tmp_path):
    with pytest.raises(SourceError, match="did not arrive within 0 s"):
        fetch(tmp_path / "fetched" / "grocery", repository=str(tmp_path / "nowhere"), timeout=0.05)


@pytest.mark.slow
def test_the_published_data_set_has_its_figures(grocery_path, tmp_path):
    source = GrocerySource(grocery_path)
    entities = [row for row in source.entities() if isinstance(row, EntityRow)]
    assert len(entities) == 81
    assert len({row.category for row in entities}) == 43
    assert all(row.explanations for row in entities)
    staging = DataLayout(tmp_path / "staging")
    report = ingest(source, staging=staging, rejected=tmp_path / "rejected.csv", progress=False)
    assert (report.pairs, report.entities, report.rejected) == (len(source), 81, 0)
    counts = pairs.read_frame(staging.pairs)["split"].value_counts()
    assert (counts["train"], counts["val"]) == (2640, 296)
