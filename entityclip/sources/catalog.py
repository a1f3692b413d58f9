"""The built-in sample: a drawn product catalogue with a long tail, human-like texts and planted faults.

``draw_catalog`` writes a folder of pictures and tables, the same bytes for the same arguments; ``CatalogSource``
draws it where it is not there yet and reads it as any table of a user's.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from pydantic import Field, ValidationError
from tqdm import tqdm

from entityclip.errors import ConfigError, SourceError
from entityclip.pairs import digest
from entityclip.records import Record, Split
from entityclip.sources import drawing, silhouettes
from entityclip.sources import faults as planting
from entityclip.sources import products as inventing
from entityclip.sources.drawing import photograph, sprite
from entityclip.sources.faults import EACH, FAULTS_TABLE, PICTURE_FAULTS, TEXT_FAULTS, Case, Fault, PictureFault
from entityclip.sources.products import FORMS, Product, explain, invent
from entityclip.sources.table import EntityMapping, TableMapping, TableSource

TRAIN_PICTURES = (12, 2, 12, 2, 1, 0)
"""The long tail: training pictures of the first six products; of the next six; and so on."""
VAL_PICTURES, TEST_PICTURES = 2, 5

MAPPING = TableMapping(
    entity="code",
    category="kind",
    entities=EntityMapping(entity="code", aliases=("name_en", "name_ja"), explanations=FORMS, category="kind"),
)
"""How the catalogue's tables are read."""

_PICTURES_TABLE, _PRODUCTS_TABLE, _MARKER = "pictures.csv", "products.csv", "catalog.json"
_LICENCE = "CC0-1.0"
_FIRST_TRAIN = VAL_PICTURES + TEST_PICTURES + 1
_FIRST_FAULTY = 100
"""Pictures of a product are numbered val, test, train from 1 on; those of planted faults from here on."""


class Recipe(Record):
    """Everything that decides what is drawn."""

    products: int = Field(default=300, ge=1, le=5000)
    seed: int = Field(default=7, ge=0)
    faults: bool = Field(default=True, description="Plant the faults that ``faults.csv`` then lists.")
    size: int = Field(default=96, ge=32, le=512, description="Side of the pictures, in pixels.")


class PictureLine(Record):
    """A row of pictures.csv."""

    file: str
    code: str
    caption: str
    split: Split
    kind: str
    language: str
    licence: str = _LICENCE


class CatalogSource(TableSource):
    """The drawn catalogue in ``folder``, drawn first unless it is there, whole and of this recipe.

    Raises:
        ConfigError: The recipe is impossible.
        SourceError: ``folder`` holds something else than a catalogue.
    """

    def __init__(
        self, folder: Path, *, products: int = 300, seed: int = 7, faults: bool = True, progress: bool = False
    ) -> None:
        draw_catalog(folder, products=products, seed=seed, faults=faults, progress=progress)
        super().__init__(folder, mapping=MAPPING, name="catalog")
        self._drawn = (folder / _MARKER).read_text()

    def fingerprint(self) -> str:
        """Hash of what was drawn: the same wherever and whenever it was drawn."""
        return digest("catalog", self._drawn, MAPPING.model_dump_json(), length=64)


