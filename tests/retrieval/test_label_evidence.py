"""A label is evidence: an exact code ranks first, a near one is said to be near, an unknown code proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from printed import card_of, needs_reader
from tiny import tiny_data, tiny_model, tiny_picture

from entityclip.data.labels import LabelReader
from entityclip.paths import PackageLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.index.mixture import GROUPS
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import EntityEntry, Label, OpenSetRule, OpenSetTarget, Tag

NAMES = {"KX-204B": "オーロラカップ", "KX-206B": "ロボット掃除機", "QB-815S": "夜空のマグカップ"}
BOX = (0.1, 0.2, 0.5, 0.4)
GREY = Image.new("RGB", (400, 260), (150, 150, 150))


def predictor_of(folder: Path, rule: OpenSetRule, *, least: float) -> Predictor:
    """A tiny model, and entities with codes and Japanese names beside those of its data."""
    data = tiny_data(folder / "data")
    model = tiny_model(folder, thresholds={"0.9": least}, open_set=rule)
    pictures = PictureIndex.build(model, data)
    EntityIndex.build(model, data, pictures=pictures).save(PackageLayout(folder).entities)
    pictures.save(PackageLayout(folder).pictures)
    predictor = Predictor.load(folder, changes=folder / "changes")
    for code, name in NAMES.items():
        predictor.put_entity(EntityEntry(entity=code, aliases=(name,), language="ja"))
    return predictor


def rule(intercept: float) -> OpenSetRule:
    thresholds = dict.fromkeys(GROUPS, 0.5)
    target = OpenSetTarget(precision=0.9, false_accept_rate=0.1, thresholds=thresholds)
    return OpenSetRule(intercept=intercept, targets=(target,))


@pytest.fixture(scope="module")
def unsure(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Its look takes every picture for something unknown."""
    return predictor_of(tmp_path_factory.mktemp("unsure"), rule(-5), least=0.5)


