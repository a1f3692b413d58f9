"""``python -m bentos``: ``keys`` and ``release`` of the ``entityclip`` program, for a Bento, which has no other."""

import typer

from bentos.cli import keys_app, release_app
from entityclip.cli.group import ErrorMessages

app = typer.Typer(
    cls=ErrorMessages, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
app.add_typer(keys_app, name="keys")
app.add_typer(release_app, name="release")
app(prog_name="python -m bentos")
