"""The data half of the main job: ingest, explain, validate, version."""

from __future__ import annotations

import json
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

import expectations
import expectations.check as gate
from entityclip.errors import GateRefused
from entityclip.explain.stage import explain
from entityclip.explain.writer import BroughtWriter
from entityclip.ingest import ingest
from entityclip.layout import Layout
from entityclip.pairs import digest, sources_hash
from entityclip.presets import Preset
from entityclip.records import DataVersion, IngestReport, QualityReport, Record
from entityclip.report import StageFact
from entityclip.sources import open_source
from entityclip.sources.source import Source
from entityclip.train import code_hash
from flows.artifacts import show_quality
from flows.stages import Clock
from flows.versioning import data_current, version_data


class Origin(Record):
    """Where pictures come from; what is None is decided by the preset."""

    source: str | None = None
    path: Path | None = None
    mapping: Path | None = None
    products: int | None = None


class Prepared(Record):
    """A data version that passed the gate, and how it came about."""

    key: str
    ingest: IngestReport
    quality: QualityReport
    version: DataVersion
    stages: tuple[StageFact, ...] = ()


@task(cache_policy=NO_CACHE)
def ingest_source(source: Source, preset: Preset, layout: Layout, batch: str) -> IngestReport:
    """Pictures and texts of the source -> staging; what cannot be used -> rejected.csv."""
    report = ingest(
        source,
        staging=layout.staging,
        rejected=layout.rejected(batch),
        val_share=preset.val_share,
        test_share=preset.test_share,
        entity_holdout=preset.entity_holdout,
    )
    get_run_logger().info("%s pairs, %s entities, %s rejected", report.pairs, report.entities, report.rejected)
    return report


@task(cache_policy=NO_CACHE)
def explain_entities(layout: Layout) -> int:
    """A text for every entity, by the writer, through the ledger."""
    return explain(layout.staging, writer=BroughtWriter(), ledger=layout.ledger, progress=True)


@task(cache_policy=NO_CACHE)
def validate_batch(layout: Layout, batch: str) -> QualityReport:
    """Staging -> accepted and quarantine, by the suites in ``expectations/``."""
    report = gate.check(
        layout.staging, accepted=layout.accepted, quarantine=layout.quarantine(batch), context_root=layout.expectations
    )
    show_quality(report)
    if report.refused:
        raise GateRefused(f"the batch was refused: {report.refusal}; see {report.quarantine_file or report.data_docs}")
    report.portable(layout.root).write(layout.report("quality"))
    return report


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def version_accepted(layout: Layout, *, message: str) -> DataVersion:
    """Accepted -> data/, DVC, a commit, pushed. Tried again, since a remote may be away for a moment."""
    return version_data(layout, layout.accepted, message=message)


@flow(name="prepare-data", flow_run_name="data-{preset.name}")
def prepare_data(layout: Layout, preset: Preset, origin: Origin) -> Prepared:
    """Bring the source's rows through the gate into a version of ``data/``; unchanged inputs reuse the version."""
    clock = Clock()
    with clock.stage("source"):
        source = open_source(
            origin.source or preset.source,
            layout=layout,
            path=origin.path,
            mapping=origin.mapping,
            products=origin.products,
            progress=True,
        )
        key = _key(source, preset, layout)
        kept = _kept(layout, key)
    if kept is not None:
        reason = f"same rows, rules and code; every file of data/ hashes to {kept.version.data_hash[:12]}"
        return kept.model_copy(update={"stages": clock.reused(("ingest", "explain", "validate", "version"), reason)})
    with clock.stage("ingest"):
        ingested = ingest_source(source, preset, layout, key)
    with clock.stage("explain"):
        explain_entities(layout)
    with clock.stage("validate"):
        quality = validate_batch(layout, key)
    with clock.stage("version"):
        version = version_accepted(layout, message=f"Data from {source.name}: {quality.accepted_pairs} pairs")
    prepared = Prepared(key=key, ingest=ingested, quality=quality, version=version, stages=clock.facts)
    prepared.write(layout.receipt("data"))
    return prepared


# ---------------------------------------------------------------- reuse
def _key(source: Source, preset: Preset, layout: Layout) -> str:
    """Hash of everything that decides the data: rows, splits, rules, code."""
    splits = json.dumps([preset.val_share, preset.test_share, preset.entity_holdout])
    code = [code_hash(), sources_hash(Path(expectations.__file__).parent)]
    return digest(source.fingerprint(), splits, gate.suite_hash(layout.expectations), *code)


def _kept(layout: Layout, key: str) -> Prepared | None:
    """What an earlier run prepared from the same inputs, if its data are still there, byte for byte."""
    kept = Prepared.read(layout.receipt("data"))
    return kept if kept and kept.key == key and data_current(layout, kept.version.data_hash) else None
