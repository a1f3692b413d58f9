"""``entityclip run``: the whole pipeline by hand, or a plan of it."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entityclip.cli.options import Mapping, Products, SourcePath
from entityclip.errors import Busy, EntityClipError
from flows.cli.options import OnlyJson
from flows.workspace.source import Device, Origin, PresetName, SourceName

if TYPE_CHECKING:
    from flows.steps.run_report import Retrained


def run(
    workspace: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Git and DVC repository for data, rules and models; made if it is missing."),
    ],
    preset: Annotated[
        PresetName | None,
        typer.Option(help="Source, splits and training settings to start from; a new workspace needs it or --source."),
    ] = None,
    source: Annotated[SourceName | None, typer.Option(help="Another source than the preset's.")] = None,
    source_path: SourcePath = None,
    mapping: Mapping = None,
    products: Products = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Budget of the training: as many epochs as fit into it.")
    ] = None,
    device: Annotated[Device, typer.Option(help="What to train on.")] = "cpu",
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that train together: a GPU each, or sharing the CPU's cores.")
    ] = 1,
    config: Annotated[Path | None, typer.Option(help="File of training settings in place of the preset's.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print for each step whether it would run, and why; do nothing.")
    ] = False,
    replace_source: Annotated[
        bool, typer.Option("--replace-source", help="Replace the workspace's data by those of another source.")
    ] = False,
    only_json: OnlyJson = False,
) -> None:
    """Ingest, explain, validate, version, train, evaluate, promote, package and smoke-test, in one go.

    The workspace remembers its source at the first run; later runs need only --workspace. A second run with the same
    inputs reuses the steps whose results are intact, and a run that was killed continues. The last line is one JSON
    object: seconds, reused, report; with --dry-run, would_run and would_reuse.

    \b
    Example:
      entityclip run --workspace shop-search --source table --source-path shop/ --mapping shop.yaml --minutes 10
      entityclip run --workspace shop-search --dry-run
      entityclip run --workspace shop-search
      entityclip run --workspace shop-search --device cuda --processes 4
    """
    origin = Origin(preset=preset, source=source, path=source_path, mapping=mapping, products=products)
    settings = {"epochs": epochs, "minutes": minutes, "device": device, "config": config}
    if dry_run:
        _print_plan(workspace, origin, settings, replace=replace_source, only_json=only_json)
        return
    _require_source(workspace, origin, replace=replace_source)
    _run(
        only_json,
        workspace=workspace,
        preset=preset,
        source=source,
        source_path=source_path,
        mapping=mapping,
        products=products,
        replace_source=replace_source,
        processes=processes,
        **settings,
    )


def demo(
    workspace: Annotated[Path, typer.Option(metavar="DIR", help="Made if it is missing.")] = Path("entityclip-demo"),
    only_json: OnlyJson = False,
) -> None:
    """The main job on a built-in catalogue of drawn products: from pictures to a model that can be served.

    It takes four to seven minutes on two cores, needs no network, and is ``entityclip run --preset demo``.

    \b
    Example:
      entityclip demo
      entityclip up --workspace entityclip-demo
    """
    _require_source(workspace, Origin(preset="demo"), replace=False)
    _run(only_json, workspace=workspace, preset="demo")


def _run(only_json: bool, **parameters: Any) -> None:
    """Run the pipeline and print what it did."""
    started = time.monotonic()
    done = _retrain(**parameters)
    if not only_json:
        _print_result(done)
    reused = [stage.name for stage in done.stages if stage.reused]
    answer = {"seconds": round(time.monotonic() - started, 1), "reused": reused, "report": str(done.report)}
    typer.echo(json.dumps(answer))


def _require_source(workspace: Path, named: Origin, *, replace: bool) -> None:
    """A mistyped path is an error at once, before a server starts."""
    from entityclip.paths import Layout
    from flows.workspace.create import require_usable
    from flows.workspace.source import source_for

    require_usable(layout := Layout(workspace.resolve()))
    source_for(layout, named, replace=replace).require_paths(layout)


def _print_result(done: Retrained) -> None:
    for stage in done.stages:
        typer.echo(f"{stage.name:10} {'reused: ' + stage.reason if stage.reused else f'{stage.seconds:.1f} s'}")
    typer.echo(f"\n{done.recall}\n\nThe champion is {done.version or 'not chosen yet'}.")
    if done.refused:
        typer.echo("\n".join(["The model of this run was refused:", *(f"- {reason}" for reason in done.refused)]))
    typer.echo(f"Report: {done.report}\n")
    if done.serve:
        typer.echo(f"Serve the champion and query it:\n{done.serve}\n")


def _retrain(**parameters: Any) -> Retrained:
    """The flow with a Prefect server: a configured one, or one that starts while the steps are imported."""
    from prefect.exceptions import CancelledRun

    from flows.platform.ephemeral_server import begin
    from flows.retrain import retrain

    suppress_tracebacks()
    try:
        with begin() as server_answers:
            import flows.steps.release  # noqa: F401 - loads PyTorch while the server starts
            from flows.steps.run_report import Retrained

            server_answers()
            done = retrain(**parameters)
    except CancelledRun as cancelled:  # another run is at work, and `runs.when_busy` says not to wait
        raise Busy(str(cancelled)) from None
    finally:
        logging.getLogger("prefect").setLevel(logging.WARNING)  # the last line is ours
    assert isinstance(done, Retrained)  # a state is raised as an error
    return done


def _print_plan(workspace: Path, named: Origin, overrides: dict[str, Any], *, replace: bool, only_json: bool) -> None:
    """A line for each step, then one JSON object: would_run, would_reuse."""
    from entityclip.paths import Layout
    from flows.retrain import settings_of
    from flows.steps.plan import plan
    from flows.workspace.source import source_for

    layout = Layout(workspace.resolve())
    origin = source_for(layout, named, replace=replace)
    steps = plan(layout, settings_of(origin.preset, layout, **overrides), origin)
    for step in () if only_json else steps:
        typer.echo(f"{step.name:10} {'reused' if step.reused else 'runs'}: {step.reason}")
    names = {verdict: [step.name for step in steps if step.reused is verdict] for verdict in (False, True)}
    typer.echo(json.dumps({"would_run": names[False], "would_reuse": names[True]}))


def suppress_tracebacks() -> None:
    """Let Prefect log this project's own errors without a traceback: their messages are complete."""

    def plain(record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], EntityClipError):
            record.exc_info = None
        return True

    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(plain)
