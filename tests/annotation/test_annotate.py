"""Files of a folder or a table get the tags that the predictor gives, once each, whatever interrupts the run."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from printed import card, needs_reader
from tiny import COLOURS, tiny_data, tiny_model, tiny_picture

from entityclip.annotation import annotate, picture_files
from entityclip.annotation.annotate import CHUNK
from entityclip.annotation.file_labels import FileLabels
from entityclip.annotation.records import Records
from entityclip.annotation.tag_files import PredictorTagger
from entityclip.data.images import decode
from entityclip.data.labels import LabelReader
from entityclip.errors import DataError, SourceError
from entityclip.model.checkpoint import LoadedModel
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import Reading


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    data = tiny_data(tmp_path_factory.mktemp("data"))
    model: LoadedModel = tiny_model(tmp_path_factory.mktemp("model"), thresholds={"0.9": 0.0})
    pictures = PictureIndex.build(model, data)
    return Predictor(model, EntityIndex.build(model, data, pictures=pictures), pictures)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of six colours in two folders, and files that are none."""
    root = tmp_path / "photos"
    for number, colour in enumerate(COLOURS):
        path = root / ("赤い" if number % 2 else "b") / f"{colour}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        tiny_picture(colour, number).save(path)
    (root / "notes.txt").write_text("not a picture")
    (root / "empty.jpg").write_bytes(b"")
    (root / "broken.png").write_bytes((root / "b" / "red.png").read_bytes()[:60])
    (root / "outside.png").symlink_to("/etc/hostname")
    (root / ".hidden.png").write_bytes(b"")
    return root


def test_every_file_gets_the_tags_of_the_predictor_or_the_reason_why_not(predictor, folder, tmp_path):
    items = picture_files(folder)
    names = [item.name for item in items]
    assert names == sorted(names)
    records = Records(tmp_path / "records.sqlite", settings="a")
    annotations, summary = annotate(items, PredictorTagger(predictor, k=3, release="v1.0.0"), records)
    assert (summary.files, summary.new, summary.sure, summary.problems) == (10, 10, 6, 4)
    assert [one.file for one in annotations] == names
    for one in annotations:
        assert one.release == "v1.0.0"
        if one.problem:
            assert not one.tags
            continue
        alone = predictor.tag(decode((folder / one.file).read_bytes()), k=3)
        assert [tag.entity for tag in one.tags] == [tag.entity for tag in alone]
        assert [tag.score for tag in one.tags] == pytest.approx([tag.score for tag in alone], abs=1e-5)
        assert (one.width, one.height) == (40, 36)
        black = one.tags[0].entity == "KX-BLACK"  # the one without an explanation
        assert bool(one.explanation) != black
    reasons = {one.file: one.problem for one in annotations if one.problem}
    assert reasons.keys() == {"notes.txt", "empty.jpg", "broken.png", "outside.png"}
    assert "empty" in reasons["empty.jpg"]
    assert "leads out" in reasons["outside.png"]


class Stopped(Exception):
    """Stands for a kill."""


class StopsAt:
    """A tagger that is stopped at its n-th chunk."""

    model, chunks_at_once, chunk = "m", 2, CHUNK

    def __init__(self, tagger: PredictorTagger, chunk: int) -> None:
        self.tagger, self.left = tagger, chunk

    def annotate(self, items):
        self.left -= 1
        if self.left < 0:
            raise Stopped
        return self.tagger.annotate(items)


def test_a_run_that_was_stopped_continues_and_gives_the_same_bytes(predictor, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2 * CHUNK + 5):
        tiny_picture(COLOURS[number % 6], number).save(folder / f"{number:04}.png")
    items, tagger = picture_files(folder), PredictorTagger(predictor)
    whole, stopped = (Records(tmp_path / name, settings="a") for name in ("whole", "stopped"))
    annotate(items, tagger, whole)
    with pytest.raises(Stopped):
        annotate(items, StopsAt(tagger, 1), stopped)
    assert annotate(items, tagger, stopped)[1].new == CHUNK + 5
    names = [item.name for item in items]
    assert [*stopped.read(names)] == [*whole.read(names)]


