"""The command ``export``: writes the towers for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entityclip.cli.options import Checkpoint, Data, Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import explained
from entityclip.evaluation.compression_policy import EXPORTED, CompressionPolicy
from entityclip.paths import CheckpointLayout, ExportedLayout
from entityclip.schemas import OpenSplit
from entityclip.training.distillation_config import Distillation


def export(
    checkpoint: Checkpoint,
    data: Data,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Target folder; default: onnx/ beside the weights.")
    ] = None,
    split: Annotated[OpenSplit, typer.Option(help="Split on which recall is measured.")] = "test",
    budget: Annotated[
        float, typer.Option(min=0, max=100, help="Points of R@1 that a runtime may lose; others are not kept.")
    ] = 1.0,
    student: Annotated[
        int | None,
        typer.Option(min=8, help="Also the runtime distilled: a student that sees pictures of so many pixels a side."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="With --student: for learning.")] = Distillation().minutes,
    as_json: Json = False,
) -> None:
    """Export both towers to ONNX in fp32 and int8, and keep those that lose no more recall than the budget.

    Requires pip install 'entityclip[onnx]'. The service uses the files in onnx/ of a package if
    ENTITYCLIP_RUNTIME is onnx, onnx-int8 or distilled.

    \b
    Example:
      entityclip export --checkpoint first/checkpoint --data mine
    """
    from entityclip.evaluation.onnx_export import export as write
    from entityclip.model import checkpoint as checkpoints

    source, layout = explained(data), CheckpointLayout(checkpoint)
    target = layout.exported if to is None else ExportedLayout(to)
    policy = CompressionPolicy(
        runtimes=EXPORTED if student is None else (*EXPORTED, "distilled"),
        budget=budget,
        distillation=Distillation(size=student, minutes=minutes),
    )
    card = write(checkpoints.load(layout), source, to=target, policy=policy, split=split, progress=on_terminal())
    typer.echo("R@1 in percent, picture to entity, mixed index, by training pictures of the entity")
    table([{"towers": name, **recall} for name, recall in card.recall.items()], decimals=1)
    typer.echo("\ndistance from PyTorch")
    table(
        [
            {"towers": f"{name} {tower}", "difference": f"{parity.largest:.1e}", "cosine": f"{parity.cosine:.6f}"}
            for name, towers in card.parity.items()
            for tower, parity in towers.items()
        ]
    )
    for runtime, decision in card.decisions.items():
        typer.echo(f"{runtime} {'ships' if decision.ships else 'does not ship'}: {'; '.join(decision.reasons)}")
    typer.echo("int8: " + ", ".join(f"{tower} tower {method}" for tower, method in card.methods.items()))
    typer.echo(f"int8: measured with {card.measured_on}, runs on {', '.join(card.int8_proven)}; refused elsewhere")
    typer.echo(f"Exported: {target.root}")
    last_line(card.model_dump(), as_json)
