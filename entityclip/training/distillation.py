"""Distillation: a smaller image tower learns to see as a trained one does.

The student looks at the very views that the teacher has seen (Beyer et al., arXiv 2106.05237) and learns two things:
the teacher's vector of each, and how similar that is to other pictures (Park et al., arXiv 1904.05068). The teacher
looks at each view once. Text tower, tokenizer, experts and joint space are the teacher's own, so that texts keep their
vectors; a student is calibrated and evaluated like any other model.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from entityclip.architectures import settings
from entityclip.data.image_cache import open_pictures
from entityclip.data.preprocessing import Augmentation
from entityclip.errors import ConfigError, ImageError, TrainingError
from entityclip.model import checkpoint
from entityclip.model.backbones.choice import require_permitted
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.model.config import ModelConfig, TowerConfig
from entityclip.model.entityclip import EntityCLIP
from entityclip.model.pretrained import BACKBONES
from entityclip.paths import CheckpointLayout, DataLayout
from entityclip.storage import disk_full_error
from entityclip.training.config import TrainConfig, code_hash, first_weights, versions
from entityclip.training.devices import machine
from entityclip.training.distillation_config import Distillation
from entityclip.training.frozen_features import CHUNK, Views

log = logging.getLogger("entityclip.compression")

WARMUP = 50
"""Steps with a rising learning rate."""
OTHERS = 512
"""Pictures that a step's relations are to."""
DECAY = 1e-4
"""Weight decay of the student's image tower."""


class Seen(NamedTuple):
    """What the teacher saw: V views of N pictures."""

    squares: np.ndarray  # (N, V, 3, S, S) uint8, in the student's size
    vectors: np.ndarray  # (N, V, D) float32, unit rows


def distil(
    teacher: LoadedModel,
    data: DataLayout,
    *,
    config: Distillation,
    to: CheckpointLayout,
    data_hash: str,
    unlabelled: Sequence[Path] = (),
    progress: bool = True,
) -> CheckpointCard:
    """Teach a smaller image tower on pictures, and save the whole model. Its card is not calibrated.

    A killed run begins again: nothing but the finished student is kept.

    Args:
        teacher: A trained model.
        data: The data version; its training pictures are looked at.
        config: The student, and for how long it learns.
        to: Where the student's checkpoint goes; beside it, the views that the teacher sees take room for a while.
        data_hash: Hash of the data, for the card.
        unlabelled: Files of further pictures; one that cannot be read is left out and logged.
        progress: Show bars.

    Raises:
        ConfigError: The student cannot be built, or takes no pictures of that size.
        DataError: The data are incomplete, or hold no training picture.
        WorkspaceError: The views do not fit on the disk.
        TrainingError: The loss is not finite in the end.
    """
    started, seed = time.monotonic(), teacher.card.config.get("seed", 0)
    rng, size = np.random.default_rng(seed), config.size_of(teacher.card.preprocessing)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of weights that begin at random, and of dropout
        student = student_of(teacher, config)
        augmentation = Augmentation.model_validate(teacher.card.config.get("augmentation", {}))
        views = Views(config.views, teacher.card.preprocessing, augmentation)
        pictures = Pictures(data, unlabelled, views=views, most=config.pictures, rng=rng, progress=progress)
        to.root.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=to.root.parent) as file:
            with disk_full_error(f"{to.root.parent}: the disk is full; set fewer views or pictures"):
                seen = look(teacher, pictures, views=views, size=size, file=file, progress=progress)
            terms = learn(student, seen, config=config, scale=teacher.scale, rng=rng, progress=progress)
    terms |= {"pictures": len(seen.vectors), "distillation_s": time.monotonic() - started}
    own = TrainConfig(model=ModelConfig(towers=TowerConfig(image_weights=config.image_weights)))
    return checkpoint.save(
        to,
        student.model,
        first_weights=teacher.card.first_weights | first_weights(own) | {"teacher": teacher.card.weights_sha256},
        preprocessing=student.card.preprocessing,
        tokenisation=teacher.tokenizer.config,
        data_hash=data_hash,
        config=teacher.card.config | {"distillation": config.portable().model_dump(mode="json")},
        code_hash=code_hash(),
        epochs=teacher.card.epochs,
        metrics=teacher.card.metrics | terms,
        versions=versions(),
        machine=machine(torch.device(student.device)),
    )


