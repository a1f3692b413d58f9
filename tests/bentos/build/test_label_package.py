"""With ``service.labels`` a package holds the words on the training pictures, and its Bento the reader."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from printed import card, needs_reader, png
from served import Released

from bentos.build.contents import lay_out
from bentos.build.requirements import serving_requirements
from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.data.label_cache import LabelCache
from entityclip.data.labels import LabelReader
from entityclip.paths import DataLayout, Layout, PackageLayout
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import PackageCard

LINES = {
    "KX-RED": (("TROPICANA", (20, 20)), ("APELSIN", (20, 110)), ("090-1234-5678", (20, 190))),
    "KX-GREEN": (("TROPICANA", (20, 20)), ("PERUNA", (20, 110))),
}


def printed_data(root: Path) -> DataLayout:
    """Two entities with two training pictures each, on which words are printed."""
    data = DataLayout(root)
    pairs.start(data)
    entities, rows = [], []
    for name, lines in LINES.items():
        about = {"entity_id": pairs.entity_id(name), "entity": name, "language": "en", "category": "juice"}
        entities.append(about | {"aliases": [], "licence": "", "source": "t"})
        for number in range(2):
            data_of = png(card(*lines, size=(420 + number, 260), pixels=40))
            sha = pairs.digest(data_of, length=64)
            picture = {"image": {"bytes": data_of, "path": f"{name}/{number}.png"}, "image_sha256": sha}
            size = {"width": 420 + number, "height": 260, "caption": name, "split": "train"}
            rows.append(about | picture | size | {"pair_id": pairs.pair_id(sha, name, name)})
    pairs.write_rows(data.pairs, pairs.PAIRS, rows, name="train")
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, [], name="explanations")
    pairs.finish(data, pairs=len(rows))
    return data


def test_the_reader_is_required_only_where_it_is_used() -> None:
    assert not any(line.startswith(("rapidocr", "opencv")) for line in serving_requirements())


@needs_reader
@pytest.mark.slow
def test_words_on_training_pictures_are_packaged_without_personal_data(released: Released, tmp_path: Path) -> None:
    source, package = Layout(tmp_path / "release"), PackageLayout(tmp_path / "package")
    shutil.copytree(released.layout.root, source.root)
    source.config.write_text("service: {labels: true}\n")
    data, kept = printed_data(tmp_path / "data"), tmp_path / "labels.sqlite"
    card_of_release = PackageCard(release=released.release, suite_hash="", licences=())
    lay_out(package, source, data, card_of_release, labels=kept)
    predictor = Predictor.load(package.root)
    assert predictor.vocabulary is not None
    words = set(predictor.vocabulary.words["word"])
    assert {"tropicana", "apelsin", "peruna"} <= words
    assert not any("1234" in word for word in words)
    with LabelCache(kept) as cache:
        row = next(pairs.iter_rows(data.pairs, columns=["image"]))
        assert cache.get(hashlib.sha256(row["image"]["bytes"]).hexdigest())
    picture = decode(png(card(("PERUNA", (60, 90)), pixels=48)))
    first = predictor.tag(picture, labels=LabelReader(threads=1).read(picture).labels)[0]
    assert first.entity == "KX-GREEN"
    assert (first.why[0].by, first.why[0].text) == ("label words", "peruna")
    assert {"rapidocr", "onnxruntime", "opencv-python-headless"} <= {
        line.partition("==")[0] for line in serving_requirements(labels=True)
    }
