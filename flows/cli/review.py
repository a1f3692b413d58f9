"""``review serve``: decide about quarantined texts and feedback in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from entityclip.cli.review import app as review_app
from entityclip.errors import ConfigError
from entityclip.paths import Layout, StateLayout
from flows.cli.options import State, Workspace

__all__ = ["review_app"]


@review_app.command("serve")
def serve(
    workspace: Workspace,
    host: Annotated[str, typer.Option(help="Address to listen on; every address requires keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3100,
    opinions: Annotated[int, typer.Option(min=1, max=2, help="Reviewers who must agree about a text.")] = 1,
    state: State = None,
) -> None:
    """Review in a browser: texts that the gate quarantined, and feedback that needs a second opinion.

    Needs no running service. Decisions are stored as 'review import' stores them. The key needs the scopes query and
    review.

    \b
    Example:
      entityclip keys create Hanako --state shop-search/.service --scope query --scope review
      entityclip review serve --workspace shop-search --port 3100
    """
    from bentos import settings
    from bentos.middleware import keys
    from flows.web.server import application
    from flows.web.server import serve as answer

    layout = Layout(workspace.resolve())
    if not layout.root.is_dir():
        raise ConfigError(f"{layout.root}: is not a folder; name the workspace of a run")
    served = StateLayout(state) if state else layout.service
    known = bool(keys.read(served.keys))
    app = application(layout, served, keyless=settings.keyless() and not known, opinions=opinions)
    if not settings.keyless() and not known:
        typer.echo("No key yet. In another terminal:")
        typer.echo(f"  entityclip keys create NAME --state {served.root} --scope query --scope review")
    typer.echo(f"http://{host}:{port}/ui/review   (Ctrl-C ends it)")
    answer(app, host=host, port=port)
