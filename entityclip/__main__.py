"""``python -m entityclip``: the same as the command ``entityclip``; torchrun starts modules."""

from entityclip.cli import app

app()