def student_of(teacher: LoadedModel, config: Distillation) -> LoadedModel:
    """The student in front of its first step: the teacher with another image tower, or with smaller pictures.

    Raises:
        ConfigError: The student cannot be built, takes no pictures of that size, or its first weights are under a
            licence that is not accepted.
    """
    named, size = _towers(teacher.card.model.towers, config), config.size_of(teacher.card.preprocessing)
    if backbone := BACKBONES.get(config.image_weights or ""):
        require_permitted(backbone, config.accept_licences, setting="distillation.accept_licences")
    fresh = config.architecture is not None
    built = named.without_weights().model_copy(update={"text_folder": teacher.tokenizer.config.folder})
    first = built.model_copy(update={"image_weights": config.image_weights}) if fresh else built
    model = EntityCLIP(teacher.card.model.model_copy(update={"towers": first}))
    _require_size(model, size)
    kept = {k: v for k, v in teacher.model.state_dict().items() if not (fresh and k.startswith("visual."))}
    model.load_state_dict(kept, strict=not fresh)
    model.config = model.config.model_copy(update={"towers": named.portable()})  # says where the weights come from
    shown = teacher.card.preprocessing.model_copy(update={"size": size})
    card = teacher.card.model_copy(update={"model": model.config, "preprocessing": shown})
    return LoadedModel(model.to(teacher.device), card, teacher.tokenizer, teacher.device)


def _towers(teacher: TowerConfig, config: Distillation) -> TowerConfig:
    """The student's towers, with the names of the weights that they come from."""
    if config.architecture is None:
        if config.image_weights:
            raise ConfigError("distillation.image_weights: without an architecture, the student has the teacher's own")
        return teacher
    both = settings(teacher.architecture) | {"vision_cfg": settings(config.architecture)["vision_cfg"]}
    names = {"image_weights": config.image_weights, "text_weights": teacher.text_weights or teacher.pretrained}
    return teacher.model_copy(update={"architecture": both, "pretrained": None} | names)


@torch.inference_mode()
def _require_size(model: EntityCLIP, size: int) -> None:
    model.eval()
    try:
        model.image_tokens(torch.zeros(1, 3, size, size))
    except (ConfigError, RuntimeError) as error:  # too few pixels for a tower's last stage are found in it
        wanted = "larger ones" if model.picture_size is None else f"only {model.picture_size}"
        raise ConfigError(f"distillation.size {size}: the image tower takes {wanted} ({error})") from error


# ---------------------------------------------------------------- what the teacher sees
class Pictures:
    """Training pictures and further ones, drawn and in order, as squares that the smallest crop leaves large enough."""

    def __init__(
        self,
        data: DataLayout,
        unlabelled: Sequence[Path],
        *,
        views: Views,
        most: int,
        rng: np.random.Generator,
        progress: bool,
    ) -> None:
        side = views.augmentation.kept_side(views.preprocessing.size)
        self._preprocessing = views.preprocessing.model_copy(update={"size": side})
        self._known = open_pictures(
            data, split="train", preprocessing=self._preprocessing, cache=None, most_bytes=0, progress=progress
        )
        self._rows = self._drawn(len(self._known), most, rng)
        self._files = [unlabelled[row] for row in self._drawn(len(unlabelled), most, rng)]

    @staticmethod
    def _drawn(count: int, most: int, rng: np.random.Generator) -> np.ndarray:
        return np.sort(rng.choice(count, size=min(count, most), replace=False))

    def __len__(self) -> int:
        return len(self._rows) + len(self._files)

    def chunks(self) -> Iterator[torch.Tensor]:
        """(B, 3, S, S) uint8 each, B at most ``CHUNK``."""
        for start in range(0, len(self._rows), CHUNK):
            yield self._known.read(self._rows[start : start + CHUNK])
        for start in range(0, len(self._files), CHUNK):
            squares = [
                square for path in self._files[start : start + CHUNK] if (square := self._read(path)) is not None
            ]
            if squares:
                yield torch.from_numpy(np.stack(squares))

    def _read(self, path: Path) -> np.ndarray | None:
        try:
            return self._preprocessing.square_of(path.read_bytes())
        except (ImageError, OSError) as error:
            log.warning("%r is left out: %s", str(path), error)
            return None


