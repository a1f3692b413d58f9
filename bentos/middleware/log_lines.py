"""One record of the log, one line, whatever was sent: a path or a name cannot write a line of its own."""

from __future__ import annotations

import copy
import logging

LONGEST = 4000
"""Characters of a message; a path can be much longer."""

TRACE = "  | "
"""Begins each line of a traceback, so that none of them can pass for a record."""


def protect_logs() -> None:
    """Let every handler of this process write through ``OneLine``; twice is harmless."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if not isinstance(handler.formatter, OneLine):
            handler.setFormatter(OneLine(handler.formatter or logging.Formatter()))


class OneLine(logging.Formatter):
    """Formats as ``formatter`` does, with everything escaped that moves a cursor or starts a line."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and its traceback as lines that begin with ``TRACE``."""
        record = copy.copy(record)
        record.msg, record.args = _shortened(escaped(record.getMessage())), None
        first, *trace = self.formatter.format(record).split("\n")
        return "\n".join([escaped(first), *(TRACE + escaped(line) for line in trace)])


def escaped(text: str) -> str:
    """``text`` with every character as an escape that is no letter, sign, space or ideographic space.

    That is line breaks of all kinds (CR, LF, NEL, U+2028), escape codes and the rest of C0 and C1, marks that turn the
    direction of writing, and halves of surrogate pairs.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u3000" else c.encode("unicode_escape").decode() for c in text)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text)} characters)"
