"""The command ``blur``: copies of pictures in which faces and number plates cannot be recognised."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.errors import ConfigError


class Hidden(StrEnum):
    """What is looked for."""

    FACES = "faces"
    PLATES = "plates"
    ALL = "all"


KINDS: dict[Hidden, tuple[Literal["face", "plate"], ...]] = {
    Hidden.FACES: ("face",),
    Hidden.PLATES: ("plate",),
    Hidden.ALL: ("face", "plate"),
}


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
    --regions. A file that is no picture has no copy and is named. A call that was stopped goes on where it was when it
    is repeated. To look for regions needs the extra 'labels'.

    \b
    Example:
      entityclip blur photos/ --to blurred
      entityclip blur photos/ --to corrected --regions blurred/regions.csv
    """
    from entityclip.annotation.blur import FindRegions, RegionFinder, blur_pictures, given_regions, read_regions
    from entityclip.annotation.picture_files import picture_files
    from entityclip.data.pairs import digest

    if (to is None) == (not dry_run):
        raise ConfigError("expected either --to DIR or --dry-run")
    if not pictures.is_dir():
        raise ConfigError(f"{pictures}: expected a folder of pictures")
    if to is not None and to.resolve().is_relative_to(pictures.resolve()):
        raise ConfigError(f"{to}: expected a new folder outside {pictures}")
    files = picture_files(pictures)
    find: FindRegions
    if regions is None:
        find, looked_for = RegionFinder(KINDS[only]), only.value
    else:
        find, looked_for = given_regions(read_regions(regions), files), digest(regions.read_bytes())
    settings = f"{pictures.resolve()}: {looked_for}"
    done = blur_pictures(files, find, to=to, settings=settings, progress=on_terminal())
    found = [region.model_dump() for picture in done for region in picture.regions]
    table(found)
    no_copy = {picture.file: picture.problem for picture in done if picture.problem}
    for name, reason in no_copy.items():
        typer.echo(f"{name}: no copy: {reason}", err=True)
    last_line({"to": None if to is None else str(to), "regions": found, "no_copy": no_copy}, as_json)