# ---------------------------------------------------------------- drawing it once
def draw_catalog(
    folder: Path,
    *,
    products: int = 300,
    seed: int = 7,
    faults: bool = True,
    size: int = 96,
    progress: bool = False,
) -> None:
    """Write the catalogue into ``folder``; nothing is done where it is there, whole and of this recipe.

    Pictures lie in ``images/CODE/N.jpg``. ``pictures.csv`` has a row for each, ``products.csv`` one for each
    product, ``faults.csv`` one for each planted fault. Faults are as many whatever ``products`` is, so that in a
    catalogue of fewer than about 60 they are a large share. Drawing happens beside the folder, which is replaced
    at the end.

    Raises:
        ConfigError: The recipe is impossible.
        SourceError: ``folder`` holds something else than a catalogue; nothing was touched.
    """
    recipe = _recipe(products=products, seed=seed, faults=faults, size=size)
    if _is_drawn(folder, recipe):
        return
    if folder.exists() and not (folder / _MARKER).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise SourceError(f"{folder}: holds something else than a drawn catalogue; name an empty or a new folder")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _draw(partial, recipe, progress=progress)
    marker = {"recipe": recipe.model_dump(), "generator": _generator(), "content": _content(partial)}
    (partial / _MARKER).write_text(json.dumps(marker, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _recipe(**values: int | bool) -> Recipe:
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"no catalogue can be drawn like that: {error}") from None
    fewest = len(TRAIN_PICTURES) * 3
    if recipe.faults and recipe.products < fewest:
        raise ConfigError(
            f"{recipe.products} products have no room for the faults; ask for {fewest} or for faults=False"
        )
    return recipe


def _is_drawn(folder: Path, recipe: Recipe) -> bool:
    """Whether ``folder`` is what this version of the generator draws by ``recipe``, to the last byte."""
    try:
        marker = json.loads((folder / _MARKER).read_text())
    except (OSError, ValueError):
        return False
    return marker == {"recipe": recipe.model_dump(), "generator": _generator(), "content": _content(folder)}


def _generator() -> str:
    """Hash of the code that draws."""
    modules = (__file__, drawing.__file__, silhouettes.__file__, inventing.__file__, planting.__file__)
    sources = [Path(str(module)).read_bytes() for module in modules]
    return digest(PIL.__version__, np.__version__, *sources)


def _content(folder: Path) -> str:
    """Hash of every file's name and bytes, the marker left out."""
    h = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _MARKER:
            h.update(digest(path.relative_to(folder).as_posix(), path.read_bytes()).encode())
    return h.hexdigest()


def _draw(folder: Path, recipe: Recipe, *, progress: bool) -> None:
    """All pictures and tables of the catalogue."""
    studio = _Studio(folder, recipe)
    lines = [
        studio.shoot(index, number, split=split)
        for index in tqdm(range(recipe.products), desc="draw", unit="product", disable=not progress)
        for number, split in _numbered(index)
    ]
    texts = {product.code: explain(product, seed=recipe.seed) for product in studio.products}
    planted: list[Fault] = []
    if recipe.faults:
        planted = [*_plant_pictures(studio, lines), *_plant_texts(studio, texts)]
    _write_table(folder / _PICTURES_TABLE, [line.model_dump() for line in lines])
    _write_table(folder / _PRODUCTS_TABLE, [_product_line(p, texts[p.code]) for p in studio.products])
    if planted:
        _write_table(folder / FAULTS_TABLE, [fault.model_dump() for fault in planted])


def _numbered(index: int) -> Iterator[tuple[int, Split]]:
    """Number and split of each picture of the product at ``index``."""
    yield from ((number, "val") for number in range(1, VAL_PICTURES + 1))
    yield from ((number, "test") for number in range(VAL_PICTURES + 1, _FIRST_TRAIN))
    train = TRAIN_PICTURES[index % len(TRAIN_PICTURES)]
    yield from ((number, "train") for number in range(_FIRST_TRAIN, _FIRST_TRAIN + train))


class _Studio:
    """Photographs the products of a recipe. Picture N of a product depends on nothing but seed, product and N."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self._folder, self._recipe, self.seed = folder, recipe, recipe.seed
        self.products = invent(recipe.products, seed=recipe.seed)
        self.frequent = [
            i for i in range(recipe.products) if TRAIN_PICTURES[i % len(TRAIN_PICTURES)] == max(TRAIN_PICTURES)
        ]
        self._sprite = lru_cache(maxsize=1)(self._draw_sprite)

    def _draw_sprite(self, index: int) -> Image.Image:
        product = self.products[index]
        return sprite(product.look, print_on_label=product.code)

    def photo(self, index: int, number: int) -> bytes:
        """Picture ``number`` of the product at ``index``, as JPEG."""
        rng = np.random.default_rng([self._recipe.seed, index, number])
        return photograph(self._sprite(index), rng, size=self._recipe.size)

    def shoot(self, index: int, number: int, *, split: Split) -> PictureLine:
        """Write picture ``number`` to its file and return its row."""
        return self.file_away(self.photo(index, number), index, number, split=split)

    def file_away(self, data: bytes, index: int, number: int, *, split: Split) -> PictureLine:
        """Write ``data`` as picture ``number`` of the product at ``index`` and return its row."""
        product = self.products[index]
        file = f"images/{product.code}/{number}.jpg"
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        language, caption = _caption(product, np.random.default_rng([self._recipe.seed, index, number, 1]))
        return PictureLine(
            file=file, code=product.code, caption=caption, split=split, kind=product.look.kind, language=language
        )


def _caption(product: Product, rng: np.random.Generator) -> tuple[str, str]:
    """Language and caption: mostly the bare code, as in a stock list; else a name with it."""
    draw = rng.random()
    if draw < 0.6:
        return "en", product.code
    return ("en", f"{product.name_en} {product.code}") if draw < 0.8 else ("ja", f"{product.name_ja} {product.code}")


# ---------------------------------------------------------------- planting faults
def _plant_pictures(studio: _Studio, lines: list[PictureLine]) -> Iterator[Fault]:
    """Add a row with its file to ``lines`` for each fault."""
    for turn, fault in enumerate(PICTURE_FAULTS * EACH):
        index = studio.frequent[turn % len(studio.frequent)]
        number = _FIRST_FAULTY + turn
        data = fault.spoil(_shown(studio, fault, turn))
        line = studio.file_away(data, index, number, split="train")
        lines.append(line if fault.captioned else line.model_copy(update={"caption": ""}))
        yield Fault(
            kind=fault.kind,
            file=line.file,
            product=line.code,
            column="" if fault.captioned else "caption",
            detail=fault.detail,
            caught_by=fault.caught_by,
        )


def _shown(studio: _Studio, fault: PictureFault, turn: int) -> bytes:
    """The sound picture that a fault starts from."""
    at = turn + 1 if fault.shows == "other" else turn
    known = _FIRST_TRAIN + turn // len(PICTURE_FAULTS)
    number = _FIRST_FAULTY + turn if fault.shows == "new" else known
    return studio.photo(studio.frequent[at % len(studio.frequent)], number)


def _plant_texts(studio: _Studio, texts: dict[str, dict[str, str]]) -> Iterator[Fault]:
    """Replace one text in ``texts`` for each fault; every product keeps at least one sound form."""
    absent = invent(len(studio.products) + EACH, seed=studio.seed)[-EACH:]
    spoilable = FORMS[1:]
    for turn, fault in enumerate(TEXT_FAULTS * EACH):
        lap, place = divmod(turn, len(studio.frequent))
        index = studio.frequent[place]
        product, form = studio.products[index], spoilable[(lap + place) % len(spoilable)]
        case = Case(
            product=product,
            text=texts[product.code][form],
            other=studio.products[(index + 1) % len(studio.products)],
            absent=absent[turn // len(TEXT_FAULTS)],
            turn=turn // len(TEXT_FAULTS),
        )
        texts[product.code][form] = fault.write(case)
        yield Fault(
            kind=fault.kind,
            file=_PRODUCTS_TABLE,
            product=product.code,
            column=form,
            detail=fault.detail,
            caught_by=fault.caught_by,
        )


# ---------------------------------------------------------------- tables
def _product_line(product: Product, texts: dict[str, str]) -> dict[str, str]:
    names = {"code": product.code, "name_en": product.name_en, "name_ja": product.name_ja, "kind": product.look.kind}
    return {**names, "language": "en", "licence": _LICENCE, **texts}


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
