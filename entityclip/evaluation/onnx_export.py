"""Exports both towers of a checkpoint to ONNX, in fp32 and in int8, and measures what that costs in recall.

Convolutions become int8 with ranges that training pictures show (static, per channel). Transformers become int8 with
ranges computed from each input (dynamic): the few large values in their activations would spoil a fixed range.

Weights have seven bits: without VNNI, a processor adds two products of an unsigned and a signed byte in 16 bits, and
with eight bits these sums saturate (``MAX_WEIGHT``).
"""

from __future__ import annotations

import importlib.metadata
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.errors import ConfigError, DataError
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import file_sha256
from entityclip.model.entityclip import EntityCLIP
from entityclip.model.onnx_runtime import TOWERS, X86_64, ExportCard, Method, Parity, imported, instruction_set, on
from entityclip.paths import DataLayout, ExportedLayout
from entityclip.retrieval import metrics
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import SLICES, Runtime, Split

if TYPE_CHECKING:
    from onnx import ModelProto

CALIBRATION = 256
"""Training pictures that set the ranges of static int8."""

COMPARED = 64
"""Pictures and texts on which the exported towers are compared with PyTorch's."""

MAX_WEIGHT = 64
"""Largest magnitude of int8: 2 * 255 * 64 = 32,640 is within 16 bits, the narrowest sum of two products on x86-64."""

RUNTIMES: tuple[Runtime, ...] = ("torch", "onnx", "onnx-int8")
EXPORTED: tuple[Runtime, ...] = ("onnx", "onnx-int8")
LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript")


def export(
    model: LoadedModel, data: DataLayout, *, to: ExportedLayout, split: Split = "test", progress: bool = False
) -> ExportCard:
    """Write both towers of ``model`` in fp32 and int8, measure them, and write the card last.

    Args:
        model: On the CPU.
        data: Its training pictures set the ranges of int8, its ``split`` measures the recall.
        to: Where the files go; an earlier export is replaced.
        split: Whose pictures ask.
        progress: Show bars.

    Raises:
        ConfigError: The extra ``onnx`` is not installed, or a tower cannot be exported.
        DataError: The data are incomplete, or have no pictures to calibrate or to measure with.
    """
    imported()
    pairs.require_complete(data)
    squares = _squares(model, data)
    to.root.mkdir(parents=True, exist_ok=True)
    to.card.unlink(missing_ok=True)
    methods: dict[str, Method] = {}
    for tower in TOWERS:
        proto = _traced(model, tower)
        methods[tower] = _method(proto)
        fp32, int8 = (to.tower(tower, runtime=runtime) for runtime in EXPORTED)
        _write(proto, fp32)
        _write(_quantised(fp32, methods[tower], model, squares), int8)
    towers = [to.tower(tower, runtime="onnx-int8") for tower in TOWERS]
    files = [to.tower(tower, runtime=runtime) for tower in TOWERS for runtime in EXPORTED]
    card = ExportCard(
        fingerprint=model.card.fingerprint,
        files={path.name: file_sha256(path) for path in sorted(files)},
        methods=methods,
        calibrated_on=len(squares) if "static" in methods.values() else 0,
        parity={},
        split=split,
        recall={},
        measured_on=instruction_set(),
        int8_proven=_proven(towers),
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
    )
    return _measured(card, model, data, to=to, squares=squares[:COMPARED], progress=progress)


def _squares(model: LoadedModel, data: DataLayout) -> np.ndarray:
    """(N, 3, S, S) uint8 of training pictures, always the same."""
    # Pair ids are hashes, so that the first ones are as good as a random draw.
    chosen = set(pairs.read_frame(data.pairs, name="train", columns=["pair_id"])["pair_id"].sort_values()[:CALIBRATION])
    if not chosen:
        raise DataError(f"{data.pairs}: no training picture, so nothing says which range int8 has to cover")
    rows = pairs.iter_rows(data.pairs, name="train", columns=["pair_id", "image"])
    pictures = (decode(row["image"]["bytes"]) for row in rows if row["pair_id"] in chosen)
    return np.stack([model.card.preprocessing.square(picture) for picture in pictures])


# ---------------------------------------------------------------- to ONNX
class _ImageEncoder(nn.Module):
    """Pictures to unit vectors, without the positions that only experts read."""

    def __init__(self, model: EntityCLIP) -> None:
        super().__init__()
        self.tower = model.visual

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.tower(pictures), dim=-1)


