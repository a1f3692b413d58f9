"""Exports a checkpoint for ONNX Runtime, in fp32, in int8 and with a student's image tower, and keeps the runtimes that
are within the budget.
"""

from __future__ import annotations

import importlib.metadata
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.errors import DataError, EntityClipError
from entityclip.evaluation.compression import COMPARED, measure_runtimes, unmeasured
from entityclip.evaluation.compression_policy import EXPORTED, CompressionPolicy
from entityclip.evaluation.onnx_towers import int8_method, proven_for, quantised, traced_tower, write_onnx
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import file_sha256
from entityclip.model.onnx_runtime import TOWERS, ExportCard, Method, Student, imported, instruction_set
from entityclip.paths import CheckpointLayout, DataLayout, ExportedLayout
from entityclip.schemas import ExportedRuntime, RuntimeDecision, Split
from entityclip.training.distillation import distil
from entityclip.training.distillation_config import Distillation

CALIBRATION = 256
"""Training pictures that set the ranges of static int8."""

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
    calibrated, student, refused = len(squares[side]), None, dict[ExportedRuntime, RuntimeDecision]()
    to.root.mkdir(parents=True, exist_ok=True)
    for earlier in [to.card, *to.towers]:
        earlier.unlink(missing_ok=True)
    if "distilled" in policy.runtimes:
        try:
            student = write_student(model, data, to=to, config=policy.distillation or Distillation(), progress=progress)
            squares.setdefault(student.size, _squares(model, data, side=student.size)[:COMPARED])
        except EntityClipError as error:  # the release and its other runtimes do not depend on it
            refused["distilled"] = unmeasured(f"no student: {error}", budget=policy.budget)
            policy = policy.model_copy(update={"runtimes": tuple(r for r in policy.runtimes if r != "distilled")})
    methods = write_towers(model, squares[side], to=to, runtimes=policy.runtimes)
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
        int8_proven=proven_for(files.get("onnx-int8", [])),
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
        proto = traced_tower(model, tower)
        for runtime in runtimes:
            if runtime == "onnx-int8":
                methods[tower] = int8_method(proto)
                write_onnx(quantised(proto, methods[tower], model, squares), to.tower(tower, runtime=runtime))
            elif (runtime, tower) != ("distilled", "image"):  # see ``write_student``
                write_onnx(proto, to.tower(tower, runtime=runtime))
    return methods


def write_student(
    model: LoadedModel, data: DataLayout, *, to: ExportedLayout, config: Distillation, progress: bool = False
) -> Student:
    """Teach a smaller image tower what the model sees, and write it as the image tower of ``distilled``."""
    with tempfile.TemporaryDirectory(dir=to.root) as folder:
        layout = CheckpointLayout(Path(folder) / "student")
        distil(model, data, config=config, to=layout, data_hash=model.card.data_hash, progress=progress)
        student = checkpoint.load(layout)
        write_onnx(traced_tower(student, "image"), to.tower("image", runtime="distilled"))
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