@needs_reader
@pytest.mark.slow
def test_labels_are_read_once_count_as_evidence_and_keep_no_personal_data(predictor, tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    known = predictor.catalog.now().released.entities.rows["entity"]
    code = next(name for name in known if name.startswith("KX-"))
    card((code, (40, 40)), ("090-1234-5678", (40, 160)), pixels=40).save(folder / "card.png")
    Image.new("RGB", (200, 150), (150, 150, 150)).save(folder / "grey.png")
    (folder / "notes.txt").write_text("not a picture")
    items, cache = picture_files(folder), tmp_path / "labels.sqlite"
    tagger = PredictorTagger(predictor, labels=FileLabels(cache))
    annotations, summary = annotate(items, tagger, Records(tmp_path / "records.sqlite", settings="a"))
    printed, grey, notes = annotations
    assert [label.text for label in printed.labels] == [code]
    assert b"090-1234" not in cache.read_bytes()
    assert printed.tags[0].entity == code
    assert printed.tags[0].why[0].by == "label"
    assert printed.tags[0].why[0].box == printed.labels[0].box
    assert (printed.reading, grey.reading, notes.reading) == ("read", "read", None)
    assert (grey.labels, summary.with_text, summary.partly_read, summary.problems) == ((), 1, 0, 1)
    # Another model, or other settings, tag again and read nothing.
    monkeypatch.setattr(LabelReader, "read", lambda *_, **__: pytest.fail("read again"))
    again, _ = annotate(items, tagger, Records(tmp_path / "records.sqlite", settings="b"))
    assert again == annotations


@needs_reader
def test_a_fault_of_the_reader_costs_the_labels_alone(predictor, folder, tmp_path, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("the session is broken")

    monkeypatch.setattr(LabelReader, "read", fails)
    tagger = PredictorTagger(predictor, labels=FileLabels(tmp_path / "labels.sqlite"))
    annotations, summary = annotate(picture_files(folder), tagger, Records(tmp_path / "records.sqlite"))
    assert (summary.partly_read, summary.problems) == (6, 4)
    assert {one.reading for one in annotations if one.tags} == {"failed"}
    monkeypatch.setattr(LabelReader, "read", lambda *_, **__: Reading(outcome="read"))
    again, summary = annotate(picture_files(folder), tagger, Records(tmp_path / "records.sqlite"))
    assert (summary.new, summary.partly_read) == (6, 0)
    assert {one.reading for one in again if one.tags} == {"read"}


def test_only_new_and_changed_files_are_tagged_again(predictor, folder, tmp_path):
    tagger = PredictorTagger(predictor)
    records = Records(tmp_path / "records.sqlite", settings="a")
    annotate(picture_files(folder), tagger, records)
    assert annotate(picture_files(folder), tagger, records)[1].new == 0
    shutil.copy(folder / "b" / "red.png", folder / "b" / "another.png")
    tiny_picture("blue", 7).save(folder / "b" / "red.png")
    assert annotate(picture_files(folder), tagger, records)[1].new == 2
    assert annotate(picture_files(folder), tagger, Records(records.path, settings="another model"))[1].new == 11
    assert len(records.latest()) == 11


def test_a_table_names_the_files_in_its_order_and_in_shift_jis(predictor, folder, tmp_path):
    table = folder / "一覧.csv"
    rows = "番号,写真\n1,b/red.png\n2,赤い/green.png\n3,missing.png\n4,\n5,../secret.png\n6,b/red.png\n"
    table.write_bytes(rows.encode("cp932"))
    items = picture_files(table, column="写真")
    assert [item.name for item in items] == [
        "b/red.png",
        "赤い/green.png",
        "missing.png",
        "一覧.csv row 4",
        "../secret.png",
    ]
    records = Records(tmp_path / "records.sqlite")
    assert annotate(items, PredictorTagger(predictor), records)[1].problems == 3
    with pytest.raises(SourceError, match="no column 'file'"):
        picture_files(table)


def test_what_cannot_be_annotated_is_refused(predictor, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match="no file to annotate"):
        picture_files(tmp_path / "none")
    with pytest.raises(SourceError, match="expected a folder of pictures, or a table"):
        picture_files(tmp_path / "film.mp4")
    (tmp_path / "rubbish").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="rubbish: the annotations cannot be read"):
        Records(tmp_path / "rubbish").missing([])


def test_a_model_without_thresholds_is_sure_of_nothing(predictor, folder, tmp_path):
    card = predictor.model.card.model_copy(update={"thresholds": {}})
    unproven = replace(predictor, model=replace(predictor.model, card=card))
    records = Records(tmp_path / "records.sqlite")
    _, summary = annotate(picture_files(folder), PredictorTagger(unproven), records)
    assert (summary.sure, summary.unknown) == (0, 6)
