"""Keeps each log record on one line, so that text from a request cannot forge a log line."""

from __future__ import annotations

import copy
import logging

LONGEST = 4000
"""Most characters of a message; a path can be much longer."""

TRACE = "  | "
"""Prefix of each line of a traceback, so that it cannot be mistaken for a record."""


def protect_logs() -> None:
    """Make every handler of this process use ``OneLine``; safe to call twice."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if not isinstance(handler.formatter, OneLine):
            handler.setFormatter(OneLine(handler.formatter or logging.Formatter()))


class OneLine(logging.Formatter):
    """Formats with ``formatter`` and escapes every character that moves a cursor or starts a line."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, followed by the lines of its traceback with the prefix ``TRACE``."""
        record = copy.copy(record)
        record.msg, record.args = _shortened(escaped(record.getMessage())), None
        first, *trace = self.formatter.format(record).split("\n")
        return "\n".join([escaped(first), *(TRACE + escaped(line) for line in trace)])


def escaped(text: str) -> str:
    """``text`` with every unprintable character escaped, except the ideographic space.

    Escapes all line breaks (CR, LF, NEL, U+2028), the other control codes of C0 and C1, bidirectional marks and
    unpaired surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u3000" else c.encode("unicode_escape").decode() for c in text)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text)} characters)"
