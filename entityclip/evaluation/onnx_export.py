"""Exports both towers of a checkpoint to ONNX, in fp32, in int8 and with a student's image tower, and keeps the
runtimes that are within the budget.

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
from entityclip.errors import ConfigError, DataError, EntityClipError
from entityclip.evaluation.compression import COMPARED, measure_runtimes, unmeasured
from entityclip.evaluation.compression_policy import EXPORTED, CompressionPolicy
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import file_sha256
from entityclip.model.entityclip import EntityCLIP
from entityclip.model.onnx_runtime import (
    TOWERS,
    X86_64,
    ExportCard,
    Method,
    Student,
    imported,
    instruction_set,
)
from entityclip.paths import CheckpointLayout, DataLayout, ExportedLayout
from entityclip.schemas import ExportedRuntime, RuntimeDecision, Split
from entityclip.training.distillation import distil
from entityclip.training.distillation_config import Distillation

if TYPE_CHECKING:
    from onnx import ModelProto

CALIBRATION = 256
"""Training pictures that set the ranges of static int8."""

MAX_WEIGHT = 64
"""Largest magnitude of int8: 2 * 255 * 64 = 32,640 is within 16 bits, the narrowest sum of two products on x86-64."""

LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript")
log = logging.getLogger("entityclip.compression")


def export(
    model: LoadedModel,
    data: DataLayout,
    *,
    to: ExportedLayout,
    policy: CompressionPolicy | None = None,
    split: Split = "test",
    progress: bool = False,
) -> ExportCard:
    """Write both towers of ``model`` for each runtime, measure them, delete those that do not ship; the card is last.

    Args:
        model: On the CPU.
        data: Its training pictures set the ranges of int8, its ``split`` measures the recall.
        to: Where the files go; an earlier export is replaced.
        policy: The runtimes, and what each may lose; None: ``EXPORTED``, with the default budget.
        split: Whose pictures are the queries.
        progress: Show bars.

    Raises:
        ConfigError: The extra ``onnx`` is not installed, or a tower cannot be exported.
        DataError: The data are incomplete, or have no pictures to calibrate or to measure with.
    """
    imported()
    pairs.require_complete(data)
    policy = policy or CompressionPolicy(runtimes=EXPORTED)
    squares = {(side := model.card.preprocessing.size): _squares(model, data, side=side)}
    to.root.mkdir(parents=True, exist_ok=True)
    to.card.unlink(missing_ok=True)
    methods = write_towers(model, squares[side], to=to, runtimes=policy.runtimes)
    calibrated, student, refused = len(squares[side]), None, dict[ExportedRuntime, RuntimeDecision]()
    if "distilled" in policy.runtimes:
        try:
            student = write_student(model, data, to=to, config=policy.distillation or Distillation(), progress=progress)
            squares.setdefault(student.size, _squares(model, data, side=student.size)[:COMPARED])
        except EntityClipError as error:  # the release and its other runtimes do not depend on it
            refused["distilled"] = unmeasured(f"no student: {error}", budget=policy.budget)
            policy = policy.model_copy(update={"runtimes": tuple(r for r in policy.runtimes if r != "distilled")})
    files = {runtime: [to.tower(tower, runtime=runtime) for tower in TOWERS] for runtime in policy.runtimes}
    card = ExportCard(
        fingerprint=model.card.fingerprint,
        files={path.name: file_sha256(path) for paths in files.values() for path in paths},
        methods=methods,
        calibrated_on=calibrated if "static" in methods.values() else 0,
        student=student,
        parity={},
        split=split,
        recall={},
        decisions=refused,
        measured_on=instruction_set(),
        int8_proven=_proven(files.get("onnx-int8", [])),
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
    )
    card = measure_runtimes(card, model, data, to=to, squares=squares, policy=policy, progress=progress)
    for runtime, decision in card.decisions.items():
        log.info("%s %s: %s", runtime, "ships" if decision.ships else "does not ship", "; ".join(decision.reasons))
    shipped = {path.name for runtime, decision in card.decisions.items() if decision.ships for path in files[runtime]}
    for name in card.files.keys() - shipped:
        (to.root / name).unlink()
    card = card.model_copy(update={"files": {name: sha for name, sha in card.files.items() if name in shipped}})
    card.write(to.card)
    return card


def write_towers(
    model: LoadedModel, squares: np.ndarray, *, to: ExportedLayout, runtimes: Sequence[ExportedRuntime]
) -> dict[str, Method]:
    """Write both towers for each runtime; returns how each tower became int8.

    ``squares`` (N, 3, S, S) uint8 set the ranges of static int8.
    """
    methods: dict[str, Method] = {}
    for tower in TOWERS:
        proto = _traced(model, tower)
        for runtime in runtimes:
            if runtime == "onnx-int8":
                methods[tower] = _method(proto)
                _write(_quantised(proto, methods[tower], model, squares), to.tower(tower, runtime=runtime))
            elif (runtime, tower) != ("distilled", "image"):  # see ``write_student``
                _write(proto, to.tower(tower, runtime=runtime))
    return methods


def write_student(
    model: LoadedModel, data: DataLayout, *, to: ExportedLayout, config: Distillation, progress: bool = False
) -> Student:
    """Teach a smaller image tower what the model sees, and write it as the image tower of ``distilled``."""
    with tempfile.TemporaryDirectory(dir=to.root) as folder:
        layout = CheckpointLayout(Path(folder) / "student")
        distil(model, data, config=config, to=layout, data_hash=model.card.data_hash, progress=progress)
        student = checkpoint.load(layout)
        _write(_traced(student, "image"), to.tower("image", runtime="distilled"))
    return Student(
        size=student.card.preprocessing.size,
        settings=config.portable().model_dump(mode="json"),
        metrics={name: student.card.metrics[name] for name in ("pictures", "steps", "cosine", "relation")},
    )


def _squares(model: LoadedModel, data: DataLayout, *, side: int) -> np.ndarray:
    """(N, 3, side, side) uint8 of training pictures, always the same."""
    # Pair ids are hashes, so that the first ones are as good as a random draw.
    chosen = set(pairs.read_frame(data.pairs, name="train", columns=["pair_id"])["pair_id"].sort_values()[:CALIBRATION])
    if not chosen:
        raise DataError(f"{data.pairs}: no training picture, so nothing says which range int8 has to cover")
    rows = pairs.iter_rows(data.pairs, name="train", columns=["pair_id", "image"])
    pictures = (decode(row["image"]["bytes"]) for row in rows if row["pair_id"] in chosen)
    shown = model.card.preprocessing.model_copy(update={"size": side})
    return np.stack([shown.square(picture) for picture in pictures])


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


def _quantised(proto: ModelProto, method: Method, model: LoadedModel, squares: np.ndarray) -> ModelProto:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        fp32, int8 = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        _write(proto, fp32)
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
