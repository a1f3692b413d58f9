"""A foreign catalogue: pictures and texts that nothing of the product was made or tuned on.

A few hundred products in groups of siblings that differ in one thing: a colour, the size, a part, the pattern or the
label. Two pictures of each stand in the tables, a third is kept as a query. Pictures come from a depth buffer over
surfaces in space (``surface_points``), not from the package's drawings. The folder holds

    photographs/ queries/ queries.csv
    english/pictures.csv items.csv mapping.yaml      UTF-8
    japanese/写真.csv 商品.csv mapping.yaml            Shift_JIS as Excel writes it (cp932)

    python benchmarks/lib/foreign_catalog.py build/foreign
"""

from __future__ import annotations

import csv
import math
import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
import yaml
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script it finds its neighbours as the benchmarks do
from lib import foreign_words as words
from lib.foreign_shapes import COLOURS, EMBLEMS, PATTERNS, SIZES, VARIANTS, Design, build
from lib.foreign_textures import clutter, floor
from lib.surface_points import Shot, joined, photograph

SIBLINGS = 5
LANGUAGES = {"english": "en", "japanese": "ja"}


class Item(NamedTuple):
    """One product."""

    code: str
    series_en: str
    series_ja: str
    design: Design

    def series(self, language: str) -> str:
        """The trade name, which siblings share."""
        return self.series_ja if language == "ja" else self.series_en

    def name(self, language: str) -> str:
        """The trade name with what tells it from its siblings in a shop's list: a number."""
        return f"{self.series(language)} {self.code[-3:]}"


class Query(NamedTuple):
    """A picture that is in no table, and what it shows."""

    file: Path
    entity: str


def draw_foreign_catalog(folder: Path, *, products: int = 300, seed: int = 7, progress: bool = True) -> list[Query]:
    """Write the catalogue; the same seed gives the same files. Where it is already whole, only its queries are read."""
    listed = folder / "queries.csv"  # written last
    if not listed.exists():
        items = list(islice(_items(seed), products))
        files = _photograph(items, folder, seed=seed, progress=progress)
        for name, language in LANGUAGES.items():
            _write_tables(folder / name, items, files, language=language)
        _write_csv(listed, ["file", "entity"], [[f"queries/{n:04}.jpg", item.code] for n, item in enumerate(items)])
    with listed.open(encoding="utf-8", newline="") as stream:
        return [Query(folder / row["file"], row["entity"]) for row in csv.DictReader(stream)]


# ---------------------------------------------------------------- products
def _items(seed: int) -> Iterator[Item]:
    """Groups of siblings, family after family; asking for more changes none of them."""
    rng = random.Random(f"{seed}/items")
    names, seen, codes = words.series(rng), set[Design](), set[str]()
    for group in range(len(names)):
        family = list(VARIANTS)[group % len(VARIANTS)]
        for design in _siblings(family, rng, seen):
            code = _unused(rng, codes)
            yield Item(code, *names[group], design)


def _siblings(family: str, rng: random.Random, seen: set[Design]) -> Iterator[Design]:
    main, trim = rng.sample(list(COLOURS), 2)
    base = Design(
        family,
        rng.choice(VARIANTS[family]),
        rng.choice(list(SIZES)),
        main,
        trim,
        rng.choice(PATTERNS),
        rng.choice(EMBLEMS),
    )
    fields: dict[str, tuple[str, ...]] = {
        "variant": VARIANTS[family], "size": tuple(SIZES), "main": tuple(COLOURS), "trim": tuple(COLOURS),
        "pattern": PATTERNS, "emblem": EMBLEMS,
    }  # fmt: skip
    changed = ["", *rng.sample(list(fields), k=SIBLINGS - 1)]
    for field in changed:
        design = base
        while design in seen or design.main == design.trim:
            field = field or rng.choice(list(fields))
            design = base._replace(**{field: rng.choice(fields[field])})
            if field == "size" and all(base._replace(size=size) in seen for size in SIZES):
                field = "main"
        seen.add(design)
        yield design


def _unused(rng: random.Random, codes: set[str]) -> str:
    while (code := f"{rng.randint(1000, 9999)}.{rng.randint(10, 99)}/{rng.randint(100, 999)}") in codes:
        pass
    codes.add(code)
    return code


