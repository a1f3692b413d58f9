"""Towers of a checkpoint as ONNX graphs, in fp32 and in int8.

Convolutions become int8 with ranges that training pictures show (static, per channel). Transformers become int8 with
ranges computed from each input (dynamic): the few large values in their activations would spoil a fixed range.

Weights have seven bits: without VNNI, a processor adds two products of an unsigned and a signed byte in 16 bits, and
with eight bits these sums saturate (``MAX_WEIGHT``).
"""

from __future__ import annotations

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

from entityclip.errors import ConfigError
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.entityclip import EntityCLIP
from entityclip.model.onnx_runtime import TOWERS, X86_64, Method, instruction_set

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_WEIGHT = 64
"""Largest magnitude of int8: 2 * 255 * 64 = 32,640 is within 16 bits, the narrowest sum of two products on x86-64."""


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


def traced_tower(model: LoadedModel, tower: str) -> ModelProto:
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


def write_onnx(proto: ModelProto, path: Path) -> None:
    """The same towers give the same bytes: the exporter's notes name files of this machine, and nothing reads them."""
    for noted in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    for value in (*proto.graph.input, *proto.graph.output):
        value.ClearField("metadata_props")
    path.write_bytes(proto.SerializeToString(deterministic=True))


# ---------------------------------------------------------------- to int8
def int8_method(proto: ModelProto) -> Method:
    """Static for towers of convolutions; a transformer has one at most, which cuts the picture into patches."""
    return "static" if sum(node.op_type == "Conv" for node in proto.graph.node) > 1 else "dynamic"


def quantised(proto: ModelProto, method: Method, model: LoadedModel, squares: np.ndarray) -> ModelProto:
    """The tower in int8; ``squares`` (N, 3, S, S) uint8 set the ranges of the static method."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        fp32, int8 = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        write_onnx(proto, fp32)
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
                nodes_to_exclude=_outermost(proto),
            )
        return onnx.load(int8)


def _outermost(proto: ModelProto) -> list[str]:
    """Names of the first convolution and the last projection. They stay in floating point: they cost almost no time,
    and without them 1 - cosine to PyTorch's vectors is about half.
    """
    first = [node.name for node in proto.graph.node if node.op_type == "Conv"][:1]
    return first + [node.name for node in proto.graph.node if node.op_type in ("Gemm", "MatMul")][-1:]


def proven_for(towers: Sequence[Path]) -> tuple[str, ...]:
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
