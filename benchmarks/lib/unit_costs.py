"""Cost of each step of the main job per picture, measured on a sample: core seconds and bytes.

``million.py`` extrapolates them.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from index import World
from step import Place, cost, distinct_batch, forms

import expectations.check as gate
from entityclip.data import pairs
from entityclip.data.image_cache import open_pictures
from entityclip.data.ingest import ingest
from entityclip.data.sources.base import EntityRow, PictureRow, Source
from entityclip.explanations import SourceWriter, explain
from entityclip.explanations.config import OpenAIConfig
from entityclip.explanations.factory import open_writer
from entityclip.explanations.stage import Estimate, estimate
from entityclip.model import checkpoint
from entityclip.model.compatibility import expected_tokenisation
from entityclip.model.entityclip import EntityCLIP
from entityclip.paths import CheckpointLayout, Layout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.index.approximate import Approximate
from entityclip.schemas import Rejection
from entityclip.training.presets import Preset
from flows.workspace.create import open_workspace
from flows.workspace.versions import version_data

STEP_ROUNDS = 5
NOBODY = "http://127.0.0.1:9/v1"
"""Address of no server: prompts are only counted, never sent."""


@dataclass(frozen=True)
class Some:
    """A source with ``most`` of its pictures, spread over all of it."""

    whole: Source
    most: int

    @property
    def name(self) -> str:
        """As the whole source's."""
        return self.whole.name

    @property
    def language(self) -> str:
        """As the whole source's."""
        return self.whole.language

    def fingerprint(self) -> str:
        """Of the whole source and the number."""
        return pairs.digest(self.whole.fingerprint(), str(self.most))

    def __len__(self) -> int:
        return min(self.most, len(self.whole))

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """All of them."""
        return self.whole.entities()

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Every n-th, so that they are spread over the whole."""
        return islice(self.whole.pictures(), 0, None, max(1, len(self.whole) // self.most))


class Done(NamedTuple):
    """Costs of the steps for one number of pictures."""

    pictures: int
    entities: int
    core_seconds: dict[str, float]
    bytes_of: dict[str, int]
    predicted: Estimate


def core_seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, children included."""
    before = _spent()
    work()
    return _spent() - before


def _spent() -> float:
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in each)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


# ---------------------------------------------------------------- the steps in small
def untrained(settings: Preset, to: Path) -> checkpoint.LoadedModel:
    """A checkpoint of the preset's towers with random weights, which cost as much as trained ones."""
    train = settings.train
    towers = train.model.towers.without_weights()
    card: dict[str, Any] = {"data_hash": "", "config": {}, "code_hash": "", "epochs": 0, "metrics": {}}
    tokenisation = expected_tokenisation(towers) if train.tokenisation.learned else train.tokenisation
    how = {"preprocessing": train.preprocessing, "tokenisation": tokenisation}
    checkpoint.save(CheckpointLayout(to), EntityCLIP(train.model.model_copy(update={"towers": towers})), **(card | how))
    return checkpoint.load(CheckpointLayout(to))


def done(source: Source, settings: Preset, model: checkpoint.LoadedModel, *, root: Path) -> Done:
    """Run every step from the source to the indexes except training."""
    layout, reports = open_workspace(root), []
    squares = {"split": "train", "preprocessing": settings.train.preprocessing, "cache": layout.decoded}
    aside, rules = layout.quarantine("b"), layout.expectations
    steps: dict[str, Callable[[], object]] = {
        "ingest": lambda: reports.append(
            ingest(source, staging=layout.staging, rejected=layout.rejected("b"), progress=False)
        ),
        "explain (source texts)": lambda: explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger),
        "gate": lambda: gate.check(layout.staging, accepted=layout.accepted, quarantine=aside, context_root=rules),
        "version and push": lambda: version_data(layout, layout.accepted, message="In small"),
        "decode for training": lambda: open_pictures(layout.data, most_bytes=2**40, progress=False, **squares),  # type: ignore[arg-type]
        "embed pictures": lambda: PictureIndex.build(model, layout.data),
        "embed texts": lambda: EntityIndex.build(model, layout.data),
    }
    spent = {name: core_seconds(step) for name, step in steps.items()}
    writer = open_writer(OpenAIConfig(model="planned", base_url=NOBODY), ledger=layout.ledger)
    predicted = estimate(layout.staging, writer=writer, ledger=layout.ledger)
    return Done(reports[0].pairs, reports[0].entities, spent, _sizes(layout), predicted)


def _sizes(layout: Layout) -> dict[str, int]:
    places = {
        "staging": layout.staging.root,
        "accepted": layout.accepted.root,
        "data/": layout.data.root,
        "DVC's cache": layout.dvc_folder / "cache",
        "remote": layout.remote,
        "decoded": layout.decoded.root,
        "ledger": layout.ledger,
    }
    return {name: size(path) for name, path in places.items()}


def index_seconds(rows: int, *, dim: int) -> float:
    """Core seconds to build the approximate index over this many vectors."""
    world = World(max(1, rows // 8), dim=dim)
    vectors = world.pictures(np.arange(rows) % len(world.centres))
    queries = world.texts(np.arange(min(1000, len(world.centres))))
    return core_seconds(lambda: Approximate.build(vectors, queries=queries))


def step_seconds(settings: Preset, place: Place, *, batch: int) -> float:
    """Forward and backward of the whole loss, for one pair: on a GPU its seconds, else core seconds."""
    train = settings.train
    towers = train.model.towers.without_weights()
    network = EntityCLIP(train.model.model_copy(update={"towers": towers})).to(place.device).train()
    side, length = train.preprocessing.size, train.tokenisation.context
    full = distinct_batch(network, size=batch, device=place.device)
    cut = {name: getattr(full, name)[:, -length:] for name in ("captions", "explanations")}
    ours = forms(network, full._replace(pictures=full.pictures[..., :side, :side], **cut))["ours"]
    cost(ours, place, idle=0)  # warm
    if place.device == "cuda":
        return sum(cost(ours, place, idle=0).seconds for _ in range(STEP_ROUNDS)) / STEP_ROUNDS / batch
    return core_seconds(lambda: [cost(ours, place, idle=0) for _ in range(STEP_ROUNDS)]) / STEP_ROUNDS / batch
