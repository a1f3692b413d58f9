"""First part of the retraining: ingest, explain, validate, version."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

import expectations
import expectations.check as gate
from entityclip.data.cache_key import Inputs
from entityclip.data.erasure import read_erasures
from entityclip.data.ingest import ingest
from entityclip.data.label_cache import LabelCache
from entityclip.data.labels import LabelReader, reader_version, require_reader
from entityclip.data.pairs import digest, sources_hash
from entityclip.data.rights import read_rights
from entityclip.data.sources.base import Source
from entityclip.data.sources.erased import without_erased
from entityclip.data.sources.with_feedback import with_feedback
from entityclip.data.split_shares import SplitShares
from entityclip.errors import GateRefused
from entityclip.explanations import open_writer
from entityclip.explanations.config import TransformersConfig, WriterConfig
from entityclip.explanations.openai_client import require_server
from entityclip.explanations.pii import without_personal_data
from entityclip.explanations.source_writer import Writer
from entityclip.explanations.stage import explain, rejections
from entityclip.explanations.work_items import Requests
from entityclip.paths import Layout
from entityclip.quality.review import read_reviews, waived
from entityclip.reports.run_report import StageFact
from entityclip.schemas import DataVersion, IngestReport, LabelCounts, QualityReport, Record
from entityclip.settings import GatePolicy, LabelPolicy, WorkspaceConfig, read_config
from entityclip.training import code_hash
from entityclip.training.presets import Preset
from expectations.refusal import explain_refusal
from flows.platform.dask_executor import distributed_writer, mapper
from flows.steps.artifacts import show_quality
from flows.steps.quality_gate_models import gate_scorers
from flows.steps.reprocess_quarantine import (
    ask_again,
    contributions,
    correct_colours,
    merge_reviews,
    summary,
    to_write_again,
)
from flows.steps.sealed import sealed_share
from flows.steps.stage_timer import StageTimer
from flows.workspace.source import WorkspaceSource, remember
from flows.workspace.versions import data_flaw, version_data


class Prepared(Record):
    """A data version that passed the gate, with the reports of its stages."""

    inputs: Inputs
    ingest: IngestReport
    quality: QualityReport
    version: DataVersion
    stages: tuple[StageFact, ...] = ()


@task(cache_policy=NO_CACHE)
def ingest_source(source: Source, preset: Preset, layout: Layout, batch: str) -> IngestReport:
    """Copy pictures and texts of the source to staging; list unusable rows in rejected.csv."""
    report = ingest(
        source,
        staging=layout.staging,
        rejected=layout.rejected(batch),
        shares=split_shares(layout, preset, source),
    )
    get_run_logger().info("%s pairs, %s entities, %s rejected", report.pairs, report.entities, report.rejected)
    if near := report.near_duplicates.sentence():
        get_run_logger().info("%s", near)
    return report


@task(cache_policy=NO_CACHE)
def read_staged_labels(layout: Layout) -> LabelCounts:
    """Read what is printed on the pictures in staging; a picture that was read before is not read again."""
    from entityclip.retrieval.picture_labels import read_labels  # loads torch

    most = read_config(layout.config).labels.pictures_per_entity
    with LabelCache(layout.labels, screen=without_personal_data) as cache:
        counts = read_labels(layout.staging, LabelReader, cache, most=most, progress=True)
    get_run_logger().info("labels: %s", counts.sentence())
    return counts


@task(cache_policy=NO_CACHE)
def explain_entities(layout: Layout, writer: Writer) -> int:
    """Generate an explanation for every entity, with the writer and the ledger."""
    rights, settings = read_rights(layout.pairs_suite), read_config(layout.config)
    with mapper(settings.runs) as map_shards:
        shared = distributed_writer(writer, settings.explain, ledger=layout.ledger, map_shards=map_shards)
        texts = explain(layout.staging, writer=shared, ledger=layout.ledger, rights=rights, progress=True)
    if settings.explain.writer != "source":
        requests = Requests(layout.staging, pictures=writer.sees_pictures, rights=rights)
        for why, times in rejections(requests, writer=writer, ledger=layout.ledger).most_common():
            get_run_logger().warning("%d replies of the writer were rejected: %s", times, why)
    return texts


@task(cache_policy=NO_CACHE)
def validate_batch(layout: Layout, batch: str, preset: Preset) -> QualityReport:
    """Split staging into accepted and quarantined rows by the suites in ``expectations/``."""
    quarantine = layout.quarantine(batch)
    report = gate.check(
        layout.staging,
        accepted=layout.accepted,
        quarantine=quarantine,
        context_root=layout.expectations,
        scorers=gate_scorers(layout, floors=preset.floors, judge_first_batch=preset.judge_first_batch),
        waived=waived(read_reviews(layout.reviews)),
    )
    report.portable(layout.root).write(layout.staging_quality)
    show_quality(report)
    skipped = {rule.rule: rule.skipped for rule in report.rules if rule.skipped}
    for name, why in skipped.items():
        get_run_logger().warning("rule %s was skipped: %s", name, why)
    return report


@task(cache_policy=NO_CACHE)
def require_accepted(layout: Layout, report: QualityReport) -> None:
    """Fail the run with the reason if the batch was refused; otherwise publish its report in the workspace."""
    if report.refused:
        raise GateRefused(explain_refusal(report, layout))
    report.portable(layout.root).write(layout.report("quality"))


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def version_accepted(layout: Layout, *, message: str) -> DataVersion:
    """Copy the accepted rows to data/, add them to DVC, push and commit. Retried once: a remote may be briefly down."""
    learned = [layout.text_quality, layout.claim_limits, layout.mined_attributes]
    return version_data(layout, layout.accepted, message=message, together_with=learned)


@flow(name="prepare-data", flow_run_name="data-{preset.name}")
def prepare_data(layout: Layout, preset: Preset, origin: WorkspaceSource) -> Prepared:
    """Turn the source's rows into a validated version of ``data/``; with unchanged inputs, reuse the version.

    The workspace remembers the source as soon as it can be read, even if the gate refuses its rows.
    """
    settings = read_config(layout.config)
    clock, writer = StageTimer(), open_writer(settings.explain, ledger=layout.ledger)
    if settings.gate.second_reader is not None:
        require_server(settings.gate.second_reader)
    with clock.stage("source"):
        source = source_of(layout, origin, progress=True)
        inputs = data_inputs(layout, preset, source, writer, settings)
        remember(layout, origin)
        kept, why = kept_data(layout, inputs)
    if kept is not None:
        return kept.model_copy(update={"stages": clock.reused(stages(layout), why)})
    get_run_logger().info("a new data version is needed: %s", why)
    key = inputs.key
    with clock.stage("ingest"):
        ingested = ingest_source(source, preset, layout, key)
    if settings.labels.read_at_ingest:
        with clock.stage("read labels"):
            read_staged_labels(layout)
    correcting = settings.gate.correct_colours and settings.explain.writer != "source"
    corrected = None
    with clock.stage("explain"):
        explain_entities(layout, writer)
        if correcting:
            corrected = correct_colours(layout)
        merged = merge_reviews(layout)
    with clock.stage("validate"):
        quality = validate_batch(layout, key, preset)
    again = 0
    if to_write_again(layout, key, writer):
        with clock.stage("ask again"):
            again = ask_again(layout, key, writer)
            if correcting:
                corrected = correct_colours(layout, corrected)
            merged = merged + merge_reviews(layout)
            quality = validate_batch(layout, key, preset)
    require_accepted(layout, quality)
    with clock.stage("version"):
        contributed = contributions(layout.accepted)
        mended = 0 if corrected is None else len(corrected)
        message = summary(source.name, quality, merged, again, corrected=mended, contributed=contributed)
        version = version_accepted(layout, message=message)
    prepared = Prepared(inputs=inputs, ingest=ingested, quality=quality, version=version, stages=clock.facts)
    prepared.write(layout.receipt("data"))
    return prepared


# ---------------------------------------------------------------- reuse
def stages(layout: Layout) -> tuple[str, ...]:
    """Names of the stages that make a data version, in order."""
    reading = ("read labels",) if read_config(layout.config).labels.read_at_ingest else ()
    return ("ingest", *reading, "explain", "validate", "version")


def source_of(layout: Layout, origin: WorkspaceSource, *, progress: bool) -> Source:
    """The source of the run, with ingested feedback and without erased rows."""
    source = with_feedback(origin.open(layout, progress=progress), layout.feedback)
    return without_erased(source, read_erasures(layout.erasures))


def split_shares(layout: Layout, preset: Preset, source: Source) -> SplitShares:
    """The preset's, with sealed pictures where the source is large enough (``sealed`` in ``entityclip.yaml``)."""
    return preset.shares(sealed=sealed_share(layout, pictures=len(source))[0])


