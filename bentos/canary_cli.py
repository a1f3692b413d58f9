"""The command ``release canary``, and the lines about a canary in ``release status``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from bentos.middleware import keys
from bentos.runtime import canary
from bentos.runtime.canary_record import LIMIT, CanaryReport
from entityclip.cli.options import Json, State
from entityclip.cli.output import last_line, table
from entityclip.errors import ConfigError
from entityclip.paths import StateLayout

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def canary_command(
    state: State,
    challenger: Annotated[
        Path | None, typer.Argument(metavar="PACKAGE", help="Package folder of the release to try.")
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the API keys that get its answers, at most 0.5.")] = 0.05,
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="Such as 90s, 30m, 2h or 1d.")] = "2h",
    min_requests: Annotated[
        int, typer.Option(min=1, help="Compared requests without which it is not activated at the end.")
    ] = 100,
    stop: Annotated[bool, typer.Option("--stop", help="End the running canary; the release in service stays.")] = False,
    as_json: Json = False,
) -> None:
    """Give a share of the callers the answers of another release, compare, and roll back or activate at the end.

    Errors, unknown pictures, time and feedback are compared with the release in service by a sequential test. A request
    that the challenger fails is answered by the release in service. 'entityclip release status' shows the figures.

    \b
    Example:
      entityclip release canary STORE/models/entityclip-model/v1.1.0 --share 0.05 --for 2h --state STATE
      entityclip release canary --stop --state STATE
    """
    layout = StateLayout(state)
    if stop == (challenger is not None):
        raise ConfigError("expected either the PACKAGE of the challenger, or --stop")
    if challenger is None:
        report, workers = canary.stop(layout), None
    else:
        report, workers = canary.start(
            layout,
            challenger,
            callers=_callers(layout),
            share=share,
            duration=_duration(duration),
            min_requests=min_requests,
        )
    show(report)
    last_line({"canary": report.model_dump(mode="json"), "workers": workers}, as_json)


def _callers(state: StateLayout) -> list[str]:
    """Ids of the keys that may query."""
    now = datetime.now(UTC)
    return [key.id for key in keys.read(state.keys) if key.valid(now) and "query" in key.scopes]


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None or int(found[1]) == 0:
        raise ConfigError(f"--for is {text!r}; expected a number and a unit: 90s, 30m, 2h or 1d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def show(report: CanaryReport | None) -> None:
    """Print a canary and its figures; nothing if there is none."""
    if report is None:
        return
    typer.echo(
        f"canary of {report.challenger} beside {report.champion}, {len(report.callers)} keys "
        f"({', '.join(report.callers)}), {report.began:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    )
    typer.echo(f"{report.outcome}: {report.reason}" if report.outcome else "running")
    typer.echo(f"{report.answered} requests answered, {report.failed} failed, {report.dropped} not compared")
    rows = [
        {"comparison": name, **found.model_dump(), "limit": round(LIMIT)} for name, found in report.comparisons.items()
    ]
    if rows:
        table(rows, decimals=2)
