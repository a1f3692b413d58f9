"""What a Bento holds: the service's sources, and the package with weights, indexes and reports."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import entityclip
from bentos.runtime.manifest import seal
from bentos.runtime.thumbnails import write_thumbnails
from entityclip.data import pairs
from entityclip.model.checkpoint_card import copy_checkpoint
from entityclip.paths import DataLayout, Layout, PackageLayout
from entityclip.schemas import PackageCard
from entityclip.settings import read_config

if TYPE_CHECKING:
    from entityclip.retrieval.index import MapShards


def sources() -> Iterator[tuple[Path, str]]:
    """Files that the service needs, each with its path in the Bento."""
    builder = Path(__file__).parent  # the builder itself is left out of the Bento
    for package in (Path(entityclip.__path__[0]), builder.parent):
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and builder not in path.parents:
                yield path, path.relative_to(package.parent).as_posix()


def copy_sources(target: Path) -> None:
    """Copy the service's files to ``target``."""
    for path, name in sources():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def licences_of(data: DataLayout) -> tuple[str, ...]:
    """Licences that the pictures name, in alphabetical order."""
    named = pairs.read_frame(data.pairs, columns=["licence"])["licence"].dropna()
    return tuple(sorted(set(named) - {""}))


def lay_out(
    package: PackageLayout,
    source: Layout,
    data: DataLayout,
    card: PackageCard,
    *,
    map_shards: MapShards = map,
) -> None:
    """Write the service's files into ``package``: weights, card, indexes, small photographs, reports, manifest.

    Where the data have a table of labels, their text is searchable and their words become the label vocabulary.
    """
    from entityclip.evaluation.label_calibration import calibrated_vocabulary
    from entityclip.evaluation.onnx_export import export
    from entityclip.model import checkpoint  # imports torch, which is not needed if the Bento is ready
    from entityclip.retrieval.index import EntityIndex, FullText, PictureIndex
    from entityclip.retrieval.picture_labels import label_texts

    pairs.require_complete(data)
    model = checkpoint.load(source.model)
    copy_checkpoint(source.model, package.checkpoint)
    wanted = read_config(source.config).service
    if wanted.onnx:
        export(model, data, to=package.checkpoint.exported)
    pictures = PictureIndex.build(model, data, map_shards=map_shards)
    entities = EntityIndex.build(model, data, pictures=pictures)
    entities.save(package.entities)
    pictures.save(package.pictures, queries=entities.vectors["caption"])
    FullText.create(entities.rows, pictures.rows, labels=label_texts(data), path=package.text)
    if data.labels.is_dir():
        calibrated_vocabulary(model, data, entities=entities, pictures=pictures).save(package.labels)
    if wanted.thumbnails:
        write_thumbnails(package.thumbnails, data, per_entity=wanted.thumbnails)
    shutil.copytree(source.reports, package.reports)
    package.release.write_text(card.model_dump_json(indent=1) + "\n")
    seal(package)
