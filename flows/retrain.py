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
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.states import Cancelled
from pydantic import Field

from bentos.package import serve_command
from entityclip.errors import Busy, EntityClipError
from entityclip.examples import draw_examples
from entityclip.layout import Layout
from entityclip.presets import preset as named_preset
from entityclip.records import Record
from entityclip.report import RunFacts, StageFact, slice_table, write_report
from entityclip.train import read_config
from flows.data import Origin, Prepared, prepare_data
from flows.lease import alone
from flows.model import Learned, learn, losses
from flows.notify import tell_verdict
from flows.observe import observed
from flows.release import Released, release
from flows.triggers import due, settle
from flows.workspace import open_workspace

PresetName = Literal["demo", "grocery", "table", "tiny"]
SourceName = Literal["catalog", "grocery", "table"]
Device = Literal["cpu", "cuda"]


class Retrained(Record):
    """What one run of the main job did."""

    report: Path
    recall: str
    serve: str | None
    version: str | None
    stages: tuple[StageFact, ...]


@flow(name="retrain", log_prints=True, flow_run_name="retrain-{preset}")
def retrain(
    preset: PresetName = "demo",
    workspace: Path = Path("build/workspace"),
    source: SourceName | None = None,
    source_path: Path | None = None,
    mapping: Path | None = None,
    products: int | None = None,
    epochs: Annotated[int, Field(ge=1)] | None = None,
    device: Device = "cpu",
    config: Path | None = None,
) -> Retrained | State:
    """The whole way from a source to a served model. What was done before from the same inputs is reused.

    Args:
        preset: Source, splits and training settings to start from.
        workspace: Git and DVC repository that holds data, rules and models; made where there is none.
        source: Another source than the preset's.
        source_path: Folder or table of the source.
        mapping: YAML file that maps a table's columns.
        products: How many products to draw, for the built-in catalogue.
        epochs: Another number of epochs than the preset's.
        device: What to train on; evaluation and service stay on the CPU, so that their scores can be compared.
        config: JSON or YAML file with training settings in place of the preset's, as ``entityclip tune`` writes it.
    """
    settings = named_preset(preset)
    changes = {"device": device} if epochs is None else {"device": device, "epochs": epochs}
    train = settings.train if config is None else read_config(config)
    settings = settings.model_copy(update={"train": train.model_copy(update=changes)})
    layout = open_workspace(workspace)
    origin = Origin(source=source, path=source_path, mapping=mapping, products=products)
    try:
        with alone(layout), observed(layout, "retrain") as run:
            causes = due(layout)
            prepared = prepare_data(layout, settings, origin)
            run.data_hash = prepared.version.data_hash
            learned = learn(layout, settings.train, prepared.version.data_hash)
            released = release(layout, learned, prepared.version.data_hash, prepared.quality)
            settle(layout, causes)
            done = show(layout, prepared, learned, released)
            run.figures |= {("stage_seconds", stage.name): stage.seconds for stage in done.stages}
            return done
    except Busy as busy:
        return Cancelled(message=str(busy))  # dropped by policy: nothing has failed


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
    if not any(stage.name == "promote" and stage.reused for stage in stages):
        tell_verdict(layout, released.decision, version=released.release.version if released.release else None)
    create_link_artifact(key="report", link=run.report.as_uri(), link_text="The run's page: recall, loss, hits, misses")
    return Retrained(
        report=run.report,
        recall=slice_table(learned.evaluation),
        serve=serve,
        version=released.release.version if released.release else None,
        stages=stages,
    )


# ---------------------------------------------------------------- by hand
def main(
    workspace: Annotated[
        Path, typer.Option(help="Git and DVC repository for data, rules and models; made where there is none.")
    ],
    preset: Annotated[PresetName, typer.Option(help="Source, splits and training settings to start from.")] = "demo",
    source: Annotated[SourceName | None, typer.Option(help="Another source than the preset's.")] = None,
    source_path: Annotated[Path | None, typer.Option(help="Folder or table of the source.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML file that maps a table's columns; see docs.")] = None,
    products: Annotated[int | None, typer.Option(help="Products to draw, for the built-in catalogue.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    device: Annotated[Device, typer.Option(help="What to train on.")] = "cpu",
    config: Annotated[Path | None, typer.Option(help="File of training settings in place of the preset's.")] = None,
) -> None:
    """Ingest, explain, validate, version, train, evaluate, promote, package and smoke-test, in one go.

    A second run with the same inputs reuses what it can prove to be intact; a run that was killed goes on.
    The last line is one JSON object: seconds, reused, report.
    """
    started = time.monotonic()
    _speak_plainly()
    try:
        done = retrain(preset, workspace, source, source_path, mapping, products, epochs, device, config)
    except (EntityClipError, CancelledRun) as error:
        name = "Busy" if isinstance(error, CancelledRun) else type(error).__name__
        print(f"\n{name}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    finally:
        logging.getLogger("prefect").setLevel(logging.WARNING)  # the last line is ours
    assert isinstance(done, Retrained)  # a state comes back as an error
    for stage in done.stages:
        print(f"{stage.name:10} {'reused: ' + stage.reason if stage.reused else f'{stage.seconds:.1f} s'}")
    print(f"\n{done.recall}\n\nThe champion is {done.version or 'nobody yet'}.")
    print(f"Report: {done.report}\n\nServe the champion, and ask it:\n{done.serve or '(no champion)'}\n")
    reused = [stage.name for stage in done.stages if stage.reused]
    print(json.dumps({"seconds": round(time.monotonic() - started, 1), "reused": reused, "report": str(done.report)}))


def _speak_plainly() -> None:
    """An error of ours explains itself: Prefect logs it without a traceback."""

    def plain(record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], EntityClipError):
            record.exc_info = None
        return True

    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(plain)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(main)
    app()