class _TextEncoder(nn.Module):
    """Token ids to unit vectors."""

    def __init__(self, model: EntityCLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model.encode_text(ids)


def _traced(model: LoadedModel, tower: str) -> ModelProto:
    """The tower as ONNX: any number of rows, and texts of any length that the tokenizer gives."""
    batch, side = torch.export.Dim("batch"), model.card.preprocessing.size
    if tower == "image":
        module: nn.Module = _ImageEncoder(model.model)
        example, shapes = torch.zeros(2, 3, side, side), {0: batch}
    else:
        module = _TextEncoder(model.model)
        example = model.tokenizer(["one text", "and another one that is longer"])
        shapes = {0: batch, 1: torch.export.Dim("length", max=model.card.tokenisation.context)}
    try:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=[TOWERS[tower]],
                output_names=["vectors"],
                verbose=False,
            )
    except Exception as error:  # torch's exporter raises whatever an operator leads it to
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(f"{tower} tower: PyTorch cannot export it to ONNX: {first}") from error
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter and the quantiser: their warnings are for their own developers."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _write(proto: ModelProto, path: Path) -> None:
    """The same towers give the same bytes: the exporter's notes name files of this machine, and nothing reads them."""
    for noted in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    for value in (*proto.graph.input, *proto.graph.output):
        value.ClearField("metadata_props")
    path.write_bytes(proto.SerializeToString(deterministic=True))


# ---------------------------------------------------------------- to int8
def _method(proto: ModelProto) -> Method:
    """Static for towers of convolutions; a transformer has one at most, which cuts the picture into patches."""
    return "static" if sum(node.op_type == "Conv" for node in proto.graph.node) > 1 else "dynamic"


def _quantised(fp32: Path, method: Method, model: LoadedModel, squares: np.ndarray) -> ModelProto:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        int8 = Path(folder) / "int8.onnx"
        if method == "dynamic":
            quantize_dynamic(fp32, int8, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
        else:
            quantize_static(
                fp32,
                int8,
                _Calibration(model, squares),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        return onnx.load(int8)


def _proven(towers: Sequence[Path]) -> tuple[str, ...]:
    """The instruction sets on which the sums of these int8 towers are exact. Of other architectures than x86-64, that
    of this processor alone, whose recall the card holds.
    """
    import onnx

    weights = (
        onnx.numpy_helper.to_array(tensor)
        for path in towers
        for tensor in onnx.load(path).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8
    )
    within = all(np.abs(weight.astype(np.int16)).max(initial=0) <= MAX_WEIGHT for weight in weights)
    exact, here = X86_64 if within else X86_64[:1], instruction_set()
    return exact if here in X86_64 else (*exact, here)


class _Calibration:
    """``CalibrationDataReader`` of ONNX Runtime: batches of normalised pictures."""

    def __init__(self, model: LoadedModel, squares: np.ndarray, *, batch: int = 16) -> None:
        normalise = model.card.preprocessing.normalise
        self._batches = (
            {TOWERS["image"]: normalise(torch.from_numpy(squares[i : i + batch])).numpy()}
            for i in range(0, len(squares), batch)
        )

    def get_next(self) -> dict[str, Any] | None:
        """The next batch; None after the last."""
        return next(self._batches, None)


# ---------------------------------------------------------------- what it is worth
def _measured(
    card: ExportCard, model: LoadedModel, data: DataLayout, *, to: ExportedLayout, squares: np.ndarray, progress: bool
) -> ExportCard:
    """The card with parity and recall, written beside the files; without them it was complete in vain."""
    card.write(to.card)
    try:
        models = {name: on(name, model, to) for name in RUNTIMES}
        known = PictureIndex.build(model, data, split="train", progress=progress)
        entities = EntityIndex.build(model, data, pictures=known, progress=progress)
        texts = [text for text in entities.rows["entity"] if text][:COMPARED]
        seen = {name: {"image": m.embed_squares(squares), "text": m.embed_texts(texts)} for name, m in models.items()}
        parity = {
            name: {tower: _parity(seen["torch"][tower], seen[name][tower]) for tower in TOWERS} for name in EXPORTED
        }
        pictures = {
            name: PictureIndex.build(m, data, split=card.split, progress=progress) for name, m in models.items()
        }
        recall: dict[str, dict[str, float]] = {name: _recall(entities, found) for name, found in pictures.items()}
        known = PictureIndex.build(models["onnx-int8"], data, split="train", progress=progress)
        own = EntityIndex.build(models["onnx-int8"], data, pictures=known, progress=progress)
        recall["onnx-int8, its own index"] = _recall(own, pictures["onnx-int8"])
    except BaseException:
        to.card.unlink()
        raise
    card = card.model_copy(update={"parity": parity, "recall": recall})
    card.write(to.card)
    return card


def _parity(torchs: np.ndarray, others: np.ndarray) -> Parity:
    """(N, D) unit rows of both."""
    cosine = float((torchs * others).sum(axis=1).min())
    return Parity(largest=float(np.abs(torchs - others).max()), cosine=cosine, rows=len(torchs))


def _recall(entities: EntityIndex, pictures: PictureIndex) -> dict[str, float]:
    """'all' and each slice with queries -> R@1 in percent."""
    if pictures.rows.empty:
        raise DataError("the split holds no picture, so there is nothing to measure on; name another with --split")
    truth = entities.rows_of(pictures.rows["entity_id"])
    vectors, offset = entities.vectors["mixed"], entities.offsets["mixed"]
    first = metrics.ranks(pictures.vectors, vectors, truth, offset=offset).rank == 1
    slices = entities.rows["slice"].to_numpy()[truth]
    parts = {"all": first} | {name: first[slices == name] for name in SLICES}
    return {name: 100 * float(part.mean()) for name, part in parts.items() if len(part)}
