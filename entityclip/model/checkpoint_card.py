"""The card of a checkpoint says what the weights beside it are; reading and checking it loads no torch."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from entityclip.data.pairs import digest
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import CheckpointError
from entityclip.model.config import ModelConfig
from entityclip.paths import CheckpointLayout
from entityclip.schemas import Mixture, MixtureGroup, OpenSetRule, Record


class CheckpointCard(Record):
    """Everything beside the weights that is needed to use them."""

    fingerprint: str = Field(description="Hash of weights, architecture, preprocessing and tokenisation.")
    weights_sha256: str
    text_sha256: dict[str, str] = Field(
        default={}, description="Files of a Hugging Face text tower and tokenizer beside the weights -> SHA-256."
    )
    first_weights: dict[str, str] = Field(
        default={}, description="Setting and file of the weights that training started from -> SHA-256."
    )
    model: ModelConfig
    preprocessing: Preprocessing
    tokenisation: Tokenisation
    data_hash: str
    config: dict[str, Any] = Field(description="The training config as it ran.")
    code_hash: str
    epochs: float
    metrics: dict[str, float]
    thresholds: dict[str, float] = Field(default={}, description="Target precision -> least confidence of a tag.")
    open_set: OpenSetRule | None = Field(
        default=None,
        description="Which tags are accepted although the picture may show nothing that is in the catalogue, for each "
        "target precision and false-accept rate; null: not calibrated, the thresholds alone decide.",
    )
    mixture: dict[MixtureGroup, Mixture] = Field(
        default={}, description="Group of entities -> its weights in the mixed index; empty: not calibrated."
    )
    rerank: float = Field(default=0.0, ge=0, description="Weight of the matching head in re-ranking; 0: no help.")
    versions: dict[str, str] = Field(default={}, description="Library -> version at training time.")
    machine: dict[str, str] = Field(
        default={}, description="System, processor, cores, device and Python of the training; empty: not recorded."
    )

    @property
    def parts(self) -> dict[str, str]:
        """Hashes of what the fingerprint is made of: they tell which of it differs from another model's."""
        return {
            "weights": self.weights_sha256[:16],
            "architecture": digest(self.model.model_dump_json()),
            "preprocessing": digest(self.preprocessing.model_dump_json()),
            "tokenizer": digest(self.tokenisation.model_dump_json(), *self.text_sha256.values()),
        }


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_files(layout: CheckpointLayout) -> dict[str, str]:
    """Files beside the weights that read texts -> SHA-256."""
    return {path.name: file_sha256(path) for path in sorted(layout.text.glob("*"))}


def read_card(layout: CheckpointLayout) -> CheckpointCard:
    """The card alone.

    Raises:
        CheckpointError: There is none, or it is not one of ours.
    """
    try:
        return CheckpointCard.model_validate_json(layout.card.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{layout.root}: no card.json, so the checkpoint is missing or half-written") from error
    except ValidationError as error:
        raise CheckpointError(f"{layout.card}: not a checkpoint card of this version: {error}") from error


def verify(layout: CheckpointLayout) -> CheckpointCard:
    """The card, after weights and files beside them were hashed and found to be the ones it was written for.

    Raises:
        CheckpointError: They are not, or one of both is missing.
    """
    card = read_card(layout)
    if not layout.weights.is_file() or file_sha256(layout.weights) != card.weights_sha256:
        raise CheckpointError(f"{layout.weights}: missing, or not the weights that {layout.card.name} describes")
    if text_files(layout) != card.text_sha256:
        raise CheckpointError(f"{layout.text}: not the files of text tower and tokenizer that {layout.card.name} names")
    return card


def copy_checkpoint(source: CheckpointLayout, target: CheckpointLayout) -> None:
    """Copy a checkpoint into a folder that may hold other things; the card is copied last."""
    target.root.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source.weights, target.weights)
    if source.text.is_dir():
        shutil.copytree(source.text, target.text, dirs_exist_ok=True)
    shutil.copyfile(source.card, target.card)
