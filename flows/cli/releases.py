"""Releases by hand: ``history``, ``rollback``, ``approve`` and ``collect``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line
from entityclip.errors import ConfigError
from entityclip.paths import Layout
from flows.cli.options import JsonLines, Workspace


def history(
    workspace: Workspace,
    when: Annotated[str | None, typer.Option("--at", help="Only what was live then, like 2026-11-01T02:00Z.")] = None,
    as_json: JsonLines = False,
) -> None:
    """What was live when, with data, rules, code and model; oldest first. --json prints whole hashes.

    \b
    Example:
      entityclip history --workspace shop-search
      entityclip history --workspace shop-search --at 2026-11-20T08:00
    """
    from flows.workspace.history import at, history_entries, summary

    known = history_entries(Layout(workspace.resolve()))
    if when is not None:
        found = at(known, _moment(when))
        known = [found] if found else []
    for entry in known:
        typer.echo(entry.model_dump_json() if as_json else summary(entry))
    if not known:
        typer.echo("nothing was live", err=True)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--at {text!r}: expected a time like 2026-11-01 or 2026-11-01T02:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def rollback(
    workspace: Workspace,
    to: Annotated[str, typer.Option(metavar="VERSION", help="A former champion, like v1.3.0.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the history.")] = "by hand",
    as_json: Json = False,
) -> None:
    """Put back data, rules, settings and model of an earlier release as one; services follow within a second.

    \b
    Example:
      entityclip rollback --workspace shop-search --to v1.3.0 --reason "wrong prices"
    """
    from flows.steps.rollback import roll_back
    from flows.workspace.create import open_workspace
    from flows.workspace.locks import workspace_lock

    layout = open_workspace(workspace)
    with workspace_lock(layout):
        release = roll_back(layout, to, reason=reason)
    model, data = release.model_fingerprint, release.data_hash
    typer.echo(f"{release.version} is the champion: model {model[:12]}, data {data[:12]}")
    last_line({"champion": release.version, "model": model, "data": data}, as_json)


def approve(
    workspace: Workspace,
    version: Annotated[str, typer.Option(help="The release that waits, like v1.3.0.")],
    name: Annotated[str, typer.Option(help="Who decides; it is kept with the release.")],
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    decline: Annotated[bool, typer.Option("--decline", help="Decline: the champion stays.")] = False,
    as_json: Json = False,
) -> None:
    """Approve or decline a release that waits for a person; an approved one becomes the champion at once.

    \b
    Example:
      entityclip approve --workspace shop-search --version v1.3.0 --name Hanako
      entityclip approve --workspace shop-search --version v1.3.0 --name Hanako --decline
    """
    from flows.approve import resolve
    from flows.workspace.create import open_workspace
    from flows.workspace.locks import workspace_lock

    layout = open_workspace(workspace)
    with workspace_lock(layout):
        resolve(layout, version, approve=not decline, name=name, comment=comment)
    typer.echo(f"{version}: {'declined, the champion stays' if decline else 'approved, it is the champion'}")
    last_line({"version": version, "approved": not decline}, as_json)


def collect(
    workspace: Workspace,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without it they are only listed.")] = False,
    days: Annotated[float, typer.Option(min=0, help="Keep runs that changed in the last so many days.")] = 30.0,
    as_json: Json = False,
) -> None:
    """List what no run, release or service needs any more; delete it with --delete.

    \b
    Example:
      entityclip collect --workspace shop-search
      entityclip collect --workspace shop-search --delete
    """
    from flows.collect import sweep

    found = sweep(Layout(workspace.resolve()), dry=not delete, days=days)
    for item in found:
        typer.echo(f"{item.megabytes:10.1f} MB  {item.what:18} {item.path}")
    total = sum(item.megabytes for item in found)
    typer.echo(f"{total:10.1f} MB  {'deleted' if delete else 'would be deleted; add --delete'}")
    last_line({"megabytes": round(total, 1), "paths": [str(item.path) for item in found], "deleted": delete}, as_json)
