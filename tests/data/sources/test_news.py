"""Published news sets: small trees in exactly their layouts, and everything that is broken in the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.base import PictureRow
from entityclip.data.sources.news import LAYOUTS, NewsSource
from entityclip.errors import ConfigError, SourceError
from entityclip.paths import DataLayout
from entityclip.schemas import Rejection

Tree = Callable[[str], Path]


def write(root: Path, files: dict[str, Any]) -> Path:
    """Bytes as they are, text as text, anything else as JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8", newline="")
    return root


@pytest.fixture
def published(tmp_path, picture_bytes) -> Tree:
    """``published(name)``: the folder of a data set with two articles to train on, one for val, two for test."""

    def n24news() -> dict[str, Any]:
        ids = {"train": ("t1", "t2"), "dev": ("d1",), "test": ("e1", "e2")}
        files: dict[str, Any] = {}
        for word, of in ids.items():
            about = {"headline": "News", "section": "Sports", "article": "Long."}
            files[f"news/nytimes_{word}.json"] = [about | {"caption": f"{i} wins.", "image_id": i} for i in of]
            files[f"news/CapDsc_mistral_{word}.json"] = {f"{i}.jpg": f"About {i}." for i in of}
        return files | {f"imgs/{i}.jpg": picture_bytes(n) for n, i in enumerate(sum(ids.values(), ()))}

    def visualnews() -> dict[str, Any]:
        ids = {"train": ("0361/1", "0361/2"), "val": ("0001/1",), "test": ("0002/1", "0002/2")}
        files: dict[str, Any] = {}
        for word, of in ids.items():
            paths = {i: f"guardian/images/{i}.jpg" for i in of}
            files[f"{word}.json"] = [
                {"id": n, "image_path": f"./{path}", "caption": f"{i} wins.", "topic": "sport"}
                for n, (i, path) in enumerate(paths.items(), start=10 * len(word))
            ]
            root = "/mnt/disk7/images/VisualNews/images"
            files[f"CapDsc_mistral_{word}.json"] = {f"{root}/{path}": f"About {i}." for i, path in paths.items()}
        of_all = sum(ids.values(), ())
        return files | {f"images/guardian/images/{i}.jpg": picture_bytes(n) for n, i in enumerate(of_all)}

    def goodnews() -> dict[str, Any]:
        ids = {"train": ("5a_0.jpg", "5a_1.jpg"), "val": ("5b_0.jpg",), "test": ("5c_0.jpg", "5d_0.jpg")}
        files: dict[str, Any] = {"broken_images.txt": "images/9z_0.jpg\r\n\n"}
        for word, of in ids.items():
            articles = [{"title": "News", "captioning": f"{i} wins,\r\n  again.\r\n", "image_id": i} for i in of]
            files[f"new_goodnews_capim_{word}.json"] = articles
            texts = {i: f"About {i}." for i in of}
            files[f"train_cap_individual/New_Corr_CapDsc_mistral_{word}.json"] = texts
        return files | {f"images/{i}": picture_bytes(n) for n, i in enumerate(sum(ids.values(), ()))}

    of_name = {"n24news": n24news, "visualnews": visualnews, "goodnews": goodnews}
    return lambda name: write(tmp_path / name, of_name[name]())


def read(root: Path, name: str) -> tuple[list[PictureRow], list[Rejection]]:
    rows = list(NewsSource(root, name=name).pictures())
    return [r for r in rows if isinstance(r, PictureRow)], [r for r in rows if isinstance(r, Rejection)]


def change(path: Path, by: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(by(json.loads(path.read_text()))))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_article_is_an_entity_with_its_caption_text_and_split(published, name):
    pictures, refused = read(published(name), name)
    assert refused == []
    assert [(p.split, p.row) for p in pictures] == [("test", 1), ("test", 2), ("val", 1), ("train", 1), ("train", 2)]
    assert len({p.key for p in pictures}) == len({p.data for p in pictures}) == 5
    for picture in pictures:
        subject = picture.caption.split(" wins")[0]
        assert picture.entity == picture.caption
        assert subject in picture.file
        assert picture.explanations == (f"About {subject}.",)
        assert "\r" not in picture.caption
        assert "\n" not in picture.caption
    assert {p.category for p in pictures} == {{"n24news": "Sports", "visualnews": "sport", "goodnews": ""}[name]}


