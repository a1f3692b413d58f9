"""Towers on ONNX Runtime: a checkpoint whose pictures and texts go through exported towers in place of PyTorch's.

Everything else is the checkpoint's own: preprocessing, tokenizer, fingerprint, and the matching head of re-ranking,
which needs every token and stays with PyTorch.
"""

from __future__ import annotations

import hashlib
import logging
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError

from entityclip.errors import CheckpointError, ConfigError, faults
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import ExportedLayout
from entityclip.schemas import ExportedRuntime, Record, Runtime, RuntimeDecision, Split

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Method = Literal["static", "dynamic"]
log = logging.getLogger("entityclip.compression")

TOWERS = {"image": "pictures", "text": "ids"}
"""Tower -> the name of its one input; what comes out is called ``vectors``."""

X86_64 = ("vnni", "avx512", "avx2", "x86-64")
"""What ``instruction_set`` distinguishes among processors of this architecture."""


class Parity(Record):
    """How near an exported tower comes to PyTorch's."""

    largest: float = Field(description="Largest difference of any coordinate of a unit vector.")
    cosine: float = Field(description="Least cosine of the two vectors of one picture or text.")
    rows: int = Field(description="Pictures or texts compared.")


class Student(Record):
    """The smaller image tower of the runtime ``distilled``."""

    size: int = Field(description="Side of its pictures, pixels.")
    settings: dict[str, Any] = Field(description="How it learned.")
    metrics: dict[str, float] = Field(description="Pictures and steps of its training, and the last loss.")


class ExportCard(Record):
    """What was exported from which checkpoint, and what it is worth."""

    fingerprint: str = Field(description="Of the checkpoint.")
    files: dict[str, str] = Field(description="File beside the card -> SHA-256.")
    methods: dict[str, Method] = Field(description="Tower -> how it became int8.")
    calibrated_on: int = Field(description="Training pictures that set the ranges of static int8.")
    student: Student | None = Field(default=None, description="The image tower of the runtime distilled.")
    parity: dict[str, dict[str, Parity]] = Field(description="Runtime -> tower -> distance from PyTorch.")
    split: Split = Field(description="Split whose pictures are the queries of the recall.")
    recall: dict[str, dict[str, float]] = Field(
        description="What answers -> slice, or 'all' -> R@1 in percent, picture to entity, mixed index. The index is "
        "PyTorch's; that of '..., its own texts' has texts of the runtime, and that of '..., its own index' "
        "was made by the runtime throughout."
    )
    decisions: dict[ExportedRuntime, RuntimeDecision] = Field(
        default={},
        description="Runtime -> whether it ships; only those that do have files. Measured on the processor named "
        "below. Empty in cards of older versions.",
    )
    measured_on: str = Field(default="", description="Instruction set of the processor that measured all of this.")
    int8_proven: tuple[str, ...] = Field(
        default=(),
        description="Instruction sets whose int8 sums are exact: int8 runs on these processors and no others.",
    )
    versions: dict[str, str] = Field(description="Library -> version at the time of the export.")


@dataclass(frozen=True)
class ExportedModel(LoadedModel):
    """A model whose towers run on ONNX Runtime, on the CPU."""

    image: InferenceSession
    text: InferenceSession
    runtime: ExportedRuntime

    def read_ids(self, ids: torch.Tensor) -> np.ndarray:
        """(B, L) token ids -> (B, D) float32, unit rows."""
        return self.text.run(None, {TOWERS["text"]: ids.numpy()})[0]

    def read_pictures(self, pictures: torch.Tensor) -> np.ndarray:
        """(B, 3, S, S) normalised pictures -> (B, D) float32, unit rows."""
        return self.image.run(None, {TOWERS["image"]: pictures.cpu().numpy()})[0]


def on(runtime: Runtime, model: LoadedModel, layout: ExportedLayout) -> LoadedModel:
    """``model`` with its towers on ``runtime``; for 'torch' that is ``model`` itself, and nothing is read.

    The sessions take as many threads as PyTorch has at this moment.

    Raises:
        CheckpointError: Nothing was exported, from another checkpoint, or a file is not the one that was.
        ConfigError: ONNX Runtime is not installed, the runtime did not ship with the release, or int8 is not proven for
            this processor.
    """
    if runtime == "torch":
        return model
    card = read_card(layout)
    if card.fingerprint != model.card.fingerprint:
        raise CheckpointError(
            f"{layout.card}: exported from model {card.fingerprint}, but the weights are model "
            f"{model.card.fingerprint}; export them again: entityclip export"
        )
    _require_shipped(runtime, card, layout)
    if runtime == "onnx-int8":
        _require_proven(card, layout)
    return opened(runtime, model, layout, card)


