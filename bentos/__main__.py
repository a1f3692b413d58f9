"""``python -m bentos``: the commands of whoever runs the service."""

from bentos.cli import run

run()
