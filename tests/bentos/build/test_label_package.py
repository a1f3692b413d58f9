"""A package of data whose labels were read holds their text and words, and its Bento the reader."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from printed import card, needs_reader, png, printed_data
from served import Released

from bentos.build.contents import lay_out
from bentos.build.requirements import serving_requirements
from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.data.label_cache import LabelCache
from entityclip.data.labels import LabelReader
from entityclip.explanations.pii import without_personal_data
from entityclip.paths import Layout, PackageLayout
from entityclip.retrieval.picture_labels import read_labels
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import PackageCard


def test_the_reader_is_required_only_where_it_is_used() -> None:
    assert not any(line.startswith(("rapidocr", "opencv")) for line in serving_requirements())


@needs_reader
@pytest.mark.slow
def test_words_on_training_pictures_are_packaged_without_personal_data(released: Released, tmp_path: Path) -> None:
    source, package = Layout(tmp_path / "release"), PackageLayout(tmp_path / "package")
    shutil.copytree(released.layout.root, source.root)
    data, kept = printed_data(tmp_path / "data"), tmp_path / "labels.sqlite"
    with LabelCache(kept, screen=without_personal_data) as cache:
        counts = read_labels(data, lambda: LabelReader(threads=1), cache)
    assert (counts.pictures, counts.with_text, counts.read_now) == (4, 4, 4)
    card_of_release = PackageCard(release=released.release, suite_hash="", licences=())
    lay_out(package, source, data, card_of_release)
    predictor = Predictor.load(package.root)
    assert predictor.vocabulary is not None
    words = set(predictor.vocabulary.words["word"])
    assert {"tropicana", "apelsin", "peruna"} <= words
    assert not any("1234" in word for word in words)
    with LabelCache(kept, screen=without_personal_data) as cache:
        row = next(pairs.iter_rows(data.pairs, columns=["image"]))
        assert cache.get(hashlib.sha256(row["image"]["bytes"]).hexdigest())
    found = predictor.search("peruna", target="entities")[0]
    assert (found.entity, found.why[0].by) == ("KX-GREEN", "label")
    picture = decode(png(card(("PERUNA", (60, 90)), pixels=48)))
    first = predictor.tag(picture, labels=LabelReader(threads=1).read(picture).labels)[0]
    assert first.entity == "KX-GREEN"
    assert (first.why[0].by, first.why[0].text) == ("label words", "peruna")
    assert {"rapidocr", "onnxruntime", "opencv-python-headless"} <= {
        line.partition("==")[0] for line in serving_requirements(labels=True)
    }