# ---------------------------------------------------------------- pictures
def _photograph(items: list[Item], folder: Path, *, seed: int, progress: bool) -> list[list[str]]:
    """Three pictures of each: two for the table, whose names are returned, and the query."""
    for name in ("photographs", "queries"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    files = []
    for n, item in enumerate(tqdm(items, desc="photographs", disable=not progress)):
        thing = build(item.design, word=item.series_en.upper()[:8])
        names = [f"photographs/img_{2 * n + view:05}.jpg" for view in range(2)]
        for view, name in enumerate([*names, f"queries/{n:04}.jpg"]):
            rng = np.random.default_rng([seed, n, view])
            around = joined([thing, *clutter(rng)])
            wall = tuple(rng.uniform(0.15, 0.75) * np.clip(rng.normal(1, 0.08, 3), 0, 1.2))
            (folder / name).write_bytes(photograph(around, _shot(rng), floor=floor(rng), wall=wall, rng=rng))
        files.append([Path(name).name for name in names])
    return files


def _shot(rng: np.random.Generator) -> Shot:
    side = int(rng.integers(300, 401))
    width, height = rng.permutation([side, int(side * rng.choice((0.75, 0.8, 1.0)))])
    return Shot(
        width=int(width),
        height=max(300, int(height)),
        turn=math.radians(rng.uniform(-55, 55)),
        tilt=math.radians(rng.uniform(4, 40)),
        distance=rng.uniform(2.0, 3.0),
        focal=rng.uniform(1.1, 1.3),
        light=(rng.uniform(-1, 1), rng.uniform(0.7, 1.6), rng.uniform(0.2, 1.2)),
        warmth=float(rng.normal(1.0, 0.07)),
        exposure=float(np.exp(rng.normal(0.0, 0.3))),
        noise=rng.uniform(0.005, 0.03),
        blur=rng.uniform(0.3, 1.3),
    )


# ---------------------------------------------------------------- tables
_COLUMNS = {
    "en": (("photo", "item_no", "line"), ("item_no", "item_name", "group", "looks", "looks_2"), "pictures", "items"),
    "ja": (("写真", "品番", "見出し"), ("品番", "品名", "分類", "外観", "外観2"), "写真", "商品"),
}


def _write_tables(folder: Path, items: list[Item], files: list[list[str]], *, language: str) -> None:
    """Pictures, products, and the mapping that a shop would write; nothing else is set anywhere."""
    folder.mkdir(exist_ok=True)
    of_pictures, of_items, pictures, products = _COLUMNS[language]
    encoding = "cp932" if language == "ja" else "utf-8"
    lines = [
        [name, item.code, words.caption(item.design, language, series=item.series(language), code=item.code, form=form)]
        for item, names in zip(items, files, strict=True)
        for form, name in enumerate(names)
    ]
    _write_csv(folder / f"{pictures}.csv", of_pictures, lines, encoding=encoding)
    rows = [[i.code, i.name(language), words.kind(i.design, language), *_looks(i, language)] for i in items]
    _write_csv(folder / f"{products}.csv", of_items, rows, encoding=encoding)
    entity, name, category, *looks = of_items
    mapping = dict(zip(("file", "entity", "caption"), of_pictures, strict=True)) | {
        "images": "../photographs",
        "default_language": language,
        "encoding": encoding,
        "entities": {
            "table": f"{products}.csv",
            "entity": entity,
            "aliases": [name],
            "category": category,
            "explanations": looks,
            "encoding": encoding,
        },
    }
    (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _looks(item: Item, language: str) -> list[str]:
    return [words.describe(item.design, language, word=item.series_en.upper()[:8], form=form) for form in (0, 1)]


def _write_csv(
    path: Path, header: tuple[str, ...] | list[str], rows: list[list[str]], *, encoding: str = "utf-8"
) -> None:
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


def main(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")],
    products: Annotated[int, typer.Option(help="At most 400.")] = 300,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 7,
) -> None:
    """Write a foreign catalogue."""
    print(f"{folder}: {len(draw_foreign_catalog(folder, products=products, seed=seed))} products")


if __name__ == "__main__":
    typer.run(main)
