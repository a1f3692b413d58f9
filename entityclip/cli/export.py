"""Towers for ONNX Runtime: ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entityclip.cli.options import Checkpoint, Data, Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import explained
from entityclip.paths import CheckpointLayout, ExportedLayout
from entityclip.schemas import Split


def export(
    checkpoint: Checkpoint,
    data: Data,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the files go; without it, onnx/ beside the weights.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Whose pictures measure the recall.")] = "test",
    as_json: Json = False,
) -> None:
    """Write both towers as ONNX, in fp32 and in int8, and measure what they lose.

    Needs the extra: pip install 'entityclip[onnx]'. A package whose onnx/ holds the files is served with them where
    ENTITYCLIP_RUNTIME says onnx or onnx-int8.
    """
    from entityclip.evaluation.onnx_export import export as write
    from entityclip.model import checkpoint as checkpoints

    source, layout = explained(data), CheckpointLayout(checkpoint)
    target = layout.exported if to is None else ExportedLayout(to)
    card = write(checkpoints.load(layout), source, to=target, split=split, progress=on_terminal())
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
    typer.echo("int8: " + ", ".join(f"{tower} tower {method}" for tower, method in card.methods.items()))
    typer.echo(f"int8: measured with {card.measured_on}, runs on {', '.join(card.int8_proven)}; refused elsewhere")
    typer.echo(f"Exported: {target.root}")
    last_line(card.model_dump(), as_json)
