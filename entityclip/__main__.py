"""The program ``entityclip``, also as ``python -m entityclip``: torchrun starts modules."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process without Python's finalization of all modules, which takes up to ten seconds.

    What libraries have registered for the end of the process still runs.

    Args:
        arguments: The command and its options; None: those of the process.
    """
    code = 1

    def leave() -> None:
        logging.shutdown()
        lost = False
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (BrokenPipeError, ValueError):  # the reader has gone, or the stream is closed
                continue
            except OSError:  # a full disk
                lost = True
        os._exit(code or 120 * lost)  # as Python does

    atexit.register(leave)  # before any library registers: what is registered first runs last
    from entityclip.cli import app

    try:
        app(arguments, prog_name="entityclip")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


if __name__ == "__main__":
    main()
