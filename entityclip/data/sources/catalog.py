"""The built-in sample: a drawn product catalogue with a long tail, human-like texts and injected faults.

``draw_catalog`` writes a folder of pictures and tables; the same arguments give the same bytes. ``CatalogSource`` draws
it if it is missing, and reads it like a table of a user.
"""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from pydantic import Field, ValidationError
from tqdm import tqdm

from entityclip.data.pairs import digest
from entityclip.data.sources import synthetic
from entityclip.data.sources.mapping import EntityMapping, TableMapping
from entityclip.data.sources.synthetic.faults import FEWEST_PRODUCTS, Fault, plant_pictures, plant_texts
from entityclip.data.sources.synthetic.japanese import explain_in_japanese
from entityclip.data.sources.synthetic.products import FORMS, Product, explain
from entityclip.data.sources.synthetic.render_photos import LICENCE, Studio, Texts, language_of, shots
from entityclip.data.sources.table import TableSource
from entityclip.errors import ConfigError, SourceError
from entityclip.schemas import Record
from entityclip.storage import atomic_path

MAPPING = TableMapping(
    entity="code",
    category="kind",
    entities=EntityMapping(entity="code", aliases=("name_en", "name_ja"), explanations=FORMS, category="kind"),
)
"""How the catalogue's tables are read."""

_PICTURES, _PRODUCTS, _FAULTS, _MARKER = "pictures.csv", "products.csv", "faults.csv", "catalog.json"


class Recipe(Record):
    """All arguments that determine what is drawn."""

    products: int = Field(ge=1, le=5000)
    seed: int = Field(ge=0)
    faults: bool = Field(description="Plant the faults that faults.csv then lists.")
    size: int = Field(ge=32, le=512, description="Side of the pictures, in pixels.")
    texts: Texts = Field(default="en", description="Language of captions and explanations.")


