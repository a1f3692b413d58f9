"""Checkpoints: weights as safetensors plus the card that rebuilds the model; the card is written last."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from entityclip.data.pairs import digest
from entityclip.data.text import Tokenisation, Tokenizer
from entityclip.errors import CheckpointError
from entityclip.model.checkpoint_card import CheckpointCard, file_sha256, text_files, verify
from entityclip.model.entityclip import EntityCLIP
from entityclip.paths import CheckpointLayout
from entityclip.storage import atomic_path


@dataclass(frozen=True)
class LoadedModel:
    """A model with the preprocessing and tokenizer that it was trained with."""

    model: EntityCLIP
    card: CheckpointCard
    tokenizer: Tokenizer
    device: str
    place: CheckpointLayout | None = field(default=None, kw_only=True)
    """Where it was loaded from; only a model that came from a checkpoint can be sent to another process."""
    vectors: Path | None = field(default=None, kw_only=True)
    """Folder in which an index keeps the vectors of pictures; None: they are computed each time. Not sent along."""

    def __reduce__(self) -> tuple[Any, tuple[CheckpointLayout, str, CheckpointCard]]:
        if type(self) is not LoadedModel or self.place is None:
            raise TypeError(f"this {type(self).__name__} stays in its process; send what `load` gives")
        return _received, (self.place, self.device, self.card)  # another process loads the weights itself, once

    @property
    def dim(self) -> int:
        """Width D of the joint space."""
        return self.model.dim

    @property
    def scale(self) -> float:
        """What the softmax of training multiplies similarities by: one over the learned temperature."""
        return min(float(self.model.logit_scale.detach().exp()), 100.0)

    def embed_texts(self, texts: Sequence[str], *, batch: int = 256) -> np.ndarray:
        """(N,) texts -> (N, D) float32, unit rows; of a text longer than the context, the mean over its pieces."""
        parts = [self.tokenizer.pieces(text) for text in texts]
        pieces = [piece for part in parts for piece in part]
        rows = [self.read_ids(self.tokenizer(pieces[i : i + batch])) for i in range(0, len(pieces), batch)]
        vectors = np.concatenate(rows) if rows else np.zeros((0, self.dim), dtype=np.float32)
        return vectors if len(pieces) == len(parts) else _means(vectors, [len(part) for part in parts])

    def embed_images(self, images: Iterable[Image.Image], *, batch: int = 64) -> np.ndarray:
        """N pictures -> (N, D) float32, unit rows. Only one picture is held in full at a time."""
        # Squared before they are gathered: 64 photos of 12 megapixels would take 2.3 GB.
        return self.embed_squares(map(self.card.preprocessing.square, images), batch=batch)

    def embed_squares(self, squares: Iterable[np.ndarray], *, batch: int = 64) -> np.ndarray:
        """N squares (3, S, S) uint8, as the preprocessing cuts them -> (N, D) float32, unit rows."""
        preprocessing = self.card.preprocessing
        chunks = _chunks(iter(squares), batch)
        rows = [self.read_pictures(preprocessing.normalise(chunk.to(self.device))) for chunk in chunks]
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), dtype=np.float32)

    # ------------------------------------------------------------ the towers
    @torch.inference_mode()
    def read_ids(self, ids: torch.Tensor) -> np.ndarray:
        """(B, L) token ids -> (B, D) float32, unit rows."""
        return self.model.encode_text(ids.to(self.device)).float().cpu().numpy()

    @torch.inference_mode()
    def read_pictures(self, pictures: torch.Tensor) -> np.ndarray:
        """(B, 3, S, S) normalised pictures -> (B, D) float32, unit rows."""
        return self.model.encode_image(pictures.to(self.device)).float().cpu().numpy()


def _means(vectors: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """(P, D) unit rows of N texts' pieces, of each so many -> (N, D) unit rows."""
    sums = np.add.reduceat(vectors, np.concatenate([[0], np.cumsum(counts)[:-1]]))
    return sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(min=np.finfo(np.float32).tiny)


def _chunks(squares: Iterator[np.ndarray], size: int) -> Iterator[torch.Tensor]:
    while chunk := list(islice(squares, size)):
        yield torch.from_numpy(np.stack(chunk))


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], *, metadata: dict[str, str] | None = None) -> None:
    """Write safetensors under a temporary name, flush to disk, rename: never half a file under ``path``."""
    with atomic_path(path) as temporary:
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary, metadata=metadata)


def save(
    layout: CheckpointLayout, model: EntityCLIP, *, weights: Mapping[str, torch.Tensor] | None = None, **card: Any
) -> CheckpointCard:
    """Save a model, or ``weights`` in its place where several processes hold parts of them.

    ``card`` are the card's fields but for the hashes, which are computed here.
    """
    layout.card.unlink(missing_ok=True)
    save_tensors(layout.weights, model.state_dict() if weights is None else weights)
    sha = file_sha256(layout.weights)
    texts = _keep_text_files(layout, model, card["tokenisation"])
    portable = {
        "model": model.config.model_copy(update={"towers": model.config.towers.portable()}),
        "preprocessing": card["preprocessing"],
        "tokenisation": card["tokenisation"].portable(),
    }
    fingerprint = digest(sha, *(part.model_dump_json() for part in portable.values()), *texts.values())
    hashes = {"fingerprint": fingerprint, "weights_sha256": sha, "text_sha256": texts}
    made = CheckpointCard(**(card | portable | hashes))
    made.write(layout.card)
    return made


def _keep_text_files(layout: CheckpointLayout, model: EntityCLIP, tokenisation: Tokenisation) -> dict[str, str]:
    """Put what reads texts beside the weights, so that the folder is enough anywhere; file -> SHA-256."""
    shutil.rmtree(layout.text, ignore_errors=True)
    model.save_text_config(layout.text)
    tokenisation.load().save(layout.text)
    return text_files(layout)


def load(layout: CheckpointLayout, *, device: str = "cpu") -> LoadedModel:
    """The model with everything needed to use it, in evaluation mode.

    Raises:
        CheckpointError: The card is missing, or the weights are not the ones it was written for.
    """
    card = verify(layout)
    texts = str(layout.text) if card.text_sha256 else None
    towers = card.model.towers.without_weights().model_copy(update={"text_folder": texts})
    model = EntityCLIP(card.model.model_copy(update={"towers": towers}))
    try:
        model.load_state_dict(load_file(layout.weights), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{layout.weights}: does not fit the architecture on the card: {error}") from error
    tokenizer = card.tokenisation.model_copy(update={"folder": texts}).load()
    return LoadedModel(model.to(device).eval(), card, tokenizer, device, place=layout)


def _received(place: CheckpointLayout, device: str, card: CheckpointCard) -> LoadedModel:
    """A model that another process sent. Mix and thresholds are as they were there.

    Raises:
        CheckpointError: The folder is not there, or holds another model.
    """
    model = _loaded_once(place, device, card.fingerprint)
    if model.card.fingerprint != card.fingerprint:
        raise CheckpointError(f"{place.root}: holds model {model.card.fingerprint}, wanted {card.fingerprint}")
    return replace(model, card=card)


@lru_cache(maxsize=1)
def _loaded_once(place: CheckpointLayout, device: str, fingerprint: str) -> LoadedModel:  # noqa: ARG001 (part of the key)
    return load(place, device=device)
