"""What a Bento holds: the service's sources, and the package with weights, indexes and reports."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import entityclip
from bentos.build.provenance import provenance
from bentos.build.requirements import package_requirements
from bentos.build.sbom import sbom
from bentos.runtime.manifest import seal
from bentos.runtime.thumbnails import write_thumbnails
from entityclip.data import pairs
from entityclip.model.checkpoint_card import copy_checkpoint, read_card
from entityclip.paths import DataLayout, Layout, PackageLayout
from entityclip.schemas import EvalReport, PackageCard, PromotionDecision, QualityReport, Runtime
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
    vectors: Path | None = None,
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
    model = replace(checkpoint.load(source.model), vectors=vectors)
    copy_checkpoint(source.model, package.checkpoint)
    settings = read_config(source.config)
    wanted = settings.service
    if settings.compression.runtimes:
        evaluation = EvalReport.read(source.report("evaluation"))
        split = evaluation.split if evaluation else "test"
        export(model, data, to=package.checkpoint.exported, policy=settings.compression, split=split)
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
    _write_documents(package, source, data, card)
    seal(package)


def _write_documents(package: PackageLayout, source: Layout, data: DataLayout, card: PackageCard) -> None:
    """Requirements, bill of materials, provenance, and the documents for people."""
    from entityclip.model.onnx_runtime import decisions  # loads torch
    from entityclip.reports.cards import annex_iv, data_card, model_card

    pins, hashed, _ = package_requirements(package)
    package.requirements.write_text("\n".join(hashed or pins) + "\n", encoding="utf-8")
    model = read_card(package.checkpoint)
    package.sbom.write_text(sbom(card, hashed or pins, weights_sha256=model.weights_sha256))
    package.provenance.write_text(provenance(card, model, weights=package.checkpoint.weights.name), encoding="utf-8")
    shipped = [name for name, found in decisions(package.checkpoint.exported).items() if found.ships]
    decision = PromotionDecision.model_validate_json(source.report("promotion").read_bytes())
    evaluation = EvalReport.read(source.report("evaluation"))
    quality = QualityReport.read(source.report("quality"))
    runtimes: list[Runtime] = ["torch", *shipped]
    package.model_card.write_text(
        model_card(card, model, decision=decision, evaluation=evaluation, runtimes=runtimes), encoding="utf-8"
    )
    package.data_card.write_text(data_card(card, data, quality=quality), encoding="utf-8")
    package.technical_documentation.write_text(
        annex_iv(card, model, decision=decision, evaluation=evaluation, quality=quality, runtimes=runtimes),
        encoding="utf-8",
    )