def data_inputs(layout: Layout, preset: Preset, source: Source, writer: Writer, settings: WorkspaceConfig) -> Inputs:
    """The inputs that decide the data version: rows, splits, rules, reviews, writer, code, and reader of labels."""
    reviews = layout.reviews.read_bytes() if layout.reviews.exists() else b""
    return Inputs(
        parts={
            "the source's rows": source.fingerprint(),
            "the splits": split_shares(layout, preset, source).model_dump_json(),
            "the rules (suites)": gate.suite_hash(layout.expectations),
            "people's reviews": digest(reviews),
            "the writer": writer.generator,
            "the writer's settings": settings.explain.model_dump_json(),
            "the correction of colours": str(settings.gate.correct_colours),
            "the code of entityclip": code_hash(),
            "the code of the gate": sources_hash(Path(expectations.__file__).parent),
        }
        | reading_of(settings.labels)
        | examples_of(settings.explain)
        | second_reader_of(settings.gate)
    )


def second_reader_of(gate_policy: GatePolicy) -> dict[str, str]:
    """The second reader of claims as an input of the data version, where one is set."""
    reader = gate_policy.second_reader
    return {} if reader is None else {"the second reader of claims": reader.model_dump_json()}


def examples_of(explain: WriterConfig) -> dict[str, str]:
    """The content of the file of examples as an input of the data version, where the writer has one."""
    if not isinstance(explain, TransformersConfig) or explain.few_shot is None:
        return {}
    return {"the writer's examples": digest(explain.few_shot.read_bytes())}


def reading_of(labels: LabelPolicy) -> dict[str, str]:
    """The reader of labels as an input of the data version, where labels are read.

    Raises:
        ConfigError: They are to be read, and the extra ``labels`` is not installed.
    """
    if not labels.read_at_ingest:
        return {}
    require_reader()
    return {"the reading of labels": f"{reader_version()}, {labels.pictures_per_entity} pictures"}


def kept_data(layout: Layout, inputs: Inputs) -> tuple[Prepared | None, str]:
    """The data version of an earlier run with the same inputs and why it can be reused; otherwise None and why not."""
    kept = Prepared.read(layout.receipt("data"))
    why = inputs.changes(kept.inputs if kept else None) or (data_flaw(layout, kept.version.data_hash) if kept else "")
    if kept is None or why:
        return None, why
    return kept, f"same rows, rules and code; every file of data/ hashes to {kept.version.data_hash[:12]}"
