"""The data half of the main job: ingest, explain, validate, version."""

from __future__ import annotations

import json
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

import expectations
import expectations.check as gate
from entityclip.errors import GateRefused
from entityclip.explain import open_writer
from entityclip.explain.stage import explain
from entityclip.explain.writer import Writer
from entityclip.ingest import ingest
from entityclip.layout import Layout
from entityclip.pairs import digest, sources_hash
from entityclip.presets import Preset
from entityclip.records import DataVersion, IngestReport, QualityReport, Record
from entityclip.report import StageFact
from entityclip.review import read_reviews, waived
from entityclip.rights import read_rights
from entityclip.sources import open_source
from entityclip.sources.joined import with_feedback
from entityclip.sources.source import Source
from entityclip.train import code_hash
from entityclip.workspace import read_config
from flows.artifacts import show_quality
from flows.judges import judges
from flows.reentry import ask_again, merge_reviews, to_write_again, told
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
def explain_entities(layout: Layout, writer: Writer) -> int:
    """A text for every entity, by the writer, through the ledger."""
    rights = read_rights(layout.pairs_suite)
    return explain(layout.staging, writer=writer, ledger=layout.ledger, rights=rights, progress=True)


@task(cache_policy=NO_CACHE)
def validate_batch(layout: Layout, batch: str) -> QualityReport:
    """Staging -> accepted and quarantine, by the suites in ``expectations/``."""
    quarantine = layout.quarantine(batch)
    report = gate.check(
        layout.staging,
        accepted=layout.accepted,
        quarantine=quarantine,
        context_root=layout.expectations,
        judges=judges(layout),
        waived=waived(read_reviews(layout.reviews)),
    )
    show_quality(report)
    skipped = {rule.rule: rule.skipped for rule in report.rules if rule.skipped}
    for name, why in skipped.items():
        get_run_logger().warning("rule %s was skipped: %s", name, why)
    return report


@task(cache_policy=NO_CACHE)
def require_accepted(layout: Layout, report: QualityReport) -> None:
    """Fail the run with the reason where the batch was refused; else its report is what the workspace shows."""
    if report.refused:
        raise GateRefused(f"the batch was refused: {report.refusal}; see {report.quarantine_file or report.data_docs}")
    report.portable(layout.root).write(layout.report("quality"))


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def version_accepted(layout: Layout, *, message: str) -> DataVersion:
    """Accepted -> data/, DVC, a commit, pushed. Tried again, since a remote may be away for a moment."""
    return version_data(layout, layout.accepted, message=message, together_with=[layout.soundness])


@flow(name="prepare-data", flow_run_name="data-{preset.name}")
def prepare_data(layout: Layout, preset: Preset, origin: Origin) -> Prepared:
    """Bring the source's rows through the gate into a version of ``data/``; unchanged inputs reuse the version."""
    written_by = read_config(layout.config).explain
    clock, writer = Clock(), open_writer(written_by, ledger=layout.ledger)
    with clock.stage("source"):
        source = open_source(
            origin.source or preset.source,
            layout=layout,
            path=origin.path,
            mapping=origin.mapping,
            products=origin.products,
            progress=True,
        )
        source = with_feedback(source, layout.feedback)
        key = digest(_key(source, preset, layout), writer.generator, written_by.model_dump_json())
        kept = _kept(layout, key)
    if kept is not None:
        reason = f"same rows, rules and code; every file of data/ hashes to {kept.version.data_hash[:12]}"
        return kept.model_copy(update={"stages": clock.reused(("ingest", "explain", "validate", "version"), reason)})
    with clock.stage("ingest"):
        ingested = ingest_source(source, preset, layout, key)
    with clock.stage("explain"):
        explain_entities(layout, writer)
        merged = merge_reviews(layout)
    with clock.stage("validate"):
        quality = validate_batch(layout, key)
    again = 0
    if to_write_again(layout, key, writer):
        with clock.stage("ask again"):
            again = ask_again(layout, key, writer)
            merged = merged + merge_reviews(layout)
            quality = validate_batch(layout, key)
    require_accepted(layout, quality)
    with clock.stage("version"):
        version = version_accepted(layout, message=told(source.name, quality, merged, again))
    prepared = Prepared(key=key, ingest=ingested, quality=quality, version=version, stages=clock.facts)
    prepared.write(layout.receipt("data"))
    return prepared


# ---------------------------------------------------------------- reuse
def _key(source: Source, preset: Preset, layout: Layout) -> str:
    """Hash of everything that decides the data: rows, splits, rules, people's decisions, code."""
    splits = json.dumps([preset.val_share, preset.test_share, preset.entity_holdout])
    code = [code_hash(), sources_hash(Path(expectations.__file__).parent)]
    reviews = layout.reviews.read_bytes() if layout.reviews.exists() else b""
    return digest(source.fingerprint(), splits, gate.suite_hash(layout.expectations), reviews, *code)


def _kept(layout: Layout, key: str) -> Prepared | None:
    """What an earlier run prepared from the same inputs, if its data are still there, byte for byte."""
    kept = Prepared.read(layout.receipt("data"))
    return kept if kept and kept.key == key and data_current(layout, kept.version.data_hash) else None
