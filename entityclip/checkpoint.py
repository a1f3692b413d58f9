"""Checkpoints: weights as safetensors plus the card that rebuilds the model; the card is written last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from entityclip.images import Preprocessing
from entityclip.records import Record
from entityclip.text import Tokenisation, Tokenizer


class CheckpointCard(Record):
    """Everything beside the weights that is needed to use them."""

    fingerprint: str = Field(description="Hash of weights, architecture, preprocessing and tokenisation.")
    architecture: dict[str, Any] = Field(description="TowerConfig and MMAE settings that rebuild the model.")
    preprocessing: Preprocessing
    tokenisation: Tokenisation
    data_hash: str
    config: dict[str, Any] = Field(description="The training config as it ran.")
    code_hash: str
    epoch: float
    metrics: dict[str, float]
    thresholds: dict[str, float] = Field(default={}, description="Target precision -> least similarity for a tag.")
    mix: dict[str, float] = Field(default={}, description="Slice -> weight of the explanation in the mixed index.")
    versions: dict[str, str] = Field(default={}, description="Library -> version at training time.")


@dataclass(frozen=True)
class LoadedModel:
    """A model with the preprocessing and tokenizer that it was trained with."""

    model: Any
    card: CheckpointCard
    tokenizer: Tokenizer
    root: Path
