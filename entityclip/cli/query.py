"""The commands ``search`` and ``tag``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from entityclip.cli.options import CheckpointOption, Count, DataOption, Index, Json, PackageOption, Rerank
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import explained
from entityclip.errors import ConfigError, ImageError
from entityclip.paths import CheckpointLayout

if TYPE_CHECKING:
    from PIL import Image

    from entityclip.model.checkpoint_card import CheckpointCard
    from entityclip.retrieval.predictor import Predictor
    from entityclip.schemas import Label, Tag


READ_SECONDS = 30.0
"""Time budget for reading one picture."""


def search(
    text: Annotated[str, typer.Argument(help="Query: words, a name or a code.")],
    target: Annotated[Literal["pictures", "entities"], typer.Option(help="Kind of results.")] = "pictures",
    package: PackageOption = None,
    checkpoint: CheckpointOption = None,
    data: DataOption = None,
    index: Index = "mixed",
    k: Count = 10,
    as_json: Json = False,
) -> None:
    """Find the pictures or entities that best match a text. An exact name or code ranks first.

    \b
    Example:
      entityclip search --checkpoint first/checkpoint --data mine "red kettle"
    """
    predictor = _predictor(package, checkpoint, data)
    hits = [hit.model_dump() for hit in predictor.search(text, k=k, index=index, target=target)]
    columns = ("score", "exact", "entity", "path") if target == "pictures" else ("score", "exact", "entity")
    table([{column: hit[column] for column in columns} for hit in hits])
    last_line({"hits": hits}, as_json)


def tag(
    picture: Annotated[
        list[Path],
        typer.Argument(help="JPEG, PNG, WebP, GIF, BMP or TIFF; several pictures of one thing are averaged."),
    ],
    package: PackageOption = None,
    checkpoint: CheckpointOption = None,
    data: DataOption = None,
    index: Index = "mixed",
    k: Count = 5,
    precision: Annotated[float, typer.Option(help="Precision of 'sure' tags: 0.8, 0.9, 0.95 or 0.99.")] = 0.9,
    rerank: Rerank = 0,
    read: Annotated[
        Literal["true", "auto", "false"],
        typer.Option(help="Read labels, so that codes and names on them count; auto: only if the extra is installed."),
    ] = "false",
    as_json: Json = False,
) -> None:
    """List the entities that a picture, or several pictures of one thing, most likely show.

    'sure' marks tags that reach --precision: by the threshold of the confidence, and by the open-set rule, which tells
    pictures of unknown things. The main job and 'entityclip calibrate' determine both on validation pictures; without a
    threshold, no tag is sure.

    \b
    Example:
      entityclip tag --checkpoint first/checkpoint --data mine photo.jpg
      entityclip tag --checkpoint first/checkpoint --data mine front.jpg back.jpg
      entityclip tag --checkpoint first/checkpoint --data mine --read true carton.jpg
    """
    pictures = [_picture(path) for path in picture]
    predictor, labels = _predictor(package, checkpoint, data), _labels(pictures, read)
    tags = predictor.tag(pictures, k=k, index=index, precision=precision, rerank=rerank, labels=labels or ())
    table([_shown(tag, rerank=rerank, labelled=labels is not None) for tag in tags])
    if index == "mixed" and (note := _unproven(predictor.model.card, precision)):
        typer.echo(f"{note}; run: entityclip calibrate", err=True)
    read_labels = {} if labels is None else {"labels": [label.model_dump() for label in labels]}
    last_line({"tags": [tag.model_dump() for tag in tags]} | read_labels, as_json)


def _labels(pictures: list[Image.Image], read: str) -> list[Label] | None:
    """What is printed on the pictures; None where it is not read."""
    from entityclip.data.labels import LabelReader, can_read

    if read == "false" or (read == "auto" and not can_read()):
        return None
    reader = LabelReader()
    read_each = ((number, reader.read(picture, seconds=READ_SECONDS)) for number, picture in enumerate(pictures))
    return [label.model_copy(update={"picture": number}) for number, reading in read_each for label in reading.labels]


def _unproven(card: CheckpointCard, precision: float) -> str:
    """What the card cannot say about tags at this precision; empty if it says all."""
    if str(precision) not in card.thresholds:
        return f"No tag is sure: the model has no threshold for precision {precision:g}"
    if card.open_set is None:
        return "The model's card is of an earlier version, without an open-set rule: unknown things may be sure"
    if card.open_set.target(precision) is None:
        return f"No tag is sure: the open-set rule could not be proven for precision {precision:g}"
    return ""


def _shown(tag: Tag, *, rerank: int, labelled: bool) -> dict[str, Any]:
    """The row of a tag in the table; the match score only with ``rerank``, the label only where labels were read."""
    match = {"match": "" if tag.match is None else f"{tag.match:.3f}"} if rerank else {}
    known = {} if tag.open_set is None else {"open set": tag.open_set}
    line = {"score": tag.score, "confidence": tag.confidence} | known | {"sure": tag.above_threshold}
    on_label = (f"{why.text} ({why.by})" for why in tag.why if why.box is not None)
    label = {"label": next(on_label, "")} if labelled else {}
    return line | match | {"entity": tag.entity} | label


def _predictor(package: Path | None, checkpoint: Path | None, data: Path | None) -> Predictor:
    """A predictor from a package, or from a checkpoint with newly built indexes."""
    from entityclip.model import checkpoint as checkpoints
    from entityclip.retrieval.index import EntityIndex, FullText, PictureIndex
    from entityclip.retrieval.predictor import Predictor

    if package is not None and checkpoint is None and data is None:
        return Predictor.load(package)
    if package is not None or checkpoint is None or data is None:
        raise ConfigError("no model given; expected --package DIR, or --checkpoint DIR and --data DIR together")
    source = explained(data)
    model = checkpoints.load(CheckpointLayout(checkpoint))
    pictures = PictureIndex.build(model, source, progress=on_terminal())
    entities = EntityIndex.build(model, source, pictures=pictures, progress=on_terminal())
    if not source.labels.is_dir():
        return Predictor(model, entities, pictures)
    from entityclip.evaluation.label_calibration import calibrated_vocabulary
    from entityclip.retrieval.picture_labels import label_texts

    vocabulary = calibrated_vocabulary(model, source, entities=entities, pictures=pictures)
    text = FullText.create(entities.rows, pictures.rows, labels=label_texts(source))
    return Predictor(model, entities, pictures, text, vocabulary=vocabulary)


def _picture(path: Path) -> Image.Image:
    from entityclip.data.images import decode

    try:
        return decode(path.read_bytes())
    except ImageError as error:
        raise ImageError(f"{path}: {error.reason}") from None
