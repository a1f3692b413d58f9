"""The command ``read``: the text that is printed on pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line, table
from entityclip.errors import ConfigError, EntityClipError
from entityclip.paths import Layout


def read(
    picture: Annotated[list[Path], typer.Argument(help="JPEG, PNG, WebP, GIF, BMP or TIFF.")],
    seconds: Annotated[float, typer.Option(help="Time budget for each picture; the rest of a large one is left.")] = 30,
    workspace: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Workspace that keeps what was read, so that it is read once.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the text on pictures: codes and names on labels, in Latin letters, Japanese and Chinese.

    Each line of text has a confidence and a box: left, top, right and bottom, as shares of the picture's width and
    height. A picture that cannot be used is listed with the reason; it is not an error. Needs the extra 'labels'.

    \b
    Example:
      entityclip read box.jpg shelf.jpg --json
    """
    if seconds <= 0:
        raise ConfigError(f"--seconds is {seconds:g}; expected more than 0")
    found = _read(picture, seconds=seconds, workspace=workspace)
    lines = [(one["file"], label) for one in found for label in one["labels"]]
    table([{"file": f, "confidence": lb["confidence"], "box": _box(lb["box"]), "text": lb["text"]} for f, lb in lines])
    for one in found:
        if one["outcome"] != "read":
            typer.echo(f"{one['file']}: {one['reason'] or 'not all of it was read in time; raise --seconds'}", err=True)
    last_line({"pictures": found}, as_json)


def _read(files: list[Path], *, seconds: float, workspace: Path | None) -> list[dict[str, Any]]:
    """What is on each picture, in order."""
    from entityclip.data.label_cache import LabelCache, read_once
    from entityclip.data.labels import LabelReader

    reader, found = LabelReader(), []
    cache = None if workspace is None else LabelCache(Layout(workspace).labels)
    for path in files:
        try:
            data = path.read_bytes()
            reading = (
                reader.read_file(data, seconds=seconds)
                if cache is None
                else read_once(data, reader, cache, seconds=seconds)
            )
            found.append({"file": str(path), "reason": ""} | reading.model_dump(mode="json"))
        except (EntityClipError, OSError) as error:
            found.append({"file": str(path), "reason": str(error), "outcome": "failed", "labels": [], "seconds": 0.0})
    return found


def _box(box: list[float]) -> str:
    return " ".join(f"{share:.2f}" for share in box)
