"""The packaged tower, frozen, finds products on real photographs by their nearest training pictures."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from entityclip.data.images import decode
from entityclip.model.backbones import BACKBONES, BackboneConfig, Task, at_hand, best_at_hand
from entityclip.model.towers import Towers

LITE = BACKBONES["efficientnet-lite0"]


def some(folder: Path, split: str, *, of_each: int) -> tuple[list[Path], np.ndarray]:
    """The first pictures of each product in a list of the data set, and the products' numbers."""
    taken: dict[int, list[Path]] = defaultdict(list)
    for line in (folder / f"{split}.txt").read_text().splitlines():
        name, product, _ = (part.strip() for part in line.split(","))
        if len(taken[int(product)]) < of_each:
            taken[int(product)].append(folder / name)
    pairs = [(path, product) for product, paths in taken.items() for path in paths]
    return [path for path, _ in pairs], np.array([product for _, product in pairs])


@pytest.mark.slow
def test_nearest_pictures_of_a_frozen_tower_are_far_above_chance(grocery_path: Path) -> None:
    if at_hand(LITE) is None:
        pytest.skip(f"needs the package {LITE.package}, as the extra 'backbones' installs it")
    chosen = best_at_hand(BackboneConfig(backbone=LITE.name), Task())
    towers, how = Towers(chosen.towers).eval(), chosen.preprocessing.model_copy(update={"size": 160})

    @torch.inference_mode()
    def features(paths: list[Path]) -> np.ndarray:
        squares = torch.from_numpy(np.stack([how.square(decode(path.read_bytes())) for path in paths]))
        rows = [towers.visual.trunk(how.normalise(chunk)) for chunk in squares.split(64)]
        return torch.nn.functional.normalize(torch.cat(rows), dim=1).numpy()

    train, products = some(grocery_path, "train", of_each=4)
    queries, truth = some(grocery_path, "val", of_each=2)
    found = products[(features(queries) @ features(train).T).argmax(1)]
    r1 = 100 * (found == truth).mean()
    print(f"R@1 {r1:.1f} of {len(truth)} pictures among {len(set(products))} products")
    assert r1 > 30  # chance is 1.2
