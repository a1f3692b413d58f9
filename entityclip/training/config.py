"""Everything that decides what a training run computes, and the name that this gives the run."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from entityclip.data.cache_key import Inputs
from entityclip.data.pairs import sources_hash
from entityclip.data.preprocessing import Augmentation, Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError, faults
from entityclip.model.backbones.choice import Choice
from entityclip.model.checkpoint_card import file_sha256
from entityclip.model.config import LossConfig, ModelConfig, TowerConfig
from entityclip.model.pretrained import BACKBONES, weights_path
from entityclip.schemas import Record
from entityclip.schemas.renamed import refuse_renamed
from entityclip.training.distillation_config import Distillation

RENAMED = {
    "rate": "learning_rate",
    "clip": "max_grad_norm",
    "chunk": "grad_cache_chunk",
    "average": "ema_decay",
}
"""Old name of a setting -> its name now. A file with an old name is refused with the new one."""


Share = Annotated[float, Field(ge=0, lt=1)]


class Adaptation(Record):
    """Which weights of the towers learn. Projections, temperature and experts always do."""

    towers: Literal["all", "last", "none", "lora"] = Field(
        default="all", description="Every weight; the last blocks; none (heads only); or low-rank updates (LoRA)."
    )
    blocks: int = Field(default=2, ge=1, description="For 'last': blocks of each tower that learn.")
    rank: int = Field(default=8, ge=1, description="For 'lora': rank of an update.")
    alpha: int = Field(default=16, ge=1, description="For 'lora': an update counts alpha / rank.")
    tower_rate: float = Field(
        default=1.0, gt=0, description="Learning rate of pretrained tower weights, as a share of 'learning_rate'."
    )
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="Rate of a block of a pretrained tower, as a share of that of the next."
    )
    text: Literal["same", "all"] = Field(
        default="same", description="Of the text tower: as 'towers' says, or every weight (image tower frozen: LiT)."
    )
    views: int = Field(
        default=0,
        ge=0,
        description="Views of each picture whose features are kept, where the first blocks of the image tower do not "
        "learn: the tower then reads features. 0: it reads pictures.",
    )
    probe_epochs: int = Field(
        default=0, ge=0, description="Of the epochs, so many come first in which the whole image tower is frozen."
    )
    probe_rate: float = Field(default=3e-3, gt=0, description="Highest learning rate in these first epochs.")
    whiten: bool = Field(
        default=False,
        description="A fresh projection of a pretrained image tower starts as the whitened principal components of "
        "the training pictures.",
    )
    projection_rate: float = Field(
        default=1.0, ge=0, description="Learning rate of that projection, as a share of that of other fresh weights."
    )
    interpolate: bool = Field(
        default=False,
        description="Keep the mean of the weights after the first epochs and of the last ones (WiSE-FT) that has the "
        "lowest validation loss.",
    )


class TrainConfig(Record):
    """Everything that decides what a training run computes."""

    model: ModelConfig = ModelConfig()
    backbone: str = Field(default="", description="Which backbone the towers start from and why, for people.")
    loss: LossConfig = LossConfig()
    preprocessing: Preprocessing = Preprocessing()
    tokenisation: Tokenisation = Tokenisation()
    augmentation: Augmentation = Augmentation()
    adaptation: Adaptation = Adaptation()
    epochs: int = Field(default=20, ge=1, description="With 'minutes': at most so many.")
    minutes: float | None = Field(
        default=None, gt=0, description="Budget of the training: epochs and views are the most that fit into it."
    )
    batch: int = Field(default=64, ge=2, description="Pairs in a step, over all processes together.")
    grad_cache_chunk: int = Field(
        default=0, ge=0, description="Rows that the towers hold at a time (cached gradients); 0 is the whole batch."
    )
    balance: float = Field(
        default=0.0, ge=0, le=1, description="How far rare entities are drawn more often: 0 not at all, 1 until equal."
    )
    siblings: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description="Share of the pairs that follow, in the same batch, a pair of a sibling: another entity of the "
        "category with similar texts. 0: batches are drawn at random.",
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Highest learning rate (AdamW).")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps with a rising rate.")
    decay: float = Field(default=0.05, ge=0, description="Weight decay of matrices.")
    betas: tuple[Share, Share] = Field(default=(0.9, 0.98), description="Decay of the optimizer's two moments.")
    epsilon: float = Field(default=1e-6, gt=0, description="Added to the root of the second moment.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Largest norm of the gradient.")
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="The running mean of the weights is kept in place of the last ones; a step leaves it this much of "
        "what it was. 0: no mean.",
    )
    small_until: float = Field(default=0.0, ge=0, le=1, description="Share of the epochs on smaller pictures.")
    small_size: int = Field(default=64, ge=8, description="Side of the smaller pictures, pixels.")
    keep: Literal["last", "best"] = Field(
        default="last", description="Weights of the last epoch, or of the one with the lowest validation loss."
    )
    distillation: Distillation | None = Field(
        default=None, description="After training, a smaller image tower learns from the model and takes its place."
    )
    mask_names: bool = Field(default=True, description="Mask an entity's names in the explanations trained on.")
    seed: int = Field(default=0, ge=0)
    precision: Literal["float32", "bf16"] = Field(default="float32", description="What the towers compute in.")
    compile: bool = Field(
        default=False,
        description="Compile the towers' blocks, and on a GPU replay each tower as CUDA graphs; pays in long runs.",
    )
    checkpoint_gradients: bool = Field(
        default=False, description="Compute activations twice instead of keeping them: less memory, a third slower."
    )
    shard: bool = Field(
        default=False, description="With several processes: spread weights, gradients and moments over them (FSDP)."
    )
    device: Literal["cpu", "cuda"] = "cpu"
    workers: int | None = Field(
        default=None,
        ge=0,
        description="Processes that prepare batches; the batches stay the same. By default none on a CPU, and for a "
        "GPU one for each further core, as far as their batches fit into half of /dev/shm.",
    )
    cache_gigabytes: int = Field(
        default=8, ge=0, description="Training pictures are decoded once if they fit into this; else streamed."
    )
    save_seconds: float = Field(default=20, ge=0, description="A killed run loses at most about this many seconds.")

    @property
    def kept_side(self) -> int:
        """Side at which training pictures are kept, pixels: the smallest crop holds as many as the tower looks at."""
        return self.augmentation.kept_side(self.preprocessing.size)

    def changed(self, **settings: Any) -> TrainConfig:
        """The same with these settings instead; one that is None stays as it is.

        Raises:
            ConfigError: An unknown setting, or an impossible value; names each one.
        """
        wanted = {name: value for name, value in settings.items() if value is not None}
        try:
            return TrainConfig.model_validate(self.model_dump() | wanted)
        except ValidationError as error:
            changed = ", ".join(f"{name} {value!r}" for name, value in wanted.items())
            raise ConfigError(f"settings {changed}: {faults(error)}") from error

    def starting_from(self, pretrained: str | None) -> TrainConfig:
        """The same with other first weights: an open_clip tag, a file or folder; None starts from scratch."""
        towers = self.model.towers.without_weights().model_copy(update={"pretrained": pretrained})
        return self.with_towers(towers).model_copy(update={"backbone": ""})

    def with_towers(self, towers: TowerConfig) -> TrainConfig:
        """The same with other towers."""
        return self.model_copy(update={"model": self.model.model_copy(update={"towers": towers})})

    def with_backbone(self, chosen: Choice) -> TrainConfig:
        """The same from a backbone, with the pictures and texts that it takes.

        How pictures are made square stays as it is, unless both towers are pretrained together.
        """
        together = chosen.towers.pretrained is not None
        resize = chosen.preprocessing.resize if together else self.preprocessing.resize
        return self.with_towers(chosen.towers).model_copy(
            update={
                "backbone": chosen.message,
                "preprocessing": chosen.preprocessing.model_copy(update={"resize": resize}),
                "tokenisation": chosen.tokenisation or self.tokenisation,
            }
        )

    def portable(self) -> TrainConfig:
        """The same without a path of this machine, as the card and the name of the run hold it."""
        student = None if self.distillation is None else self.distillation.portable()
        return self.with_towers(self.model.towers.portable()).model_copy(
            update={"tokenisation": self.tokenisation.portable(), "distillation": student}
        )


def read_config(path: Path) -> TrainConfig:
    """The settings in a JSON or YAML file, as ``entityclip train --dry-run`` prints them; what it leaves out has the
    default.

    Raises:
        ConfigError: Not YAML, a renamed or unknown setting, or an impossible value; names each one.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        refuse_renamed(settings, RENAMED, where=path)
        return TrainConfig.model_validate(settings)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON or YAML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {faults(error)}") from error


