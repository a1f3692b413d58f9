"""The built-in sample: drawn pictures, their texts, and injected faults."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from entityclip.data.sources.catalog import CatalogSource, draw_catalog, injected_faults
from entityclip.data.sources.synthetic.drawing import COLOURS, photograph, sprite
from entityclip.data.sources.synthetic.products import FORMS, Product, explain, invent
from entityclip.data.sources.synthetic.render_photos import shots
from entityclip.data.sources.synthetic.silhouettes import SILHOUETTES
from entityclip.errors import ConfigError, SourceError
from entityclip.schemas import Rejection
from entityclip.storage import temporary_name

PRODUCTS = 18
ALL = invent(300, seed=7)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue") / "catalog"
    draw_catalog(folder, products=PRODUCTS, size=48)
    return folder


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def files(folder: Path) -> dict[str, str]:
    """Relative path -> hash of the bytes."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


# ---------------------------------------------------------------- determinism
@pytest.mark.slow
def test_same_seed_gives_same_bytes(drawn: Path, tmp_path: Path) -> None:
    draw_catalog(tmp_path / "again", products=PRODUCTS, size=48)
    assert files(tmp_path / "again") == files(drawn)


def test_a_picture_depends_on_seed_product_and_number_alone(drawn: Path, tmp_path: Path) -> None:
    draw_catalog(tmp_path / "few", products=3, faults=False, size=48)
    draw_catalog(tmp_path / "other", products=3, faults=False, size=48, seed=8)
    pictures = {file: sha for file, sha in files(tmp_path / "few").items() if file.endswith(".jpg")}
    assert len(pictures) == 3 * 7 + 12 + 2 + 12
    assert pictures.items() <= files(drawn).items()
    assert not set(pictures.values()) & set(files(tmp_path / "other").values())


def test_drawing_twice_draws_once(drawn: Path) -> None:
    before = (drawn / "catalog.json").stat()
    draw_catalog(drawn, products=PRODUCTS, size=48)
    assert (drawn / "catalog.json").stat().st_ino == before.st_ino


# ---------------------------------------------------------------- the long tail
def test_long_tail_of_the_default_catalogue() -> None:
    counts = [Counter(split for _, split in shots(index)) for index in range(300)]
    assert Counter(count["train"] for count in counts) == {12: 100, 2: 100, 1: 50, 0: 50}
    assert all(count["val"] == 2 and count["test"] == 5 for count in counts)
    assert sum(count.total() for count in counts) == 3550


def test_every_product_has_its_pictures_in_its_folder(drawn: Path) -> None:
    faulty = {fault.file for fault in injected_faults(drawn)}
    lines = [line for line in table(drawn, "pictures.csv") if line["file"] not in faulty]
    train = Counter(line["code"] for line in lines if line["split"] == "train")
    codes = [line["code"] for line in table(drawn, "products.csv")]
    assert [train[code] for code in codes] == [12, 2, 12, 2, 1, 0] * 3
    for line in lines:
        assert line["file"].startswith(f"images/{line['code']}/")
        with Image.open(drawn / line["file"]) as picture:
            picture.load()
            assert picture.size == (48, 48)


def test_the_whole_sample_stays_under_eleven_megabytes() -> None:
    shown = [sprite(product.look, print_on_label=product.code) for product in ALL[:20]]
    sizes = [len(photograph(one, np.random.default_rng(i), size=96)) for i, one in enumerate(shown * 2)]
    assert np.mean(sizes) * 3562 < 10.5e6


# ---------------------------------------------------------------- looks, names, texts
def test_no_two_products_look_the_same_but_for_the_label() -> None:
    looks = {(p.look.kind, p.look.body, p.look.pattern, p.look.accent) for p in ALL}
    assert len(looks) == len({p.code for p in ALL}) == len({p.name_en for p in ALL}) == len(ALL)
    assert all(product.look.body != product.look.accent for product in ALL)


def nearest_colours(product: Product) -> dict[str, float]:
    """Share of the product's pixels that are nearest to each named colour."""
    pixels = np.asarray(sprite(product.look, print_on_label=product.code).convert("RGBA")).reshape(-1, 4)
    solid = pixels[pixels[:, 3] == 255, :3].astype(float)
    distance = np.linalg.norm(solid[:, None] - np.array(list(COLOURS.values())), axis=2)
    share = np.bincount(distance.argmin(axis=1), minlength=len(COLOURS)) / len(solid)
    return dict(zip(COLOURS, share, strict=True))


@pytest.mark.parametrize("product", ALL[:30], ids=lambda product: product.look.kind)
def test_the_picture_shows_both_colours(product: Product) -> None:
    share = nearest_colours(product)
    assert share[product.look.body] > 0.15
    assert share[product.look.accent] > 0.03


def test_every_text_names_everything_that_can_be_seen_and_no_other_colour() -> None:
    for product in ALL:
        look, part = product.look, SILHOUETTES[product.look.kind].accent_part
        for form, text in explain(product, seed=7).items():
            seen = {look.kind, look.body, look.pattern, look.accent, look.label, part}
            assert not {word for word in seen if word not in text}, (form, text)
            words = set(text.replace(",", " ").replace(".", " ").split())
            assert words & set(COLOURS) == {look.body, look.accent}, (form, text)
            assert 18 <= len(text.split()) <= 36


