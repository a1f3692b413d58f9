"""The command ``read``: the text that is printed on pictures."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import unversioned
from entityclip.errors import ConfigError, EntityClipError
from entityclip.paths import Layout

if TYPE_CHECKING:
    from entityclip.schemas import LabelCounts


def read(
    picture: Annotated[list[Path] | None, typer.Argument(help="JPEG, PNG, WebP, GIF, BMP or TIFF.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that 'ingest' wrote; its pictures are read into its table of labels."),
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="With --data: pictures of each entity and split that are read, at most.")
    ] = 8,
    seconds: Annotated[
        float, typer.Option(help="Time budget of a named picture; the rest of a large one is left.")
    ] = 30,
    workspace: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Workspace that keeps what was read, so that it is read once.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the text on pictures: codes and names on labels, in Latin letters, Japanese and Chinese.

    Each line of text has a confidence and a box: left, top, right and bottom, as shares of the picture's width and
    height. A picture that cannot be used is listed with the reason; it is not an error. With --workspace or --data,
    lines with personal data are left out. With --data, the text becomes the label vocabulary that 'tag --data' compares
    labels with. Needs the extra 'labels'.

    \b
    Example:
      entityclip read box.jpg shelf.jpg --json
      entityclip read --data mine --workspace .
    """
    if seconds <= 0:
        raise ConfigError(f"--seconds is {seconds:g}; expected more than 0")
    if bool(picture) == (data is not None):
        raise ConfigError("expected pictures, or --data DIR")
    if workspace is not None:
        _require_kept(Layout(workspace))
    if data is not None:
        counts = _read_data(data, workspace, most=most)
        typer.echo(counts.sentence())
        last_line(counts.model_dump(), as_json)
        return
    found = _read(picture or [], seconds=seconds, workspace=workspace)
    lines = [(one["file"], label) for one in found for label in one["labels"]]
    table([{"file": f, "confidence": lb["confidence"], "box": _box(lb["box"]), "text": lb["text"]} for f, lb in lines])
    for one in found:
        if one["outcome"] != "read":
            typer.echo(f"{one['file']}: {one['reason'] or 'not all of it was read in time; raise --seconds'}", err=True)
    last_line({"pictures": found}, as_json)


def _require_kept(layout: Layout) -> None:
    """Refuse to store text where the workspace's settings forbid it."""
    from entityclip.settings import read_config

    if not read_config(layout.config).labels.keep:
        raise ConfigError(f"{layout.config}: labels.keep is false, so text from pictures is not stored here")


def _read_data(folder: Path, workspace: Path | None, *, most: int) -> LabelCounts:
    """Read the pictures of a data folder; a workspace keeps what was read of each."""
    from entityclip.data.label_cache import LabelCache
    from entityclip.data.labels import LabelReader
    from entityclip.explanations.pii import without_personal_data
    from entityclip.retrieval.picture_labels import read_labels

    data = unversioned(folder)
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "labels.sqlite" if workspace is None else Layout(workspace).labels
        with LabelCache(kept, screen=without_personal_data) as cache:
            return read_labels(data, LabelReader, cache, most=most, progress=on_terminal())


def _read(files: list[Path], *, seconds: float, workspace: Path | None) -> list[dict[str, Any]]:
    """What is on each picture, in order."""
    from entityclip.data.label_cache import LabelCache, read_once
    from entityclip.data.labels import LabelReader
    from entityclip.explanations.pii import without_personal_data

    reader, found = LabelReader(), []
    cache = None if workspace is None else LabelCache(Layout(workspace).labels, screen=without_personal_data)
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
