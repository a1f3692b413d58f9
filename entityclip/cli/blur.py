"""The command ``blur``: copies of pictures in which faces and number plates cannot be recognised."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.errors import ConfigError
from entityclip.storage import atomic_path


class Hidden(StrEnum):
    """What is looked for."""

    FACES = "faces"
    PLATES = "plates"
    ALL = "all"


def blur(
    pictures: Annotated[Path, typer.Argument(help="Folder of pictures; they are only read.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder for the copies and the table regions.csv.")
    ] = None,
    only: Annotated[Hidden, typer.Option(help="What to look for.")] = Hidden.ALL,
    regions: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Blur these regions and look for nothing: a corrected regions.csv."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the regions and write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Copy pictures with faces and number plates blurred, before anything else reads or keeps them.

    The copies have the names of the pictures and no metadata. Regions are found by OpenCV's cascades, which miss faces
    that are turned, covered or small: look at the copies, add or delete rows in regions.csv, and run again with
    --regions. A file that is no picture has no copy and is named. Needs the extra 'labels'.

    \b
    Example:
      entityclip blur photos/ --to blurred
      entityclip blur photos/ --to corrected --regions blurred/regions.csv
    """
    from entityclip.annotation.blur import BlurredCopies, Found, RegionFinder, read_regions
    from entityclip.annotation.picture_files import picture_files

    if (to is None) == (not dry_run):
        raise ConfigError("expected either --to DIR or --dry-run")
    if not pictures.is_dir():
        raise ConfigError(f"{pictures}: expected a folder of pictures")
    if to is not None and (to.exists() or to.resolve().is_relative_to(pictures.resolve())):
        raise ConfigError(f"{to}: expected a new folder outside {pictures}")
    kinds: dict[Hidden, tuple[Found, ...]] = {Hidden.FACES: ("face",), Hidden.PLATES: ("plate",)}
    given = None if regions is None else read_regions(regions)
    copies = BlurredCopies(
        picture_files(pictures), finder=RegionFinder(kinds.get(only, ("face", "plate"))), regions=given
    )
    if to is None:
        copies.write(None, progress=on_terminal())
    else:
        with atomic_path(to) as partial:
            partial.mkdir()
            copies.write(partial, progress=on_terminal())
    table([region.model_dump() for region in copies.regions])
    for name, reason in copies.unusable:
        typer.echo(f"{name}: no copy: {reason}", err=True)
    last_line(
        {
            "to": None if to is None else str(to),
            "regions": [region.model_dump() for region in copies.regions],
            "no_copy": dict(copies.unusable),
        },
        as_json,
    )
