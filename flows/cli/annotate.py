"""``annotate``: tags for folders and tables of pictures, and people's corrections back as feedback."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from typer.core import TyperGroup

from entityclip.cli.options import Json, PackageOption
from entityclip.cli.output import last_line, on_terminal
from entityclip.errors import ConfigError, WorkspaceError
from entityclip.paths import AnnotationLayout, Layout, PackageLayout, StateLayout, StoreLayout
from entityclip.schemas import PackageCard
from flows.cli.options import State, Workspace

if TYPE_CHECKING:
    from entityclip.annotation.annotate import Tagger


class _FilesByDefault(TyperGroup):
    """``annotate PLACE`` is ``annotate files PLACE``, and so is its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the command where the first argument names none."""
        if args and args[0] not in self.commands:
            args = ["files", *args]
        return super().parse_args(ctx, args)


annotate_app = typer.Typer(
    cls=_FilesByDefault,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="""Tag all pictures of a folder or a table; take people's corrections back as feedback.

    \b
    Example:
      entityclip annotate photos/ --to annotated --workspace shop-search --format csv --format coco
      entityclip annotate import annotated/annotations.csv --annotated annotated --pictures photos/ --by Tanaka \\
        --workspace shop-search""",
)

To = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the annotations; the same command continues there.")]
Formats = Annotated[
    list[str], typer.Option("--format", help="csv, jsonl, coco, label-studio, cvat, yolo or datasets; repeatable.")
]


@annotate_app.command("files")
def files(
    place: Annotated[
        Path, typer.Argument(metavar="FOLDER|TABLE|VIDEO", help="Pictures, a table that names them, or one video.")
    ],
    to: To,
    formats: Formats = ["csv"],  # noqa: B006
    workspace: Annotated[Path | None, typer.Option(metavar="DIR", help="Tag with the workspace's champion.")] = None,
    package: PackageOption = None,
    service: Annotated[
        str | None, typer.Option(metavar="URL", help="Tag with a running service; its key is in ENTITYCLIP_KEY.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Tags for each picture.")] = 5,
    precision: Annotated[float, typer.Option(help="Precision of 'sure' tags: 0.8, 0.9, 0.95 or 0.99.")] = 0.9,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="Also say coarsely where in the picture each entity is; much slower.")
    ] = False,
    read: Annotated[
        bool, typer.Option("--read", help="Also read codes and names on labels: about a second a picture.")
    ] = False,
    column: Annotated[str, typer.Option(help="Column of the table with the file names.")] = "file",
    every: Annotated[float, typer.Option(help="Of a video: seconds between two frames that are tagged.")] = 0.5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the files.")] = False,
    as_json: Json = False,
) -> None:
    """Tag every picture. A run that was stopped is continued by the same command; only new files are tagged.

    Of a video, timeline.csv and timeline.vtt (subtitles) say when each entity is seen. What people correct in a tool
    comes back by 'entityclip annotate import'.

    \b
    Example:
      entityclip annotate photos/ --to annotated --workspace shop-search
      entityclip annotate files list.csv --to annotated --package PACKAGE --format label-studio --column picture
      entityclip annotate shelves/ --to annotated --package PACKAGE --boxes --format coco
      entityclip annotate cartons/ --to annotated --workspace shop-search --read
      entityclip annotate shelf.mp4 --to annotated --package PACKAGE --every 0.5
    """
    from entityclip.annotation import FORMATS, annotate, export, picture_files
    from entityclip.annotation.records import Records
    from entityclip.annotation.video import SUFFIXES as VIDEOS

    if unknown := [name for name in formats if name not in FORMATS]:
        raise ConfigError(f"format {unknown[0]!r}: expected one of {', '.join(FORMATS)}")
    layout = AnnotationLayout(to)
    if place.suffix.lower() in VIDEOS and not place.is_dir():
        if boxes or read:
            raise ConfigError(f"--{'boxes' if boxes else 'read'} is for pictures; a video gets intervals")
        tagger, _ = _tagger(workspace, package, service, _Wanted(k, precision))
        last_line(_timeline(place, tagger, layout, every=every), as_json)
        return
    items = picture_files(place, column=column)
    if dry_run:
        typer.echo(f"{len(items):,} files would be tagged")
        last_line({"files": len(items)}, as_json)
        return
    wanted = _Wanted(k, precision, boxes=boxes, labels=layout.labels if read else None)
    tagger, settings = _tagger(workspace, package, service, wanted)
    layout.root.mkdir(parents=True, exist_ok=True)
    records = Records(layout.records, settings=settings)
    annotations, summary = annotate(items, tagger, records, progress=on_terminal())
    for name in FORMATS:
        if name in formats:
            export(annotations, layout, to=name)
    text = f", {summary.with_text:,} with text" if read else ""
    text += f", {summary.partly_read:,} not read in full" if summary.partly_read else ""
    typer.echo(
        f"{summary.files:,} files, {summary.new:,} of them new: {summary.sure:,} sure, {summary.unknown:,} unknown, "
        f"{summary.problems:,} not usable{text}; in {to}"
    )
    last_line(summary.model_dump(), as_json)


def _timeline(video: Path, tagger: Tagger, layout: AnnotationLayout, *, every: float) -> dict[str, int]:
    """Write when each entity is seen in a video.

    Raises:
        ConfigError: ``tagger`` is a service.
    """
    from entityclip.annotation.tag_files import PredictorTagger
    from entityclip.annotation.video import intervals_of, write_timeline

    if not isinstance(tagger, PredictorTagger):
        raise ConfigError("a video is tagged in this process: give --workspace or --package instead of --service")
    intervals = intervals_of(video, tagger, every=every, progress=on_terminal())
    write_timeline(intervals, layout)
    entities = len({interval.entity_id for interval in intervals})
    typer.echo(f"{entities:,} entities in {len(intervals):,} intervals; in {layout.timeline}")
    return {"intervals": len(intervals), "entities": entities}


@annotate_app.command("import")
def corrected(
    export_file: Annotated[Path, typer.Argument(metavar="FILE", help="What the annotation tool exported.")],
    annotated: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the annotations that were corrected.")],
    pictures: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the pictures, or of the table.")],
    workspace: Workspace,
    by: Annotated[str, typer.Option(help="Who corrected, where the file does not say.")],
    of: Annotated[Literal["csv", "label-studio", "cvat", "coco"], typer.Option(help="Format of the file.")] = "csv",
    state: State = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the judgements.")] = False,
    as_json: Json = False,
) -> None:
    """Take corrections back as feedback; 'entityclip feedback' makes rows of the next data version of them.

    Of a picture with boxes, the part in the box becomes the picture of the entity.
    In a CSV or COCO file only changed rows count: an untouched one may be one that was never read.

    \b
    Example:
      entityclip annotate import annotated/annotations.csv --annotated annotated --pictures photos/ --by Tanaka \\
        --workspace shop-search
    """
    from bentos.runtime.feedback import Feedback, Spool
    from entityclip.annotation.corrections import judged, part_of, read_corrections
    from entityclip.annotation.picture_files import PictureFile
    from entityclip.annotation.records import Records

    records = AnnotationLayout(annotated).records
    if not records.exists():
        raise ConfigError(f"{annotated}: no annotations; expected the folder that 'entityclip annotate --to' wrote")
    found = list(judged(read_corrections(export_file, of=of), Records(records).latest()))
    folder = pictures.resolve()
    rows = [
        Feedback(
            release=one.release,
            key=f"person {one.person or by}",
            verdict=one.verdict,
            entity_id=one.entity_id,
            entity=one.entity,
            picture=part_of(PictureFile(one.file, folder).read(), one.box),
        )
        for one in found
    ]
    spool = Spool((StateLayout(state) if state else Layout(workspace.resolve()).service).feedback)
    if not dry_run:
        for row in rows:
            spool.put(row)
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("right", "wrong", "missing")}
    typer.echo(", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()))
    last_line(counts, as_json)


class _Wanted(NamedTuple):
    """What annotations shall hold."""

    k: int
    precision: float
    boxes: bool = False
    labels: Path | None = None
    """Keeps what was read; None: labels are not read."""

    def settings(self, model: str, *, reader: str) -> str:
        """What annotations by ``model`` belong to; labels are read by ``reader``."""
        settings: dict[str, Any] = {"model": model, "k": self.k, "precision": self.precision}
        settings |= {"boxes": True} if self.boxes else {}
        return json.dumps(settings | ({"read": reader} if self.labels else {}))


def _tagger(workspace: Path | None, package: Path | None, service: str | None, wanted: _Wanted) -> tuple[Tagger, str]:
    """What tags, and the settings that its annotations belong to.

    Raises:
        ConfigError: Not exactly one of the three is given, boxes are wanted of a service, or labels without a reader.
        WorkspaceError: The workspace has no champion.
    """
    if [workspace, package, service].count(None) != 2:
        raise ConfigError("give exactly one of --workspace, --package and --service")
    if service is not None and wanted.boxes:
        raise ConfigError("--boxes is found in this process: give --workspace or --package instead of --service")
    if service is not None:
        from bentos.client import Client
        from flows.tag_by_service import ServiceTagger

        client = Client(service, key=os.environ.get("ENTITYCLIP_KEY"))
        reads = wanted.labels is not None
        tagger: Tagger = ServiceTagger(client, k=wanted.k, precision=wanted.precision, read=reads)
        reader = "the service's"
    else:
        from entityclip.annotation.file_labels import FileLabels
        from entityclip.annotation.tag_files import PredictorTagger
        from entityclip.data.labels import reader_version
        from entityclip.retrieval.predictor import Predictor

        labels, reader = (None, "") if wanted.labels is None else (FileLabels(wanted.labels), reader_version())
        changes = None
        if workspace is not None:
            package, changes = _champion_package(Layout(workspace.resolve()))
        assert package is not None
        card = PackageCard.read(PackageLayout(package).release)
        release = "" if card is None else card.release.version
        predictor = Predictor.load(package, changes=changes)
        tagger = PredictorTagger(
            predictor,
            k=wanted.k,
            precision=wanted.precision,
            regions=wanted.boxes,
            labels=labels,
            release=release,
        )
    return tagger, wanted.settings(tagger.model, reader=reader)


def _champion_package(layout: Layout) -> tuple[Path, Path | None]:
    """The champion's package, and the entities that were added or changed in service."""
    from flows.steps.deploy_release import ensure_smoke_tested
    from flows.workspace.registry import champion

    release = champion(layout) if layout.rules.exists() else None
    if release is None:
        raise WorkspaceError(f"{layout.root}: no champion yet; entityclip run --workspace {layout.root} makes one")
    ensure_smoke_tested(layout, release)
    changes = layout.service.entities
    return StoreLayout(layout.bento_home.resolve()).model(release.version).root, changes if changes.exists() else None
