"""The command ``distil``: a smaller image tower that learns from a trained model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entityclip.cli.options import Data, Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import content_hash, explained
from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError
from entityclip.paths import CheckpointLayout, DataLayout
from entityclip.schemas import OpenSplit
from entityclip.storage import atomic_path
from entityclip.training import Distillation

if TYPE_CHECKING:
    from entityclip.model.checkpoint import LoadedModel

ROUNDS = 50
"""Pictures that are timed, one at a time; the median counts."""


def distil(
    teacher: Annotated[
        Path, typer.Option(metavar="DIR", help="Checkpoint to learn from, such as model/ of a release.")
    ],
    data: Data,
    to: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the student's checkpoint.")],
    size: Annotated[
        int | None, typer.Option(min=8, help="Side of the student's pictures, pixels; default: half of the teacher's.")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(help="Whose image tower the student has; default: the teacher's, from the teacher's weights."),
    ] = None,
    image_weights: Annotated[
        str | None, typer.Option(help="With --architecture: first weights, a backbone's name or a file or folder.")
    ] = None,
    accept_licence: Annotated[
        list[str] | None,
        typer.Option(help="Licence with restrictions that you accept for --image-weights; repeatable."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="For learning.")] = Distillation().minutes,
    unlabelled: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of further pictures to learn from; they need no texts.")
    ] = None,
    split: Annotated[OpenSplit, typer.Option(help="Split on which both are compared.")] = "test",
    budget: Annotated[float, typer.Option(min=0, max=100, help="Points of R@1 that the student may lose.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Teach a smaller image tower, calibrate it, and compare it with its teacher by slice.

    Texts, tokenizer and joint space stay the teacher's. The student is a checkpoint like any other. To let each
    training of the pipeline end with a student, set 'distillation' in the file that `entityclip run --config` reads.

    \b
    Example:
      entityclip distil --teacher first/checkpoint --data mine --size 112 --minutes 10 --to student
    """
    from entityclip.evaluation.calibrate import calibrate
    from entityclip.model import checkpoint
    from entityclip.training.distillation import distil as learn

    source, hashed = explained(data), content_hash(explained(data))
    if to.exists():
        raise ConfigError(f"{to}: exists; expected a new folder, so that no checkpoint is replaced")
    if not pairs.shards(source.pairs, name=split):
        raise DataError(f"{data}: the split {split!r} holds no picture to compare on; name another with --split")
    known = checkpoint.load(CheckpointLayout(teacher))
    config = Distillation(
        architecture=architecture,
        image_weights=image_weights,
        accept_licences=tuple(accept_licence or ()),
        size=size,
        minutes=minutes,
    )
    files = _files(unlabelled) if unlabelled else []
    with atomic_path(to) as partial:
        made = CheckpointLayout(partial)
        learn(known, source, config=config, to=made, data_hash=hashed, unlabelled=files, progress=on_terminal())
        calibrate(checkpoint.load(made), source, progress=on_terminal()).write(made.card)
    student = checkpoint.load(CheckpointLayout(to))
    answer = _compared(student, known, source, split=split, budget=budget)
    typer.echo(f"Student: {to}")
    last_line({"checkpoint": str(to)} | answer, as_json)


def _compared(
    student: LoadedModel, teacher: LoadedModel, data: DataLayout, *, split: OpenSplit, budget: float
) -> dict[str, Any]:
    """Print how both find the same pictures, and whether the student is within the budget."""
    from entityclip.evaluation.compression import compare_student, decide_runtime, runtime_changes
    from entityclip.model.onnx_runtime import instruction_set

    ours, theirs = compare_student(student, teacher, data, split=split, progress=on_terminal())
    decision = decide_runtime(runtime_changes(ours, theirs), budget=budget, measured_on=instruction_set())
    times = {"teacher": milliseconds(teacher), "student": milliseconds(student)}
    sides = {"teacher": teacher.card.preprocessing.size, "student": student.card.preprocessing.size}
    recall = {"teacher": theirs.by_slice, "student": ours.by_slice}
    typer.echo("R@1 in percent, picture to entity, mixed index, by training pictures of the entity")
    table([{"model": name, "pixels": sides[name], "ms": times[name], **recall[name]} for name in recall], decimals=1)
    typer.echo("\n".join(["", "within the budget" if decision.ships else "not within the budget", *decision.reasons]))
    return {"ms": times, "pixels": sides, "recall": recall} | decision.model_dump()


def _files(folder: Path) -> list[Path]:
    """Files of a folder and those below it."""
    from entityclip.annotation.picture_files import picture_files

    return [file.folder / file.name for file in picture_files(folder)]


def milliseconds(model: LoadedModel) -> float:
    """Of one picture through the image tower, on PyTorch with the threads of this process."""
    import numpy as np

    side = model.card.preprocessing.size
    square, times = np.zeros((3, side, side), np.uint8), []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        model.embed_squares([square])
        times.append(time.perf_counter() - started)
    return round(1000 * float(np.median(times)), 2)
