"""Words on real packages: what reading labels adds to the look.

    python benchmarks/label_words.py --source ../shared/grocery --kept labels.sqlite --json
    python benchmarks/label_words.py --source ../shared/grocery --minutes 3 --most 2 --queries 60 --json

The preset ``photos`` learns and calibrates on ``train.txt`` alone, as in ``photos.py``, and so does the vocabulary: the
words on at most ``--most`` pictures of each product in train, weighed by those in val. The queries are ``val.txt``. R@1
in percent, for packages (where brands and kinds are printed) and for fruit and vegetables: the look alone, with names
and codes, and with words too. ``words_r1``: packages by their words alone, among the products with words.
``p_packages``: chance of as many gained or more against lost, if words were noise (exact binomial test, one-sided).
``--kept`` keeps what was read, so that a second run reads nothing.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from lib.machine import facts, peak_gib
from photos import TrainAlone, read
from scipy.stats import binomtest

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.data.label_cache import LabelCache, read_once
from entityclip.data.labels import LabelReader, reader_version
from entityclip.data.sources.grocery import GrocerySource
from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.label_calibration import calibrated_vocabulary
from entityclip.explanations.pii import without_personal_data
from entityclip.model import checkpoint
from entityclip.model.backbones import BackboneConfig, Task, best_at_hand
from entityclip.paths import DataLayout, Layout
from entityclip.retrieval.index import EntityIndex, PictureIndex, spelling
from entityclip.retrieval.label_vocabulary import LabelVocabulary
from entityclip.retrieval.picture_labels import PICTURES, read_labels
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import Label
from entityclip.training import presets
from entityclip.training.trainer import fit

PACKAGES = "Packages/"


def trained(data: DataLayout, layout: Layout, *, minutes: float, seed: int) -> Predictor:
    """The preset on the training pictures, calibrated, with both indexes and the label vocabulary."""
    backbone = best_at_hand(BackboneConfig(), Task())
    config = presets.photos(backbone).train.changed(minutes=minutes, seed=seed)
    run = layout.run("photos")
    fit(config, data=data, data_hash="", run=run, report=lambda *_: None, progress=False)
    model = checkpoint.load(run.checkpoint)
    model = replace(model, card=calibrate(model, data))
    pictures = PictureIndex.build(model, data)
    entities = EntityIndex.build(model, data, pictures=pictures)
    vocabulary = calibrated_vocabulary(model, data, entities=entities, pictures=pictures, complete=False)
    return Predictor(model, entities, pictures, vocabulary=vocabulary)


def answers(
    predictor: Predictor, vocabulary: LabelVocabulary, queries: list[tuple[str, str, bytes, tuple[Label, ...]]]
) -> list[dict[str, Any]]:
    """One row per query: whether it is right without, with names and codes, with words too, and by words alone."""
    without_words, rows = replace(predictor, vocabulary=None), []
    for path, entity, data, labels in queries:
        picture = decode(data)
        found = {
            "without": predictor.tag(picture),
            "names": without_words.tag(picture, labels=labels),
            "words": predictor.tag(picture, labels=labels),
        }
        words_read = [word for label in labels for word in spelling.words(label.text) if len(word) > 1]
        ratios = vocabulary.sums(words_read)
        alone = words_read and ratios.any() and vocabulary.entities[int(ratios.argmax())] == pairs.entity_id(entity)
        rows.append(
            {"package": PACKAGES in path, "text": bool(words_read), "alone": bool(alone)}
            | {name: tags[0].entity == entity for name, tags in found.items()}
            | {f"sure_{name}": tags[0].above_threshold for name, tags in found.items()}
            | {
                f"sure_wrong_{name}": tags[0].above_threshold and tags[0].entity != entity
                for name, tags in found.items()
            }
        )
    return rows


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Percent of the queries; None where there are none."""

    def percent(name: str, *, package: bool) -> float | None:
        found = [row[name] for row in rows if row["package"] == package]
        return round(100 * float(np.mean(found)), 1) if found else None

    kinds = {"packages": True, "others": False}
    table = {
        f"{kind}_{figure}_{name}": percent(column.format(name), package=package)
        for kind, package in kinds.items()
        for figure, column in (("r1", "{}"), ("sure", "sure_{}"), ("sure_wrong", "sure_wrong_{}"))
        for name in ("without", "names", "words")
    }
    counts = {kind: sum(row["package"] == package for row in rows) for kind, package in kinds.items()}
    gained = sum(row["words"] > row["without"] for row in rows if row["package"])
    lost = sum(row["words"] < row["without"] for row in rows if row["package"])
    return table | {
        "words_r1": percent("alone", package=True),
        "packages_with_text": percent("text", package=True),
        "others_with_text": percent("text", package=False),
        "queries": counts,
        "packages_gained": gained,
        "packages_lost": lost,
        "p_packages": float(binomtest(gained, gained + lost, alternative="greater").pvalue) if gained + lost else None,
    }


def _id(row: dict[str, Any]) -> str:
    return str(row["pair_id"])


def main(
    source: Annotated[Path, typer.Option(help="Folder of the Grocery Store data set.")] = Path("../shared/grocery"),
    minutes: Annotated[float, typer.Option(help="For the training.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    kept: Annotated[Path | None, typer.Option(help="File that keeps what was read.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Pictures of each product and split that are read.")] = PICTURES,
    count: Annotated[int | None, typer.Option("--queries", min=1, help="Pictures of val.txt; default: all.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the reader; default: all cores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Read, train, tag with and without labels, and print the figures as one JSON object, last."""
    started, reader = time.monotonic(), LabelReader(threads=threads)
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelCache(kept or Path(folder) / "labels.sqlite", screen=without_personal_data) as cache,
    ):
        root, grocery = Path(folder), GrocerySource(source)
        learned, complete = read(TrainAlone(grocery), Layout(root / "learned")), read(grocery, Layout(root / "all"))
        counts = read_labels(learned, lambda: reader, cache, most=most, progress=not as_json)
        rows = sorted(pairs.iter_rows(complete.pairs, name="val", columns=["pair_id", "entity", "image"]), key=_id)
        queries = [
            (row["image"]["path"], row["entity"], data, read_once(data, reader, cache).labels)
            for row in rows[:count]
            if (data := row["image"]["bytes"])
        ]
        read_seconds = time.monotonic() - started
        predictor = trained(learned, Layout(root / "learned"), minutes=minutes, seed=seed)
        vocabulary = predictor.vocabulary
        assert vocabulary is not None
        answer = figures(answers(predictor, vocabulary, queries))
    answer |= {"factor": vocabulary.factor, "vocabulary": len(set(vocabulary.words["word"])), "minutes": minutes}
    answer |= {"products_with_words": len(vocabulary.entities), "reader": reader_version(), "most": most}
    answer |= {"read_pictures": counts.pictures, "read_seconds": round(read_seconds, 1)}
    print(json.dumps(answer | {"seconds": round(time.monotonic() - started, 1), "peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