def test_some_texts_name_the_product_and_some_do_not() -> None:
    texts = explain(ALL[0], seed=7)
    assert [ALL[0].code in texts[form] or ALL[0].name_en in texts[form] for form in FORMS] == [True, False, False, True]


def test_captions_and_names_say_nothing_that_can_be_seen(drawn: Path) -> None:
    seen = {*COLOURS, *SILHOUETTES, "plain", "stripes", "dots", "checks", "zigzags", "round", "diamond", "nameplate"}
    texts = [line["caption"] for line in table(drawn, "pictures.csv")] + [p.name_en for p in ALL]
    assert len(texts) > 300
    assert not {word for text in texts for word in text.lower().split()} & seen


def test_captions_are_codes_and_names_in_two_languages(drawn: Path) -> None:
    lines = [line for line in table(drawn, "pictures.csv") if line["caption"]]
    assert all(line["caption"].endswith(line["code"]) for line in lines)
    bare = sum(line["caption"] == line["code"] for line in lines) / len(lines)
    japanese = sum(line["language"] == "ja" for line in lines) / len(lines)
    assert 0.5 < bare < 0.7
    assert 0.1 < japanese < 0.3
    assert all(line["caption"].isascii() == (line["language"] == "en") for line in lines)


# ---------------------------------------------------------------- as a source
def test_the_source_reads_what_was_drawn(drawn: Path, tmp_path: Path) -> None:
    source = CatalogSource(tmp_path / "catalog", products=PRODUCTS)
    entities, pictures = list(source.entities()), list(source.pictures())
    assert len(entities) == PRODUCTS
    assert len(pictures) == len(source) == len(table(drawn, "pictures.csv"))
    assert not [row for row in (*entities, *pictures) if isinstance(row, Rejection)]
    never_photographed = entities[5]
    assert not isinstance(never_photographed, Rejection)
    assert len(never_photographed.aliases) == 2
    assert len(never_photographed.explanations) == len(FORMS)


def test_an_altered_catalogue_is_drawn_again(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    source = CatalogSource(folder, products=2, faults=False)
    before = files(folder)
    picture = next(folder.rglob("*.jpg"))
    picture.write_bytes(b"scribble")
    assert CatalogSource(folder, products=2, faults=False).fingerprint() == source.fingerprint()
    assert files(folder) == before
    assert CatalogSource(folder, products=3, faults=False).fingerprint() != source.fingerprint()


def test_drawing_after_a_kill_leaves_one_whole_catalogue(tmp_path: Path) -> None:
    draw_catalog(tmp_path / "sound", products=2, faults=False, size=32)
    (tmp_path / temporary_name("catalog") / "catalog" / "images").mkdir(parents=True)
    draw_catalog(tmp_path / "catalog", products=2, faults=False, size=32)
    assert files(tmp_path / "catalog") == files(tmp_path / "sound")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalog", "sound"]


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(SourceError, match="something else than a drawn catalogue"):
        draw_catalog(tmp_path, products=1, faults=False)
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"


def test_a_file_in_the_place_of_the_folder_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "catalog"):
        with pytest.raises(SourceError):
            draw_catalog(folder, products=1, faults=False)


@pytest.mark.parametrize("recipe", [{"products": 0}, {"products": 17}, {"seed": -1}, {"size": 4}])
def test_an_impossible_recipe_is_refused(tmp_path: Path, recipe: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        draw_catalog(tmp_path / "catalog", **recipe)
    assert not any(tmp_path.iterdir())


def test_pictures_are_jpeg_of_the_requested_size() -> None:
    jpeg = photograph(sprite(ALL[0].look, print_on_label="KX-204B"), np.random.default_rng(0), size=96)
    with Image.open(io.BytesIO(jpeg)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (96, 96))


def test_texts_are_in_the_language_that_is_wanted(tmp_path: Path) -> None:
    kana = re.compile("[ぁ-ヶ]")
    found = {}
    for texts in ("en", "ja", "both"):
        draw_catalog(tmp_path / texts, products=12, faults=False, size=32, texts=texts)
        rows = table(tmp_path / texts, "products.csv")
        assert all(bool(kana.search(row[form])) == (row["language"] == "ja") for row in rows for form in FORMS)
        assert all(len({row[form] for form in FORMS}) == len(FORMS) for row in rows)
        found[texts] = [row["language"] for row in rows]
    assert found == {"en": ["en"] * 12, "ja": ["ja"] * 12, "both": ["en"] * 6 + ["ja"] * 6}
    pictures = [(tmp_path / texts / "images").rglob("*.jpg") for texts in ("en", "ja")]
    assert len({tuple(path.read_bytes() for path in sorted(files)) for files in pictures}) == 1
    with pytest.raises(ConfigError, match="without faults"):
        draw_catalog(tmp_path / "faulty", products=60, size=32, texts="ja")
