"""Commands for whoever runs the service: keys, and which release answers."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, get_args

import typer

from bentos.middleware import keys
from bentos.runtime import active_release, followers
from entityclip.errors import ConfigError, EntityClipError
from entityclip.paths import StateLayout

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
keys_app = typer.Typer(no_args_is_help=True, help="API keys. A change is in force within a second, without a restart.")
app.add_typer(keys_app, name="keys")
live_app = typer.Typer(
    no_args_is_help=True, help="Which release answers. The commands wait until every running worker has followed."
)
app.add_typer(live_app, name="live")

State = Annotated[Path, typer.Option(envvar="ENTITYCLIP_STATE", help="The service's state folder.")]


def run() -> None:
    """The commands; an error of ours is a sentence, not a trace."""
    try:
        app(prog_name="python -m bentos")
    except EntityClipError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


@keys_app.command("make")
def make_key(
    name: Annotated[str, typer.Argument(help="Whose key it is; for the log.")],
    state: State,
    scope: Annotated[list[str], typer.Option(help="query, feedback, entities or metrics; repeatable.")] = ["query"],  # noqa: B006
    per_minute: Annotated[int, typer.Option(min=1, help="Requests a minute.")] = 600,
    at_once: Annotated[int, typer.Option(min=1, help="Requests in work at the same time, in each worker.")] = 16,
    days: Annotated[int | None, typer.Option(min=1, help="Until it expires; never when left out.")] = None,
) -> None:
    """Make a key and print it: it is shown this once."""
    print(
        keys.make(
            StateLayout(state).keys, name=name, scopes=_scopes(scope), per_minute=per_minute, at_once=at_once, days=days
        )
    )


def _scopes(names: list[str]) -> tuple[keys.Scope, ...]:
    known: dict[str, keys.Scope] = {name: name for name in get_args(keys.Scope)}
    if unknown := set(names) - known.keys():
        raise ConfigError(f"scope {min(unknown)!r} is unknown; expected one or more of {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names))


@keys_app.command("list")
def list_keys(state: State) -> None:
    """Print every key: id, name, scopes, limits, and whether it is in force."""
    now = datetime.now(UTC)
    for key in keys.read(StateLayout(state).keys):
        force = "in force" if key.valid(now) else "revoked" if key.revoked else "expired"
        print(
            key.id, force, key.name, "+".join(key.scopes), f"{key.per_minute}/min", f"{key.at_once} at once", sep="\t"
        )


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The id, as `list` shows it.")], state: State) -> None:
    """Close a key for ever."""
    key = keys.revoke(StateLayout(state).keys, key_id)
    print(f"{key.id}\trevoked\t{key.name}")


# ---------------------------------------------------------------- releases
Package = Annotated[Path, typer.Argument(help="Folder of a package: STORE/models/entityclip-model/VERSION.")]
Seconds = Annotated[float, typer.Option(min=0, help="Until workers that have not followed are an error; 0: no wait.")]


@live_app.command("switch")
def switch(package: Package, state: State, seconds: Seconds = followers.SWITCH_SECONDS) -> None:
    """Let another release answer. No request is dropped; the one before stays in memory."""
    layout = StateLayout(state)
    _show(*followers.carry_out(layout, lambda: active_release.switch(layout, package), seconds=seconds))


@live_app.command("rollback")
def rollback(state: State, seconds: Seconds = followers.SWITCH_SECONDS) -> None:
    """Let the previous release answer again, at once. A worker that cannot follow takes nothing back."""
    layout = StateLayout(state)
    _show(*followers.carry_out(layout, lambda: active_release.rollback(layout), seconds=seconds, take_back=False))


@live_app.command("shadow")
def shadow(
    champion: Package,
    state: State,
    challenger: Annotated[Path, typer.Option(help="Folder of the package that answers beside it.")],
    share: Annotated[float, typer.Option(help="Of the requests, above 0 to 1.")] = 0.1,
    seconds: Seconds = followers.SWITCH_SECONDS,
) -> None:
    """Let a second release answer a share of the requests too, for the record alone."""
    layout = StateLayout(state)

    def decide() -> active_release.Live:
        return active_release.shadow(layout, champion, challenger=challenger, share=share)

    _show(*followers.carry_out(layout, decide, seconds=seconds))


@live_app.command("show")
def show(state: State) -> None:
    """Print what is decided."""
    _show(active_release.read(StateLayout(state)))


@live_app.command("status")
def status(state: State) -> None:
    """Print a line for every running worker: its name, the release that answers, why the decided one does not."""
    layout = StateLayout(state)
    wanted = followers.stamp(layout)
    for name, worker in followers.living(layout).items():
        print(name, worker.release, worker.failed or ("live" if worker.seen == wanted else "switching"), sep="\t")


def _show(decided: active_release.Live | None, workers: int | None = None) -> None:
    print("the release that is packed with the service" if decided is None else decided.model_dump_json(indent=1))
    if workers is not None:
        print(f"{workers} workers answer with it", file=sys.stderr)