@torch.inference_mode()
def look(
    teacher: LoadedModel, pictures: Pictures, *, views: Views, size: int, file: BinaryIO, progress: bool = True
) -> Seen:
    """Every view of the pictures in the student's size, and the teacher's vector of it.

    ``file`` has no name and holds the squares, so that a killed run leaves nothing.
    """
    vectors, count = [], 0
    bar = tqdm(total=len(pictures), desc="teacher", unit="picture", disable=not progress)
    for squares in pictures.chunks():
        rows = np.arange(count, count + len(squares))
        names = [str(row) for row in rows]
        shown = [views.varied(squares.to(teacher.device), names=names, view=view) for view in range(views.count)]
        vectors.append(np.stack([teacher.read_pictures(views.preprocessing.normalise(view)) for view in shown], axis=1))
        small = [F.interpolate(view, size=(size, size), mode="bicubic", antialias=True) for view in shown]
        file.write(torch.stack(small, dim=1).round().clamp(0, 255).byte().cpu().numpy().tobytes())
        count += len(squares)
        bar.update(len(squares))
    bar.close()
    file.flush()
    shape = (count, views.count, 3, size, size)
    return Seen(np.memmap(file, dtype=np.uint8, mode="r", shape=shape), np.concatenate(vectors))


# ---------------------------------------------------------------- what the student learns
def learn(
    student: LoadedModel,
    seen: Seen,
    *,
    config: Distillation,
    scale: float,
    rng: np.random.Generator,
    progress: bool = True,
) -> dict[str, float]:
    """Train the student's image tower for the config's minutes or steps; the last terms of the loss, and the steps.

    Args:
        student: Its image tower learns in place.
        seen: What the teacher saw.
        config: For how long, how fast, and the weight of the relations.
        scale: The teacher's factor of similarities.
        rng: Draws pictures and views.
        progress: Show a bar.

    Raises:
        TrainingError: The loss is not finite in the end.
    """
    tower, device = student.model.visual, student.device
    optimizer = torch.optim.AdamW(tower.parameters(), lr=config.learning_rate, weight_decay=DECAY)
    count, views = seen.vectors.shape[:2]
    started, seconds = time.monotonic(), 60 * config.minutes
    total, unit = (round(seconds), "s") if config.steps is None else (config.steps, "step")

    def progress_made(step: int) -> float:
        return (time.monotonic() - started) / seconds if config.steps is None else step / config.steps

    tower.train()
    bar, step, terms = tqdm(total=total, desc="student", unit=unit, disable=not progress), 0, {}
    while (done := progress_made(step)) < 1 or step == 0:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * done)) / 2
        rows, drawn = rng.integers(count, size=config.batch), rng.integers(views, size=config.batch)
        squares = torch.from_numpy(seen.squares[rows, drawn]).to(device)
        shown = student.card.preprocessing.normalise(squares).contiguous(memory_format=torch.channels_last)
        others = seen.vectors[rng.integers(count, size=OTHERS), 0]
        taught, anchors = (torch.from_numpy(part).to(device) for part in (seen.vectors[rows, drawn], others))
        terms = _terms(student.model.encode_image(shown), taught, anchors, scale=scale)
        optimizer.zero_grad()
        (terms["cosine"] + config.relation * terms["relation"]).backward()
        optimizer.step()
        step += 1
        bar.update(round(min(1, progress_made(step)) * total) - bar.n)
    bar.close()
    tower.eval()
    found = {name: float(value.detach()) for name, value in terms.items()}
    if not all(map(math.isfinite, found.values())):
        raise TrainingError(f"distillation: the loss is not finite after {step} steps; lower its learning_rate")
    return found | {"steps": step}


def _terms(
    vectors: torch.Tensor, taught: torch.Tensor, anchors: torch.Tensor, *, scale: float
) -> dict[str, torch.Tensor]:
    """(B, D) unit rows of the student and of the teacher, (A, D) of other pictures -> the two terms, scalars."""
    known, found = (F.log_softmax(scale * rows @ anchors.T, dim=1) for rows in (taught, vectors))
    return {
        "cosine": 1 - (vectors * taught).sum(dim=1).mean(),
        "relation": F.kl_div(found, known, log_target=True, reduction="batchmean"),
    }
