"""Options that several commands of ``flows`` have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Workspace = Annotated[Path, typer.Option(metavar="DIR", help="Git and DVC repository of data, rules and releases.")]
State = Annotated[Path | None, typer.Option(envvar="ENTITYCLIP_STATE", help="The service's state folder.")]
OnlyJson = Annotated[bool, typer.Option("--json", help="Print only the JSON object that is otherwise the last line.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
