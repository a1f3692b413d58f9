"""Options that several commands have; a name means the same in every one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entityclip.schemas import IndexKind

Data = Annotated[Path, typer.Option(metavar="DIR", help="Folder that 'explain' completed, or data/.")]
Workspace = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Its ledger.sqlite keeps every text, its .entityclip/ drawn and fetched data."),
]
Checkpoint = Annotated[Path, typer.Option(metavar="DIR", help="Folder with model.safetensors and card.json.")]
PackageOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Model with its indexes, as it is served.")]
CheckpointOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Model without indexes; they are made from --data first.")
]
DataOption = Annotated[Path | None, typer.Option(metavar="DIR", help="What --checkpoint is to search or to tag with.")]
Index = Annotated[IndexKind, typer.Option(help="Compare with an entity's name, its explanation, or both.")]
Count = Annotated[int, typer.Option("-k", help="How many answers.")]
Rerank = Annotated[
    int, typer.Option(metavar="K", min=0, max=100, help="Let the matching head judge the first K entities again.")
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write every row with all columns to a CSV.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
