"""A foreign catalogue through the main job, in English and in Japanese, against a frozen tower and nearest pictures.

    python benchmarks/foreign.py --json
    python benchmarks/foreign.py --products 60 --languages english --json

The catalogue (``lib/foreign_catalog.py``) is drawn by other means than the package's own, and nothing was tuned on it.
Each table goes through ``entityclip run --source table`` in a process of its own, with no setting but the mapping. Then
the released package tags one picture of each product that no table holds. ``nearest_r1`` is what the untrained tower of
``--backbone`` reaches with the pictures of the table: the product of the nearest one, by cosine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from lib.foreign_catalog import Query, draw_foreign_catalog
from lib.machine import facts, peak_gib
from open_clip.timm_model import TimmModel
from torch.nn import functional as F
from tqdm import tqdm

from entityclip.data.images import decode
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import ConfigError
from entityclip.model.backbones import BACKBONES
from entityclip.model.tower_weights import load_image_weights
from entityclip.paths import Layout, StoreLayout
from entityclip.retrieval.predictor import Predictor
from flows.workspace.registry import champion

TABLES = {"english": "pictures.csv", "japanese": "写真.csv"}
BATCH = 32


# ---------------------------------------------------------------- the baseline
class FrozenTower:
    """A packaged image tower as it is."""

    def __init__(self, backbone: str) -> None:
        if backbone not in BACKBONES or BACKBONES[backbone].kind != "image" or BACKBONES[backbone].size is None:
            raise ConfigError(f"backbone {backbone!r}: expected an image tower of: entityclip backbones list")
        table = BACKBONES[backbone]
        how = table.model_dump(include={"size", "mean", "std", "interpolation"}, exclude_none=True)
        self._preprocessing = Preprocessing(**how)
        # Features leave the trunk before the projection, which is fresh and not used.
        tower = TimmModel(table.architecture, embed_dim=8, image_size=table.size, pretrained=False)
        load_image_weights(tower, backbone)
        self._trunk = tower.trunk.eval()

    @torch.inference_mode()
    def vectors(self, files: list[Path], *, progress: bool) -> np.ndarray:
        """(N, D) unit rows."""
        rows = []
        for first in tqdm(range(0, len(files), BATCH), desc="frozen tower", disable=not progress):
            pictures = [decode(file.read_bytes()) for file in files[first : first + BATCH]]
            squares = np.stack([self._preprocessing.square(picture) for picture in pictures])
            rows.append(F.normalize(self._trunk(self._preprocessing.normalise(torch.from_numpy(squares))), dim=-1))
        return torch.cat(rows).numpy()


def nearest_r1(folder: Path, queries: list[Query], *, backbone: str, progress: bool) -> float:
    """Share of the queries whose nearest picture in the table shows the same product, percent."""
    table = pd.read_csv(folder / "english" / TABLES["english"], dtype=str)
    tower = FrozenTower(backbone)
    known = tower.vectors([folder / "photographs" / name for name in table["photo"]], progress=progress)
    query_vectors = tower.vectors([query.file for query in queries], progress=progress)
    named = table["item_no"].to_numpy()[(query_vectors @ known.T).argmax(axis=1)]
    return 100 * float(np.mean(named == [query.entity for query in queries]))


# ---------------------------------------------------------------- the product
def main_job(folder: Path, workspace: Path, *, language: str, options: list[str]) -> float:
    """Seconds of ``entityclip run`` on one of the tables.

    Raises:
        RuntimeError: It failed.
    """
    source = ["--source", "table", "--source-path", str(folder / language / TABLES[language])]
    mapping = ["--mapping", str(folder / language / "mapping.yaml")]
    home = str(workspace.parent / "home")
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "entityclip", "run", "--workspace", str(workspace), *source, *mapping, *options],
        env=os.environ | {"HOME": home, "PREFECT_HOME": home},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the main job on the {language} table failed:\n{done.stderr[-3000:]}")
    return time.monotonic() - started


def tagged(workspace: Path, queries: list[Query], *, progress: bool) -> Iterator[bool]:
    """Whether the champion's package names each query's product first; nothing where there is no champion."""
    layout = Layout(workspace)
    current = champion(layout)
    if current is None:
        return
    predictor = Predictor.load(StoreLayout(layout.bento_home).model(current.version).root)
    for query in tqdm(queries, desc="tag", disable=not progress):
        (first,) = predictor.tag(decode(query.file.read_bytes()), k=1)
        yield first.entity == query.entity


def main(
    products: Annotated[int, typer.Option(min=20, max=400)] = 300,
    seed: Annotated[int, typer.Option(help="Of the catalogue.")] = 7,
    preset: Annotated[str, typer.Option(help="As of the main job, whose default it is.")] = "photos",
    epochs: Annotated[int | None, typer.Option(help="As of the main job: to try this script in short.")] = None,
    languages: Annotated[str, typer.Option(help="Separated by commas.")] = "english,japanese",
    backbone: Annotated[str, typer.Option(help="Image tower of the baseline.")] = "efficientnet-lite0",
    catalog: Annotated[Path | None, typer.Option(help="Folder that keeps the catalogue from run to run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Draw the catalogue, measure the baseline and the product, print one JSON object, last."""
    options = ["--preset", preset, *([] if epochs is None else ["--epochs", str(epochs)])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = catalog or Path(temporary) / "catalog"
        queries = draw_foreign_catalog(folder, products=products, seed=seed, progress=not as_json)
        answer: dict[str, Any] = {"nearest_r1": nearest_r1(folder, queries, backbone=backbone, progress=not as_json)}
        for language in languages.split(","):
            workspace = Path(temporary) / language
            seconds = main_job(folder, workspace, language=language, options=options)
            hits = list(tagged(workspace, queries, progress=not as_json))
            answer |= {f"{language}_r1": 100 * float(np.mean(hits)) if hits else None, f"{language}_s": round(seconds)}
    answer |= {"products": len(queries), "preset": preset, "backbone": backbone, "peak_gib": peak_gib()}
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
