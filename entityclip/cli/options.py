"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entityclip.schemas import IndexKind

Data = Annotated[Path, typer.Option(metavar="DIR", help="Folder with explanations, or data/.")]
Workspace = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Workspace: ledger.sqlite stores answers, .entityclip/ stores downloaded data."),
]
Checkpoint = Annotated[Path, typer.Option(metavar="DIR", help="Folder with model.safetensors and card.json.")]
PackageOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Package: a model with its indexes, as served.")
]
CheckpointOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Model without indexes; they are built from --data.")
]
DataOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="With --checkpoint: data to search or to tag with.")
]
Index = Annotated[IndexKind, typer.Option(help="Compare with an entity's name, its explanation, its pictures, or all.")]
Count = Annotated[int, typer.Option("-k", help="Number of results.")]
Rerank = Annotated[
    int, typer.Option(metavar="K", min=0, max=100, help="Re-rank the first K entities with the matching head.")
]
SourceOption = Annotated[
    str | None, typer.Option("--source", help="Instead of --data: ingest this source into the folder of the run.")
]
SourcePath = Annotated[
    Path | None,
    typer.Option("--source-path", "--path", metavar="PATH", help="Folder of the source's data, or its picture table."),
]
Mapping = Annotated[
    Path | None, typer.Option(metavar="FILE", help="YAML that maps a table's columns: docs/custom-data.md.")
]
Products = Annotated[int | None, typer.Option(help="Number of products to draw, for catalog; default 300.")]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all rows and columns to a CSV file.")]
State = Annotated[
    Path, typer.Option(metavar="DIR", envvar="ENTITYCLIP_STATE", help="The service's state folder, WORKSPACE/.service.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
