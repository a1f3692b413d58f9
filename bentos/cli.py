"""Commands for the operator of the service: API keys, and which release serves requests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from bentos import canary_cli
from bentos.middleware import keys
from bentos.runtime import active_release, followers, signatures
from bentos.runtime.canary_record import CanaryRecord
from bentos.runtime.manifest import verify_files
from entityclip.cli.options import Json, State
from entityclip.cli.output import last_line
from entityclip.errors import ConfigError
from entityclip.paths import ExportedLayout, PackageLayout, StateLayout
from entityclip.schemas import Runtime

keys_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="API keys. A change takes effect within a second, without a restart.",
)
release_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Choose the release that serves requests. The commands wait until every running worker has loaded it.",
)


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Owner of the key, for the list.")],
    state: State,
    scope: Annotated[
        list[str], typer.Option(help="query, feedback, entities, metrics, review or release; repeatable.")
    ] = ["query"],  # noqa: B006
    per_minute: Annotated[int, typer.Option(min=1, help="Requests per minute.")] = 600,
    max_concurrency: Annotated[int, typer.Option(min=1, help="Concurrent requests, per worker.")] = 16,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; without it, never.")] = None,
    as_json: Json = False,
) -> None:
    """Create a key and print it. It is shown only once.

    \b
    Example:
      entityclip keys create shop --state STATE --scope query --scope feedback --days 365
    """
    path = StateLayout(state).keys
    made = keys.make(
        path, name=name, scopes=_scopes(scope), per_minute=per_minute, max_concurrency=max_concurrency, days=days
    )
    typer.echo(made)
    last_line({"name": name, "key": made}, as_json)


def _scopes(names: list[str]) -> tuple[keys.Scope, ...]:
    known: dict[str, keys.Scope] = {name: name for name in get_args(keys.Scope)}
    if unknown := set(names) - known.keys():
        raise ConfigError(f"scope {min(unknown)!r} is unknown; expected one or more of {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names))


@keys_app.command("list")
def list_keys(state: State, as_json: Json = False) -> None:
    """Print every key: id, state, name, scopes and limits.

    \b
    Example:
      entityclip keys list --state STATE
    """
    now, rows = datetime.now(UTC), []
    for key in keys.read(StateLayout(state).keys):
        force = "in force" if key.valid(now) else "revoked" if key.revoked else "expired"
        limits = (f"{key.per_minute}/min", f"{key.max_concurrency} concurrent")
        typer.echo("\t".join((key.id, force, key.name, "+".join(key.scopes), *limits)))
        rows.append({"id": key.id, "state": force, "name": key.name, "scopes": list(key.scopes)})
    last_line({"keys": rows}, as_json)


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id, as 'keys list' prints it.")],
    state: State,
    as_json: Json = False,
) -> None:
    """Revoke a key permanently.

    \b
    Example:
      entityclip keys revoke ID --state STATE
    """
    key = keys.revoke(StateLayout(state).keys, key_id)
    typer.echo(f"{key.id}\trevoked\t{key.name}")
    last_line({"id": key.id, "state": "revoked", "name": key.name}, as_json)


# ---------------------------------------------------------------- releases
Package = Annotated[
    Path, typer.Argument(metavar="PACKAGE", help="Folder of a package: STORE/models/entityclip-model/VERSION.")
]
Seconds = Annotated[
    float, typer.Option(min=0, help="Seconds until every worker must have loaded the release; 0: do not wait.")
]


@release_app.command("activate")
def activate(
    package: Package, state: State, seconds: Seconds = followers.SWITCH_SECONDS, as_json: Json = False
) -> None:
    """Serve another release. No request is dropped; the previous release stays in memory.

    \b
    Example:
      entityclip release activate STORE/models/entityclip-model/v1.1.0 --state STATE
    """
    layout = StateLayout(state)
    _report(*followers.carry_out(layout, lambda: active_release.switch(layout, package), seconds=seconds), as_json)


@release_app.command("rollback")
def rollback(state: State, seconds: Seconds = followers.SWITCH_SECONDS, as_json: Json = False) -> None:
    """Serve the previous release again. The decision stands even if a worker cannot load it.

    This changes only the service; 'entityclip rollback' also restores data, rules and model.

    \b
    Example:
      entityclip release rollback --state STATE
    """
    layout = StateLayout(state)
    decided = followers.carry_out(layout, lambda: active_release.rollback(layout), seconds=seconds, take_back=False)
    _report(*decided, as_json)


@release_app.command("shadow")
def shadow(
    champion: Package,
    state: State,
    challenger: Annotated[
        Path, typer.Option(metavar="PACKAGE", help="Package folder of the release that runs in the shadow.")
    ],
    share: Annotated[float, typer.Option(help="Share of the requests, above 0 and at most 1.")] = 0.1,
    seconds: Seconds = followers.SWITCH_SECONDS,
    as_json: Json = False,
) -> None:
    """Also send a share of the requests to a second release and record how its answers differ.

    \b
    Example:
      entityclip release shadow CHAMPION --challenger CHALLENGER --share 0.1 --state STATE
    """
    layout = StateLayout(state)

    def decide() -> active_release.Live:
        return active_release.shadow(layout, champion, challenger=challenger, share=share)

    _report(*followers.carry_out(layout, decide, seconds=seconds), as_json)


release_app.command("canary")(canary_cli.canary_command)


@release_app.command("device")
def device(
    package: Package,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write; an older device package is replaced.")],
    towers: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Towers of 'entityclip export --to'; default: those of the package."),
    ] = None,
    runtime: Annotated[Runtime, typer.Option(help="onnx, onnx-int8 or distilled.")] = "onnx-int8",
    precision: Annotated[float, typer.Option(help="Target precision of sure tags.")] = 0.9,
    as_json: Json = False,
) -> None:
    """Write a folder for a device: it tags and searches with onnxruntime, numpy and Pillow alone.

    The package needs exported towers (compression.runtimes in entityclip.yaml), or name those of 'entityclip export'.

    \b
    Example:
      entityclip release device STORE/models/entityclip-model/v1.0.0 --to device
      python device/runner.py tag picture.jpg
    """
    from bentos.build.device_package import write_device_package

    exported = None if towers is None else ExportedLayout(towers)
    card = write_device_package(PackageLayout(package), to, towers=exported, runtime=runtime, precision=precision)
    for name, value in card.measured.items():
        typer.echo(f"{name}\t{value:g}")
    typer.echo(f"Device package of {card.release}: {to}")
    last_line(card.model_dump(mode="json"), as_json)


@release_app.command("sign")
def sign(
    package: Package,
    key: Annotated[Path, typer.Option(metavar="FILE", help="The team's private key, PEM, without a password.")],
    as_json: Json = False,
) -> None:
    """Sign every file of a package with OpenSSF Model Signing, offline; the signature is PACKAGE.sig.

    Requires pip install 'entityclip[signing]'.

    \b
    Example:
      entityclip release sign STORE/models/entityclip-model/v1.1.0 --key team.pem
    """
    layout = PackageLayout(package.resolve())
    active_release.read_card(layout)
    verify_files(layout)
    signature = signatures.sign(layout, key=key)
    typer.echo(f"Signed: {signature}")
    last_line({"signature": str(signature)}, as_json)


@release_app.command("signatures")
def signature_policy(
    policy: Annotated[Literal["off", "required"], typer.Argument(help="Whether 'activate' requires a signature.")],
    state: State,
    key: Annotated[list[Path], typer.Option(metavar="FILE", help="A trusted public key, PEM; repeatable.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Set whether a service takes only signed packages, and whose. It holds from the next switch on.

    \b
    Example:
      entityclip release signatures required --key team.pub --state STATE
    """
    layout = StateLayout(state)
    found = signatures.write_policy(layout, policy, keys=key)
    typer.echo(f"Signatures are {found.policy}: {len(found.public_keys)} trusted keys in {layout.signatures}")
    last_line({"policy": found.policy, "keys": len(found.public_keys)}, as_json)