@pytest.mark.parametrize("name", LAYOUTS)
def test_ingest_and_explain_give_one_explained_entity_per_picture(published, tmp_path, name):
    data = tmp_path / "data"
    for command in (["ingest", name, "--path", str(published(name)), "--to", str(data)], ["explain", str(data)]):
        done = CliRunner().invoke(app, [*command, "--workspace", str(tmp_path / "ws")])
        assert done.exit_code == 0, done.output
    rows = pairs.read_frame(DataLayout(data).pairs)
    explained = pairs.read_frame(DataLayout(data).explanations)
    assert rows["split"].value_counts().to_dict() == {"train": 2, "test": 2, "val": 1}
    assert rows["entity_id"].nunique() == rows["pair_id"].nunique() == 5
    assert set(explained["entity_id"]) == set(rows["entity_id"])


def test_articles_of_one_caption_stay_two_entities_each_with_the_text_that_they_share(published, tmp_path):
    root = published("n24news")
    change(root / "news/nytimes_train.json", lambda rows: [row | {"caption": "The president."} for row in rows])
    change(root / "news/CapDsc_mistral_train.json", lambda texts: dict.fromkeys(texts, "He is the president."))
    (root / "imgs/t2.jpg").write_bytes((root / "imgs/t1.jpg").read_bytes())
    data = tmp_path / "data"
    for command in (["ingest", "n24news", "--path", str(root), "--to", str(data)], ["explain", str(data)]):
        assert CliRunner().invoke(app, [*command, "--workspace", str(tmp_path / "ws")]).exit_code == 0
    rows = pairs.read_frame(DataLayout(data).pairs, name="train")
    explained = pairs.read_frame(DataLayout(data).explanations)
    assert rows["pair_id"].is_unique
    assert set(explained.loc[explained["text"] == "He is the president.", "entity_id"]) == set(rows["entity_id"])
    assert explained["explanation_id"].is_unique


def test_articles_that_cannot_be_used_are_refused_with_a_reason(published, tmp_path, picture_bytes):
    root = published("goodnews")
    outside = write(tmp_path / "elsewhere", {"secret.jpg": picture_bytes(9)})
    (root / "images/link.jpg").symlink_to(outside / "secret.jpg")
    write(root, {"images/9z_0.jpg": picture_bytes(8), "images/page.jpg": "<html>gone</html>"})
    extra = [
        {"captioning": "x", "image_id": "lost.jpg"},
        {"captioning": "x", "image_id": "9z_0.jpg"},
        {"captioning": " \r\n ", "image_id": "5a_0.jpg"},
        {"captioning": None, "image_id": "5a_0.jpg"},
        {"captioning": "x", "image_id": "5c_0.jpg"},
        {"captioning": "x"},
        {"captioning": "x", "image_id": "../elsewhere/secret.jpg"},
        {"captioning": "x", "image_id": "link.jpg"},
        ["no", "article"],
        {"captioning": "half \ud800 of a pair", "image_id": "page.jpg"},
    ]
    change(root / "new_goodnews_capim_train.json", lambda rows: [*rows, *extra])
    staging, rejected = DataLayout(tmp_path / "staging"), tmp_path / "rejected.csv"
    report = ingest(NewsSource(root, name="goodnews"), staging=staging, rejected=rejected, progress=False)
    assert (report.pairs, report.entities, report.rejected) == (5, 5, 10)
    lines = rejected.read_text().splitlines()[1:]
    reasons = [
        "images/lost.jpg,3,no such file in the image folder",
        "images/9z_0.jpg,4,listed in broken_images.txt",
        "images/5a_0.jpg,5,empty captioning",
        "images/5a_0.jpg,6,empty captioning",
        '"image_id 5c_0.jpg came before; it counts once: in test, else in val, else in train"',
        "images/,8,no image_id",
        "images/../elsewhere/secret.jpg,9,the path leaves the image folder by '..'",
        "images/link.jpg,10,symbolic link that leads out of the image folder",
        'new_goodnews_capim_train.json,11,"expected a JSON object, found a list"',
        "images/page.jpg,12,",
    ]
    assert all(reason in line for reason, line in zip(reasons, lines, strict=True)), lines


def test_the_folder_of_pictures_may_lie_on_another_disk(published, tmp_path):
    root = published("n24news")
    (root / "imgs").rename(tmp_path / "disk")
    (root / "imgs").symlink_to(tmp_path / "disk")
    assert len(read(root, "n24news")[0]) == 5