class CatalogSource(TableSource):
    """The drawn catalogue in ``folder``; it is drawn first if it is missing, incomplete or of another recipe.

    Raises:
        ConfigError: The recipe is impossible.
        SourceError: ``folder`` contains something other than a catalogue, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        products: int = 300,
        seed: int = 7,
        faults: bool = True,
        texts: Texts = "en",
        progress: bool = False,
    ) -> None:
        draw_catalog(folder, products=products, seed=seed, faults=faults, texts=texts, progress=progress)
        super().__init__(folder, mapping=MAPPING, name="catalog")
        self._content = str(_marker(folder)["content"])

    def fingerprint(self) -> str:
        """Hash of the drawn content; it does not depend on place or time."""
        return digest("catalog", self._content, MAPPING.model_dump_json(), length=64)


def injected_faults(folder: Path) -> tuple[Fault, ...]:
    """The faults of the catalogue in ``folder``; empty if it was drawn without."""
    if not (folder / _FAULTS).is_file():
        return ()
    with (folder / _FAULTS).open(encoding="utf-8", newline="") as stream:
        return tuple(Fault.model_validate(row) for row in csv.DictReader(stream))


# ---------------------------------------------------------------- drawing it once
def draw_catalog(
    folder: Path,
    *,
    products: int = 300,
    seed: int = 7,
    faults: bool = True,
    size: int = 96,
    texts: Texts = "en",
    progress: bool = False,
) -> None:
    """Write the catalogue into ``folder``, unless it is there, complete and of this recipe.

    Pictures are ``images/CODE/N.jpg``. ``pictures.csv`` has one row per picture, ``products.csv`` one per product, and
    ``faults.csv`` one per injected fault. The number of faults does not depend on ``products``: with fewer than 60
    products, a quality gate may refuse their share. The folder is replaced atomically.

    Raises:
        ConfigError: The recipe is impossible.
        SourceError: ``folder`` contains something other than a catalogue and is left alone, or cannot be written.
    """
    recipe = _recipe(products=products, seed=seed, faults=faults, size=size, texts=texts)
    if _is_drawn(folder, recipe):
        return
    if folder.exists() and not _may_be_replaced(folder):
        raise SourceError(f"{folder}: holds something else than a drawn catalogue; name an empty or a new folder")
    try:
        with atomic_path(folder, durable=False) as temporary:
            temporary.mkdir()
            _draw(temporary, recipe, progress=progress)
            marker = {**_expected(recipe), "content": _content(temporary)}
            (temporary / _MARKER).write_text(json.dumps(marker, indent=1) + "\n")
    except OSError as error:
        raise SourceError(f"{folder}: the catalogue cannot be written: {error.strerror}") from error


def is_drawn(folder: Path, *, products: int, seed: int = 7, faults: bool = True, size: int = 96) -> bool:
    """Whether ``draw_catalog`` with the same arguments would have nothing to do."""
    return _is_drawn(folder, _recipe(products=products, seed=seed, faults=faults, size=size))


def _recipe(**values: int | bool | str) -> Recipe:
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(f"{e['loc'][0]}={e['input']!r}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"no catalogue can be drawn with {wrong}") from None
    if recipe.faults and recipe.products < FEWEST_PRODUCTS:
        raise ConfigError(
            f"{recipe.products} products have no room for the faults; ask for {FEWEST_PRODUCTS} or for no faults"
        )
    if recipe.faults and recipe.texts != "en":
        raise ConfigError(f"the faults are planted in English texts; draw {recipe.texts!r} without faults")
    return recipe


def _is_drawn(folder: Path, recipe: Recipe) -> bool:
    """Whether ``folder`` contains exactly what this code draws for ``recipe``."""
    marker = _marker(folder)
    return bool(marker) and marker == {**_expected(recipe), "content": _content(folder)}


def _may_be_replaced(folder: Path) -> bool:
    return folder.is_dir() and (bool(_marker(folder)) or not any(folder.iterdir()))


def _marker(folder: Path) -> dict[str, Any]:
    """Content of the marker of a complete catalogue; empty if there is none."""
    try:
        marker = json.loads((folder / _MARKER).read_text())
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) and "recipe" in marker else {}


def _expected(recipe: Recipe) -> dict[str, Any]:
    """Recipe, and hash of the drawing code with the versions of NumPy and Pillow."""
    code = [Path(__file__), *sorted(Path(synthetic.__path__[0]).glob("*.py"))]
    generator = digest(PIL.__version__, np.__version__, *(path.read_bytes() for path in code))
    return {"recipe": recipe.model_dump(), "generator": generator}


def _content(folder: Path) -> str:
    """Hash of the name and bytes of every file except the marker."""
    h = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _MARKER:
            h.update(digest(path.relative_to(folder).as_posix(), path.read_bytes()).encode())
    return h.hexdigest()


# ---------------------------------------------------------------- the catalogue itself
def _draw(folder: Path, recipe: Recipe, *, progress: bool) -> None:
    """Draw all pictures and write the tables."""
    studio = Studio(folder, products=recipe.products, seed=recipe.seed, size=recipe.size, texts=recipe.texts)
    lines = [
        studio.file_away(studio.shoot(index, number), index, number, split=split)
        for index in tqdm(range(recipe.products), desc="draw", unit="product", disable=not progress)
        for number, split in shots(index)
    ]
    languages = {product.code: language_of(i, recipe.texts) for i, product in enumerate(studio.products)}
    writers = {"en": explain, "ja": explain_in_japanese}
    texts = {p.code: writers[languages[p.code]](p, seed=recipe.seed) for p in studio.products}
    if recipe.faults:
        planted = [*plant_pictures(studio, lines), *plant_texts(studio, texts, table=_PRODUCTS)]
        _write_table(folder / _FAULTS, [fault.model_dump() for fault in planted])
    _write_table(folder / _PICTURES, [line.model_dump() for line in lines])
    rows = [_product_line(product, texts[product.code], languages[product.code]) for product in studio.products]
    _write_table(folder / _PRODUCTS, rows)


def _product_line(product: Product, texts: dict[str, str], language: str) -> dict[str, str]:
    names = {"code": product.code, "name_en": product.name_en, "name_ja": product.name_ja, "kind": product.look.kind}
    return {**names, "language": language, "licence": LICENCE, **texts}


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
