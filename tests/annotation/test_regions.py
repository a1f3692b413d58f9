"""Windows cover the picture, and of those that are sure, the ones that others agree with remain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_export import tag

from entityclip.annotation.picture_files import PictureFile
from entityclip.annotation.regions import MOST, Box, overlap, regions, windows
from entityclip.annotation.tag_files import PredictorTagger
from entityclip.paths import PackageLayout
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import Tag


@given(st.integers(8, 4000), st.integers(8, 400))
def test_windows_cover_the_picture_and_stay_inside(width: int, height: int) -> None:
    found = windows(width, height)
    assert found[0] == Box(0, 0, width, height)
    assert len(found) == len(set(found))
    covered = np.zeros((height, width), bool)
    for left, top, right, bottom in found[1:]:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        covered[top:bottom, left:right] = True
    assert covered.all() or len(found) == 1
    assert len(found) <= MOST


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(Box(0, 0, 10, 10), Box(5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert overlap(Box(0, 0, 10, 10), Box(10, 0, 20, 10)) == 0


def test_a_place_that_several_windows_agree_on_comes_before_a_likeness_of_one() -> None:
    around = [Box(0, 0, 100, 100), Box(10, 0, 110, 100), Box(0, 10, 100, 110)]
    chance, far, unsure = Box(60, 60, 160, 160), Box(300, 0, 400, 100), Box(300, 300, 400, 400)
    names = ["kettle"] * 3 + ["lamp", "lamp", "mug"]
    scores = [0.7, 0.8, 0.6, 0.95, 0.5, 0.9]

    def of(name: str, score: float) -> list[Tag]:
        return [tag(name, score, sure=name != "mug")]

    tags = [of(name, score) for name, score in zip(names, scores, strict=True)]
    found = regions([*around, chance, far, unsure], tags)
    assert [(one.entity, one.left) for one in found] == [("kettle", 10), ("lamp", 300)]


def test_a_picture_is_tagged_as_a_whole_and_in_its_windows(package: PackageLayout, tmp_path: Path) -> None:
    Image.effect_noise((96, 64), 80).convert("RGB").save(tmp_path / "棚.png")
    (tmp_path / "x.png").write_text("no picture")
    files = [PictureFile("棚.png", tmp_path), PictureFile("x.png", tmp_path), PictureFile("棚.png", tmp_path)]
    predictor = Predictor.load(package.root)
    plain, broken, _ = PredictorTagger(predictor).annotate(files)
    found, same, again = PredictorTagger(predictor, regions=True).annotate(files)
    assert [one.entity for one in found.tags] == [one.entity for one in plain.tags]
    assert (plain.regions, found == again, same) == (None, True, broken)
    assert found.regions is not None
    assert all(one.left + one.width <= 96 and one.top + one.height <= 64 for one in found.regions)
