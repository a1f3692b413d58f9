"""What runs on this machine: ``up``, ``down``, ``serve``, ``deploy``, ``doctor`` and ``notify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line
from entityclip.paths import Layout
from flows.cli.options import JsonLines, Workspace


def up(
    workspace: Workspace,
    port: Annotated[int, typer.Option(help="Port of the Prefect server, on this machine only.")] = 4200,
    service_port: Annotated[int, typer.Option(help="Port of the service, on this machine only.")] = 3000,
    as_json: Json = False,
) -> None:
    """Start a Prefect server, a worker, the schedules and the champion's service; what runs already is left alone.

    \b
    Example:
      entityclip up --workspace shop-search
    """
    from flows.platform.local_stack import up as start
    from flows.workspace.create import open_workspace

    lines = start(open_workspace(workspace), port=port, service_port=service_port)
    typer.echo("\n".join(lines))
    last_line({"parts": lines}, as_json)


def down(workspace: Workspace, as_json: Json = False) -> None:
    """Stop what 'up' started.

    \b
    Example:
      entityclip down --workspace shop-search
    """
    from flows.platform.local_stack import down as stop

    lines = stop(Layout(workspace.resolve()))
    typer.echo("\n".join(lines))
    last_line({"parts": lines}, as_json)


def serve(
    workspace: Workspace,
    host: Annotated[str, typer.Option(help="Address to listen on; every address requires keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Serve the champion in the foreground, for a container or a supervisor. Later champions replace it in place.

    \b
    Example:
      entityclip serve --workspace shop-search --port 3000
    """
    from flows.platform.serve import serve as become_server

    become_server(Layout(workspace.resolve()), host=host, port=port)


def deploy(workspace: Workspace) -> None:
    """Give the deployments of prefect.yaml to the Prefect server of PREFECT_API_URL, in the workspace's time zone.

    \b
    Example:
      entityclip deploy --workspace shop-search
    """
    from flows.platform.deployments import deploy as give

    give(Layout(workspace.resolve()))


def doctor(
    workspace: Annotated[
        Path, typer.Option(metavar="DIR", help="Git and DVC repository to check; it need not exist yet.")
    ] = Path(),
    as_json: JsonLines = False,
) -> None:
    """Check Python, versions, Git, the DVC remote, Prefect, GPU, disk and the LLM server; print remedies.

    Exit code 1 if something is wrong.

    \b
    Example:
      entityclip doctor --workspace shop-search
    """
    from flows.platform.doctor import examine

    findings = examine(Layout(workspace.resolve()))
    for finding in findings:
        remedy = f"\n{'':20}-> {finding.remedy}" if finding.remedy and finding.state != "fine" else ""
        typer.echo(
            finding.model_dump_json() if as_json else f"{finding.state:6} {finding.what:12} {finding.saw}{remedy}"
        )
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


def notify(
    block: Annotated[str, typer.Option(help="A notification block that Prefect knows: TYPE/NAME.")],
    as_json: Json = False,
) -> None:
    """Send failures, crashes, promotion decisions and reasons to retrain to a notification block.

    \b
    Example:
      entityclip notify --block slack-webhook/ops
    """
    from flows.platform.ephemeral_server import begin
    from flows.platform.notifications import subscribe

    with begin() as server_answers:
        server_answers()
        names = subscribe(block)
    typer.echo("\n".join(names))
    last_line({"automations": names}, as_json)