TIMES = ("wait_s", "step_s")
"""Mean seconds that a step waited for its batch, and computed."""

HOW = {"workers", "save_seconds", "backbone"}
"""Fields that change how fast a run is or what it reports, and nothing of what it computes."""


def code_hash() -> str:
    """Hash of this package's sources: a run made by other code is another run."""
    return sources_hash(Path(__file__).parents[1])


def run_inputs(config: TrainConfig, *, data_hash: str) -> Inputs:
    """Everything that decides what the run of this config on these data computes, each setting and file by itself."""
    settings = config.portable().model_dump(mode="json", exclude=HOW)
    return Inputs(
        parts={"the data": data_hash, "the code of entityclip": code_hash()}
        | {f"the library {name}": version for name, version in versions().items()}
        | {f"the setting {name}": json.dumps(value, sort_keys=True) for name, value in settings.items()}
        | {f"the file {name}": file_sha256(path) for name, path in _local_files(config)}
    )


def first_weights(config: TrainConfig) -> dict[str, str]:
    """Setting and file of the weights that the towers start from -> SHA-256; empty from scratch."""
    settings = tuple(f"{name} " for name in config.model.towers.first_weights)
    return {name: file_sha256(path) for name, path in _local_files(config) if name.startswith(settings)}


def run_key(config: TrainConfig, *, data_hash: str) -> str:
    """Name of the run that this config on these data makes; the same inputs find the same run again."""
    return run_inputs(config, data_hash=data_hash).key


def _local_files(config: TrainConfig) -> Iterator[tuple[str, Path]]:
    """What the config names by path, or as a backbone: other content is another run, another place is not."""
    towers = config.model.towers
    others = {"text_folder": towers.text_folder, "tokenisation.folder": config.tokenisation.folder}
    if config.distillation is not None:
        others["distillation.image_weights"] = config.distillation.image_weights
    for setting, named in (towers.first_weights | others).items():
        path = weights_path(named) if named in BACKBONES else Path(named or "")
        if named and path.exists():
            files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
            yield from ((f"{setting} {file.relative_to(path) if path.is_dir() else file.name}", file) for file in files)


def versions() -> dict[str, str]:
    """The libraries that compute."""
    return {name: importlib.metadata.version(name) for name in ("torch", "open_clip_torch", "tokenizers", "numpy")}
