"""``monitor`` and ``feedback`` by hand; Prefect runs both on a schedule, see ``prefect.yaml``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from entityclip.paths import Layout
from flows.cli.options import OnlyJson, State, Workspace

if TYPE_CHECKING:
    from entityclip.monitoring.drift import DriftReport


def monitor(workspace: Workspace, state: State = None, only_json: OnlyJson = False) -> None:
    """Compare what the service receives with its data once. The last line is one JSON object.

    \b
    Example:
      entityclip monitor --workspace shop-search
    """
    from flows.monitor import monitor as flow
    from flows.platform.ephemeral_server import begin

    with begin() as server_answers:
        server_answers()
        report = flow(workspace, state)
    if report is None:
        typer.echo(json.dumps({"drifted": [], "page": None}))
        return
    if not only_json:
        _print_tests(report)
    page = Layout(workspace.resolve()).watch(report.release).page
    typer.echo(json.dumps({"drifted": report.drifted, "page": str(page)}))


def _print_tests(report: DriftReport) -> None:
    for test in report.tests:
        typer.echo(f"{test.what:12} {test.value:.2f} of {test.limit:.2f}  {'drifted' if test.drifted else 'as before'}")
    for why in report.untested:
        typer.echo(f"not tested: {why}")


def feedback(workspace: Workspace, state: State = None, only_json: OnlyJson = False) -> None:
    """Ingest once what people judged and which products they changed in service. The last line is one JSON object.

    \b
    Example:
      entityclip feedback --workspace shop-search
    """
    from flows.feedback import feedback as flow
    from flows.platform.ephemeral_server import begin

    with begin() as server_answers:
        server_answers()
        gathered = flow(workspace, state)
    if not only_json:
        typer.echo(f"{gathered.taken:,} new judgements; {gathered.waiting:,} accepted pictures wait for a retraining")
        if gathered.products.sentence:
            typer.echo(gathered.products.sentence)
    typer.echo(gathered.model_dump_json())
