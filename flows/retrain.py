"""The main job: ingest -> explain -> validate -> version -> train -> evaluate -> promote -> package -> smoke test.

By hand: ``python -m flows.retrain --preset demo --workspace DIR``. On a schedule: see ``prefect.yaml``.
What loads torch is imported where it is used: by hand, the temporary server starts meanwhile.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from prefect import flow
from prefect.exceptions import CancelledRun
from prefect.runtime import flow_run
from prefect.states import Cancelled
from pydantic import Field

from entityclip.errors import Busy, EntityClipError
from entityclip.paths import Layout
from flows.workspace.source import Origin, source_for

if TYPE_CHECKING:
    from entityclip.training.presets import Preset
    from flows.steps.run_report import Retrained
    from flows.workspace.source import WorkspaceSource

PresetName = Literal["demo", "grocery", "table", "tiny"]
SourceName = Literal["catalog", "grocery", "table"]
Device = Literal["cpu", "cuda"]


def _run_name() -> str:
    return f"retrain-{flow_run.parameters.get('preset') or Path(flow_run.parameters['workspace']).name}"


@flow(name="retrain", log_prints=True, flow_run_name=_run_name)
def retrain(
    preset: PresetName | None = None,
    workspace: Path = Path("build/workspace"),
    source: SourceName | None = None,
    source_path: Path | None = None,
    mapping: Path | None = None,
    products: int | None = None,
    epochs: Annotated[int, Field(ge=1)] | None = None,
    device: Device = "cpu",
    config: Path | None = None,
    replace_source: bool = False,
) -> Any:
    """The whole way from a source to a served model. What was done before from the same inputs is reused.

    The workspace remembers preset, source, path, mapping and products of its first run; what is left out is as
    remembered.

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
        replace_source: Replace the workspace's data by those of another source; without it such a run is refused.

    Returns:
        Retrained; a cancelled state where another run was at work and this one did not wait.
    """
    from flows.platform.orphaned_runs import register_run
    from flows.platform.telemetry import observed
    from flows.steps.data import prepare_data
    from flows.steps.model import learn
    from flows.steps.release import release
    from flows.steps.run_report import show
    from flows.workspace.create import open_workspace, require_usable
    from flows.workspace.locks import workspace_lock
    from flows.workspace.triggers import due, resolve

    require_usable(layout := Layout(workspace.resolve()))
    named = Origin(preset=preset, source=source, path=source_path, mapping=mapping, products=products)

    def chosen() -> tuple[WorkspaceSource, Preset]:
        origin = source_for(layout, named, replace=replace_source)
        return origin, settings_of(origin.preset, epochs=epochs, device=device, config=config)

    chosen()  # what is refused makes no workspace
    register_run(layout)
    layout = open_workspace(workspace)
    try:
        with workspace_lock(layout), observed(layout, "retrain") as run:
            origin, settings = chosen()  # again: another first run may have ended meanwhile
            causes = due(layout)
            prepared = prepare_data(layout, settings, origin)
            run.data_hash = prepared.version.data_hash
            learned = learn(layout, settings.train, prepared.version.data_hash)
            released = release(layout, learned, prepared.version.data_hash, prepared.quality, floors=settings.floors)
            resolve(layout, causes)
            done = show(layout, prepared, learned, released)
            run.figures |= {("stage_seconds", stage.name): stage.seconds for stage in done.stages}
            return done
    except Busy as busy:
        return Cancelled(message=str(busy))  # dropped by policy: nothing has failed


def settings_of(preset: str, *, epochs: int | None, device: Device, config: Path | None) -> Preset:
    """The preset with what was asked for instead; arguments as of ``retrain``."""
    from entityclip.training import read_config
    from entityclip.training.presets import preset as named_preset

    settings = named_preset(preset)
    train = settings.train if config is None else read_config(config)
    return settings.model_copy(update={"train": train.changed(epochs=epochs, device=device)})


# ---------------------------------------------------------------- by hand
def main(
    workspace: Annotated[
        Path, typer.Option(help="Git and DVC repository for data, rules and models; made where there is none.")
    ],
    preset: Annotated[
        PresetName | None,
        typer.Option(help="Source, splits and training settings to start from; needed in a new workspace."),
    ] = None,
    source: Annotated[SourceName | None, typer.Option(help="Another source than the preset's.")] = None,
    source_path: Annotated[Path | None, typer.Option(help="Folder or table of the source.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML file that maps a table's columns; see docs.")] = None,
    products: Annotated[int | None, typer.Option(help="Products to draw, for the built-in catalogue.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    device: Annotated[Device, typer.Option(help="What to train on.")] = "cpu",
    config: Annotated[Path | None, typer.Option(help="File of training settings in place of the preset's.")] = None,
    explain_cache: Annotated[
        bool, typer.Option("--explain-cache", help="Say for each step whether it would run, and why; do nothing.")
    ] = False,
    replace_source: Annotated[
        bool, typer.Option("--replace-source", help="Replace the workspace's data by those of another source.")
    ] = False,
) -> None:
    """Ingest, explain, validate, version, train, evaluate, promote, package and smoke-test, in one go.

    The workspace remembers its source at the first run; later ones need no more than --workspace.
    A second run with the same inputs reuses what it can prove to be intact; a run that was killed goes on.
    The last line is one JSON object: seconds, reused, report.
    """
    started = time.monotonic()
    try:
        if explain_cache:
            layout = Layout(workspace.resolve())
            named = Origin(preset=preset, source=source, path=source_path, mapping=mapping, products=products)
            origin = source_for(layout, named, replace=replace_source)
            print_plan(settings_of(origin.preset, epochs=epochs, device=device, config=config), layout, origin)
            return
        done = _run(preset, workspace, source, source_path, mapping, products, epochs, device, config, replace_source)
    except (EntityClipError, CancelledRun) as error:
        name = "Busy" if isinstance(error, CancelledRun) else type(error).__name__
        print(f"\n{name}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for stage in done.stages:
        print(f"{stage.name:10} {'reused: ' + stage.reason if stage.reused else f'{stage.seconds:.1f} s'}")
    print(f"\n{done.recall}\n\nThe champion is {done.version or 'nobody yet'}.")
    if done.refused:
        print("\n".join(["The model of this run was refused:", *(f"- {reason}" for reason in done.refused)]))
    print(f"Report: {done.report}\n")
    if done.serve:
        print(f"Serve the champion, and ask it:\n{done.serve}\n")
    reused = [stage.name for stage in done.stages if stage.reused]
    print(json.dumps({"seconds": round(time.monotonic() - started, 1), "reused": reused, "report": str(done.report)}))


def _run(*arguments: Any) -> Retrained:
    """The flow with a server for it: a configured one, or one of its own that starts while the steps are loaded."""
    from flows.platform.ephemeral_server import begin

    suppress_tracebacks()
    try:
        with begin() as server_answers:
            from flows.steps.run_report import Retrained

            server_answers()
            done = retrain(*arguments)
    finally:
        logging.getLogger("prefect").setLevel(logging.WARNING)  # the last line is ours
    assert isinstance(done, Retrained)  # a state comes back as an error
    return done


def print_plan(settings: Preset, layout: Layout, origin: WorkspaceSource) -> None:
    """A line for each step, then one JSON object: would_run, would_reuse."""
    from flows.steps.plan import plan

    steps = plan(layout, settings, origin)
    for step in steps:
        print(f"{step.name:10} {'reused' if step.reused else 'runs'}: {step.reason}")
    names = {verdict: [step.name for step in steps if step.reused is verdict] for verdict in (False, True)}
    print(json.dumps({"would_run": names[False], "would_reuse": names[True]}))


def suppress_tracebacks() -> None:
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