@pytest.fixture(scope="module")
def sure(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Its look is sure of every picture."""
    return predictor_of(tmp_path_factory.mktemp("sure"), rule(5), least=0.001)


def printed(*lines: str, confidence: float = 0.9999) -> list[Label]:
    return [Label(text=line, confidence=confidence, box=BOX) for line in lines]


def tags(predictor: Predictor, *lines: str, confidence: float = 0.9999, **options: int) -> list[Tag]:
    return predictor.tag(GREY, labels=printed(*lines, confidence=confidence), **options)


@pytest.mark.parametrize("line", ["KX-204B", "ＫＸ－２０４Ｂ", "型番 KX-204B"])
def test_an_exact_code_ranks_first_and_is_not_sure_by_itself(unsure, line):
    first, *others = tags(unsure, line)
    assert (first.entity, first.above_threshold) == ("KX-204B", False)
    assert (first.why[0].by, first.why[0].text, first.why[0].box, first.why[0].picture) == ("label", line, BOX, 0)
    assert first.confidence > 0.9
    assert not any(tag.above_threshold for tag in others)
    assert not any(why.by in ("label", "near label") for tag in others for why in tag.why)


@pytest.mark.parametrize("line", ["KX-2O4B", "KX-2048", "kx 204b"])
def test_a_near_code_ranks_first_is_said_to_be_near_and_is_not_sure(unsure, line):
    first = tags(unsure, line)[0]
    assert (first.entity, first.why[0].by, first.above_threshold) == ("KX-204B", "near label", False)


def test_an_exact_code_of_which_a_character_is_in_doubt_is_near(unsure):
    first = tags(unsure, "KX-204B", confidence=0.98)[0]
    assert (first.entity, first.why[0].by, first.above_threshold) == ("KX-204B", "near label", False)


@pytest.mark.parametrize(
    ("line", "by"),
    [
        ("オーロラカップ", "label"),
        ("商品名：ｵｰﾛﾗｶｯﾌﾟ", "label"),
        ("オーロラカツプ", "near label"),
        ("オ一ロラカップ", "near label"),
        ("オーロラカッ", "near label"),
    ],
)
def test_a_japanese_name_ranks_first_and_is_not_sure_by_itself(unsure, line, by):
    first = tags(unsure, line)[0]
    assert (first.entity, first.why[0].by, first.above_threshold) == ("KX-204B", by, False)


@pytest.mark.parametrize("line", ["QX-777Z", "KX-205B", "銀河のポット", "100% SILK"])
def test_an_unknown_code_proves_nothing(unsure, line):
    found = tags(unsure, line)
    assert not any(tag.above_threshold for tag in found)
    assert not any("label" in why.by for tag in found for why in tag.why)
    assert [tag.entity for tag in found] == [tag.entity for tag in unsure.tag(GREY)]


def test_without_labels_nothing_changes(sure):
    assert tags(sure) == sure.tag(GREY)
    assert tags(sure, "made in Japan") == sure.tag(GREY)


def test_an_exact_code_is_sure_if_the_look_puts_its_entity_first(unsure):
    code = unsure.tag(GREY)[0].entity
    unsure.put_entity(EntityEntry(entity=code, aliases=("ZZ-901X",)), entity_id=unsure.tag(GREY)[0].entity_id)
    first = unsure.tag(GREY)[0]
    with_code = tags(unsure, "ZZ-901X")[0]
    assert with_code.above_threshold == (first.entity_id == with_code.entity_id)
    assert not first.above_threshold


def test_a_label_that_agrees_makes_the_look_surer(sure):
    picture = tiny_picture("red", 1)
    first = sure.tag(picture)[0]
    again = sure.tag(picture, labels=printed(first.entity))[0]
    assert (again.entity, again.above_threshold) == (first.entity, True)
    assert again.confidence >= first.confidence


def test_a_code_of_another_entity_makes_neither_sure(sure):
    before = sure.tag(GREY)[0]
    first, second, *_ = tags(sure, "QB-815S")
    assert (first.entity, second.entity) == ("QB-815S", before.entity)
    assert not first.above_threshold
    assert not second.above_threshold
    assert second.confidence < before.confidence


def test_two_codes_in_one_picture_make_neither_sure(unsure):
    first, second, *_ = tags(unsure, "KX-204B", "QB-815S")
    assert {first.entity, second.entity} == {"KX-204B", "QB-815S"}
    assert not first.above_threshold
    assert not second.above_threshold


def test_an_unknown_code_of_the_same_form_lowers_the_confidence_of_a_tag(sure):
    before = {tag.entity: tag for tag in sure.tag(GREY, k=9)}
    after = {tag.entity: tag for tag in tags(sure, "KX-205B", k=9)}
    assert after["KX-204B"].confidence == pytest.approx(0.1 * before["KX-204B"].confidence)
    assert not after["KX-204B"].above_threshold
    assert after["KX-RED"].confidence == pytest.approx(before["KX-RED"].confidence)


def test_a_label_on_the_second_picture_says_so(unsure):
    label = printed("KX-204B")[0].model_copy(update={"picture": 1})
    assert unsure.tag([GREY, GREY], labels=[label])[0].why[0].picture == 1


def test_only_as_many_tags_as_were_wanted(unsure):
    assert [tag.entity for tag in tags(unsure, "KX-204B", k=1)] == ["KX-204B"]


def test_an_index_without_thresholds_marks_no_tag(unsure):
    first = unsure.tag(GREY, index="caption", labels=printed("KX-204B"))[0]
    assert (first.entity, first.above_threshold) == ("KX-204B", False)


# ---------------------------------------------------------------- from the picture on
@pytest.fixture(scope="module")
def reader() -> LabelReader:
    return LabelReader(threads=1)


@pytest.mark.slow
@needs_reader
@pytest.mark.parametrize(
    ("line", "entity", "by"),
    [
        ("KX-204B", "KX-204B", "label"),
        ("KX-2O4B", "KX-204B", "near label"),
        ("オーロラカップ", "KX-204B", "label"),
        ("オーロラカツプ", "KX-204B", "near label"),
        ("QX-777Z", None, None),
        ("銀河のポット", None, None),
    ],
)
def test_a_grey_card_is_tagged_by_what_is_printed_on_it(unsure, reader, line, entity, by):
    picture = card_of(line, pixels=56 if line.isascii() else 40)
    found = unsure.tag(picture, labels=reader.read(picture).labels)
    labels = [why for tag in found for why in tag.why if "label" in why.by]
    if entity is None:
        assert labels == []
        assert not any(tag.above_threshold for tag in found)
    else:
        assert (found[0].entity, found[0].why[0].by) == (entity, by)
        left, top, right, bottom = found[0].why[0].box
        assert 0.05 < left < right < 1
        assert 0.3 < top < bottom < 0.8
        assert not found[0].above_threshold
