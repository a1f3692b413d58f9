"""The main job: ingest -> explain -> validate -> version -> train -> evaluate -> promote -> package -> smoke test.

By hand: ``python -m flows.retrain --preset demo --workspace DIR``. On a schedule: see ``prefect.yaml``.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from prefect import flow, task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from bentos.package import serve_command
from entityclip.errors import EntityClipError
from entityclip.examples import draw_examples
from entityclip.layout import Layout
from entityclip.presets import preset as named_preset
from entityclip.records import Record
from entityclip.report import RunFacts, StageFact, slice_table, write_report
from flows.data import Origin, Prepared, prepare_data
from flows.model import Learned, learn, losses
from flows.release import Released, release
from flows.workspace import open_workspace

PresetName = Literal["demo", "grocery", "table", "tiny"]
SourceName = Literal["catalog", "grocery", "table"]


class Retrained(Record):
    """What one run of the main job did."""

    report: Path
    recall: str
    serve: str | None
    promoted: bool
    version: str | None
    stages: tuple[StageFact, ...]


@flow(name="retrain", log_prints=True, flow_run_name="retrain-{preset}")
def retrain(
    preset: PresetName = "demo",
    workspace: Path = Path(),
    source: SourceName | None = None,
    source_path: Path | None = None,
    mapping: Path | None = None,
    products: int | None = None,
    epochs: int | None = None,
) -> Retrained:
    """The whole way from a source to a served model. What was done before from the same inputs is reused.

    Args:
        preset: Source, splits and training settings to start from.
        workspace: Git and DVC repository that holds data, rules and models; made where there is none.
        source: Another source than the preset's.
        source_path: Folder or table of the source.
        mapping: YAML file that maps a table's columns.
        products: How many products to draw, for the built-in catalogue.
        epochs: Another number of epochs than the preset's.
    """
    settings = named_preset(preset)
    if epochs is not None:
        train = settings.train.model_copy(update={"epochs": epochs})
        settings = settings.model_copy(update={"train": train})
    layout = open_workspace(workspace)
    origin = Origin(source=source, path=source_path, mapping=mapping, products=products)
    prepared = prepare_data(layout, settings, origin)
    learned = learn(layout, settings.train, prepared.version.data_hash)
    released = release(layout, learned, prepared.version.data_hash, prepared.quality)
    return show(layout, prepared, learned, released)


@task(cache_policy=NO_CACHE)
def show(layout: Layout, prepared: Prepared, learned: Learned, released: Released) -> Retrained:
    """The page for people, and what the last lines say."""
    import pandas as pd

    run = layout.run(learned.run)
    stages = (*prepared.stages, *learned.stages, *released.stages)
    queries = pd.read_parquet(run.queries)
    serve = serve_command(released.bento) if released.bento else None
    write_report(
        run.report,
        facts=RunFacts(
            finished=datetime.now(UTC),
            stages=stages,
            data_hash=prepared.version.data_hash,
            model_fingerprint=learned.card.fingerprint,
        ),
        ingest=prepared.ingest,
        quality=prepared.quality,
        evaluation=learned.evaluation,
        queries=queries,
        losses=losses(run),
        examples=draw_examples(queries, layout.data, split=learned.evaluation.split),
        decision=released.decision,
        release=released.release,
        commands={"Serve the champion, then ask it": serve} if serve else {},
    )
    create_link_artifact(key="report", link=run.report.as_uri(), link_text="The run's page: recall, loss, hits, misses")
    return Retrained(
        report=run.report,
        recall=slice_table(learned.evaluation),
        serve=serve,
        promoted=released.decision.promoted,
        version=released.release.version if released.release else None,
        stages=stages,
    )


# ---------------------------------------------------------------- by hand
def main(
    preset: Annotated[PresetName, typer.Option(help="Source, splits and training settings to start from.")] = "demo",
    workspace: Annotated[
        Path, typer.Option(help="Git and DVC repository for data, rules and models; made where there is none.")
    ] = Path(),
    source: Annotated[SourceName | None, typer.Option(help="Another source than the preset's.")] = None,
    source_path: Annotated[Path | None, typer.Option(help="Folder or table of the source.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML file that maps a table's columns; see docs.")] = None,
    products: Annotated[int | None, typer.Option(help="Products to draw, for the built-in catalogue.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
) -> None:
    """Ingest, explain, validate, version, train, evaluate, promote, package and smoke-test, in one go.

    A second run with the same inputs reuses what it can prove to be intact; a run that was killed goes on.
    The last line is one JSON object: seconds, reused, report.
    """
    started = time.monotonic()
    try:
        done = retrain(preset, workspace, source, source_path, mapping, products, epochs)
    except EntityClipError as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    logging.getLogger("prefect").setLevel(logging.WARNING)  # the last line is ours
    for stage in done.stages:
        print(f"{stage.name:10} {'reused: ' + stage.reason if stage.reused else f'{stage.seconds:.1f} s'}")
    print(f"\n{done.recall}\n\nThe champion is {done.version or 'nobody yet'}.")
    print(f"Report: {done.report}\n\nServe the champion, and ask it:\n{done.serve or '(no champion)'}\n")
    reused = [stage.name for stage in done.stages if stage.reused]
    print(json.dumps({"seconds": round(time.monotonic() - started, 1), "reused": reused, "report": str(done.report)}))


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(main)
    app()