@pytest.mark.parametrize("before", ["", "./", "images/", "./images/", "/"])
def test_a_path_in_a_list_is_read_below_the_folder_of_pictures(published, before):
    root, path = published("visualnews"), "guardian/images/0361/1.jpg"
    change(root / "train.json", lambda rows: [rows[0] | {"image_path": before + path}])
    (picture,) = [p for p in read(root, "visualnews")[0] if p.split == "train"]
    assert (picture.file, picture.explanations) == (f"images/{path}", ("About 0361/1.",))


def test_explanations_that_are_missing_or_no_text_or_disagree_cost_no_picture(published):
    root = published("visualnews")
    (root / "CapDsc_mistral_val.json").unlink()
    change(root / "CapDsc_mistral_test.json", lambda texts: dict.fromkeys(texts))
    path = "images/guardian/images/0361/1.jpg"
    change(root / "CapDsc_mistral_train.json", lambda texts: texts | {rf"D:\news\{path}".replace("/", "\\"): "Else."})
    pictures, refused = read(root, "visualnews")
    assert {p.file for p in pictures if p.explanations} == {"images/guardian/images/0361/2.jpg"}
    assert len(pictures) == 5
    assert [(r.file, r.row) for r in refused] == [
        ("CapDsc_mistral_test.json", None),
        ("CapDsc_mistral_test.json", None),
        ("CapDsc_mistral_val.json", None),
        ("CapDsc_mistral_train.json", None),
    ]
    assert "expected a text, found null" in refused[0].reason
    assert refused[3].reason == f"explanation left out: {path}: several, and they differ"


def test_a_text_is_never_given_to_a_picture_whose_name_only_ends_alike(published):
    root = published("n24news")
    change(
        root / "news/CapDsc_mistral_train.json", lambda _: {"xt1.jpg": "No.", "t1.jpg/0.jpg": "No.", "a/t2.jpg": "Y"}
    )
    pictures, _ = read(root, "n24news")
    assert {p.file: p.explanations for p in pictures if p.split == "train"} == {
        "imgs/t1.jpg": (),
        "imgs/t2.jpg": ("Y",),
    }


def test_a_split_without_a_list_is_left_out_and_one_without_articles_is_empty(published):
    root = published("goodnews")
    (root / "new_goodnews_capim_val.json").unlink()
    (root / "new_goodnews_capim_train.json").write_text("[]")
    assert {p.split for p in read(root, "goodnews")[0]} == {"test"}
    assert len(NewsSource(root, name="goodnews")) == 2


def test_the_fingerprint_notices_every_file_that_is_read(published, picture_bytes):
    root = published("goodnews")
    known = {NewsSource(root, name="goodnews").fingerprint()}
    assert NewsSource(root, name="goodnews").fingerprint() in known
    texts = root / "train_cap_individual/New_Corr_CapDsc_mistral_val.json"
    for file, content in ((root / "broken_images.txt", b"x"), (texts, b"{}"), (root / "images/5c_0.jpg", b"new")):
        file.write_bytes(content)
        known.add(NewsSource(root, name="goodnews").fingerprint())
    assert len(known) == 4


def test_a_folder_of_something_else_is_refused(published, tmp_path):
    with pytest.raises(SourceError, match=r"expected n24news: the folder imgs/ and news/nytimes_test.json, "):
        NewsSource(tmp_path, name="n24news")
    root = published("visualnews")
    change(root / "val.json", lambda _: [{"id": 1, "text": "no caption field"}])
    with pytest.raises(SourceError, match=r"val\.json: no column 'caption'; it has: id, text"):
        NewsSource(root, name="visualnews")
    (root / "val.json").write_text('[{"id": 1, ')
    with pytest.raises(SourceError, match=r"val\.json: not usable JSON at character 2: "):
        NewsSource(root, name="visualnews")
    with pytest.raises(ConfigError, match="'cnn' is unknown"):
        NewsSource(root, name="cnn")


def test_without_a_path_the_command_says_what_to_name(tmp_path):
    done = CliRunner().invoke(app, ["ingest", "goodnews", "--to", str(tmp_path / "data")])
    assert done.exit_code == 1
    assert "name the folder of the data set" in done.stderr