def opened(runtime: ExportedRuntime, model: LoadedModel, layout: ExportedLayout, card: ExportCard) -> ExportedModel:
    """``model`` on exported towers, whether they ship or not; see ``on``.

    Raises:
        CheckpointError: A file is not the one that ``card`` names.
        ConfigError: ONNX Runtime is not installed.
    """
    image, text = (session(_verified(layout.tower(tower, runtime=runtime), card)) for tower in TOWERS)
    known = model.card
    if runtime == "distilled" and card.student is not None:
        shown = known.preprocessing.model_copy(update={"size": card.student.size})
        known = known.model_copy(update={"preprocessing": shown})
    return ExportedModel(model.model, known, model.tokenizer, model.device, image=image, text=text, runtime=runtime)


def _require_shipped(runtime: ExportedRuntime, card: ExportCard, layout: ExportedLayout) -> None:
    decision = card.decisions.get(runtime)
    if decision is not None and decision.ships:
        return
    if not card.decisions:
        raise ConfigError(
            f"{layout.card}: from an older version, which did not decide what ships; use the runtime torch, or export "
            "again: entityclip export, or release again"
        )
    others = " or ".join(["torch", *(name for name, found in card.decisions.items() if found.ships)])
    if decision is None:
        raise ConfigError(
            f"{layout.card}: not exported for {runtime}; use the runtime {others}, or add it to compression.runtimes "
            "and release again"
        )
    raise ConfigError(
        f"{layout.card}: {runtime} does not ship with this release: {'; '.join(decision.reasons)}. Use the runtime "
        f"{others}"
    )


def instruction_set() -> str:
    """The best instructions of this processor for products of int8: one of ``X86_64``, or another architecture's name
    in lower case, such as 'aarch64'.
    """
    can = torch.cpu.get_capabilities()
    if any(can.get(name) for name in ("avx512_vnni", "avx_vnni")):
        return "vnni"
    if can.get("avx512_bw"):
        return "avx512"
    if can.get("avx2"):
        return "avx2"
    return {"x86_64": "x86-64", "amd64": "x86-64"}.get(machine := platform.machine().lower(), machine)


def _require_proven(card: ExportCard, layout: ExportedLayout) -> None:
    if (here := instruction_set()) not in card.int8_proven:
        proven = ", ".join(card.int8_proven) or "no processor, since its export is from an older version"
        raise ConfigError(
            f"{layout.card}: int8 is proven for {proven}; this processor has {here}, where int8 sums may saturate and "
            "recall drop without a sign; use the runtime onnx, or export on a processor of this kind: entityclip export"
        )
    if here != card.measured_on:
        log.warning("int8 was measured with %s; this processor has %s, with the same sums", card.measured_on, here)


def decisions(layout: ExportedLayout) -> dict[ExportedRuntime, RuntimeDecision]:
    """What was decided about each exported runtime; empty where nothing was exported.

    Raises:
        CheckpointError: The card is damaged.
    """
    return read_card(layout).decisions if layout.card.exists() else {}


def read_card(layout: ExportedLayout) -> ExportCard:
    """The card of an export.

    Raises:
        CheckpointError: There is none, or it is not one of ours.
    """
    try:
        return ExportCard.model_validate_json(layout.card.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{layout.root}: no {layout.card.name}, so no towers were exported; run: entityclip export"
        ) from error
    except ValidationError as error:
        raise CheckpointError(f"{layout.card}: not the card of an export: {faults(error)}") from None


def session(tower: bytes) -> InferenceSession:
    """A tower, ready to run on the CPU with PyTorch's number of threads.

    Raises:
        ConfigError: ONNX Runtime is not installed.
    """
    runtime = imported()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    # Threads that wait for work would otherwise take the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(tower, options, providers=["CPUExecutionProvider"])


def imported() -> Any:
    """The module ``onnxruntime``, its telemetry off.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"ONNX Runtime is not installed ({error}); run: pip install 'entityclip[onnx]'") from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _verified(path: Path, card: ExportCard) -> bytes:
    """The file's bytes, if they are those that the card names."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); run: entityclip export") from error
    if hashlib.sha256(content).hexdigest() != card.files.get(path.name):
        raise CheckpointError(f"{path}: not the file that the card beside it names; export again: entityclip export")
    return content