@release_app.command("status")
def status(state: State, as_json: Json = False) -> None:
    """Print the decision, the last canary, and a line for each running worker: name, release that it serves, state.

    \b
    Example:
      entityclip release status --state STATE
    """
    layout = StateLayout(state)
    decided, wanted = active_release.read(layout), followers.stamp(layout)
    _show(decided)
    canary = CanaryRecord(layout.canaries).read()
    canary_cli.show(canary)
    workers = {}
    for name, worker in followers.living(layout).items():
        workers[name] = {
            "release": worker.release,
            "state": worker.failed or ("live" if worker.seen == wanted else "switching"),
        }
        typer.echo("\t".join((name, *workers[name].values())))
    plain = None if canary is None else canary.model_dump(mode="json")
    last_line({"decided": _plain(decided), "canary": plain, "workers": workers}, as_json)


def _report(decided: active_release.Live | None, workers: int | None, as_json: bool) -> None:
    """Print a decision that was carried out, and how many workers serve it."""
    _show(decided)
    if workers is not None:
        typer.echo(f"{workers} workers serve it", err=True)
    last_line({"decided": _plain(decided), "workers": workers}, as_json)


def _show(decided: active_release.Live | None) -> None:
    typer.echo("the release that is packed with the service" if decided is None else decided.model_dump_json(indent=1))


def _plain(decided: active_release.Live | None) -> dict[str, Any] | None:
    return None if decided is None else decided.model_dump(mode="json")
