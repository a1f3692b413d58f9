"""``entityclip forget``: erase an entity, a picture, a text or a person's name from every version and database."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer


def forget(
    workspace: Annotated[Path, typer.Option(metavar="DIR", help="Git and DVC repository of the data.")],
    entity: Annotated[str | None, typer.Option(metavar="ID", help="Id or name of an entity.")] = None,
    picture: Annotated[str | None, typer.Option(metavar="ID", help="pair_id or image_sha256 of a picture.")] = None,
    text: Annotated[str | None, typer.Option(help="Erase every row that holds this piece of text.")] = None,
    person: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take the name of who gave or decided rows out of them.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Erase. Without it, only show what would be erased.")] = False,
    by: Annotated[str, typer.Option(help="Who has it done; stands in the record. Default: the system's user.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Erase what a person wants erased; shows every place that holds it, and changes nothing without --yes.

    Versions that hold it are deleted whole from DVC's cache and every remote, no release goes back to them, and the
    newest data are made again without it. Killed at any point, the same command completes it. A retraining is due
    afterwards. Take the row out of the source as well: until then it is rejected by its hash.

    \b
    Example:
      entityclip forget --workspace shop-search --text "山田花子"
      entityclip forget --workspace shop-search --text "山田花子" --yes
      entityclip forget --workspace shop-search --person "Ana"
    """
    from entityclip.cli.output import last_line, table
    from entityclip.data.erasure import ErasureRequest
    from entityclip.paths import Layout
    from flows.erasure.erase import erase, preview

    request = ErasureRequest.of(entity=entity, picture=picture, text=text, person=person)
    layout = Layout(workspace.resolve())
    done = erase(layout, request, by=by or getpass.getuser()) if yes else preview(layout, request)
    table([line.model_dump(exclude={"left"}) for line in done.found])
    typer.echo(f"\n{_summary(done.erased, record=done.record, found=len(done.found))}")
    last_line(json.loads(done.model_dump_json()), as_json)


def _summary(erased: bool, *, record: str, found: int) -> str:
    if not found and not record:
        return "Nothing in this workspace holds it."
    if not erased:
        return f"{found} places hold it. Nothing was changed; --yes erases it."
    return (
        f"Erased; the record is reports/erasures/{record}.json. Not reached from here: your source, clones and other "
        "Git remotes (git push --force --all; git push --force --tags), backups, exported Bentos, container images, "
        "and services that run: restart them after the next retraining, which is due now."
    )


if __name__ == "__main__":
    from entityclip.cli import app

    app.command()(forget)
    app()
