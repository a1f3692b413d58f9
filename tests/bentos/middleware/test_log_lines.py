"""Log lines cannot be forged: one record is one line, whatever text is in it."""

import io
import logging

import pytest

from bentos.middleware.log_lines import LONGEST, TRACE, OneLine, escaped, protect_logs

FORGED = "2026-11-30T02:00:00+0000 [INFO] [service] 10.0.0.1 (path=/keys) (status=200)"


@pytest.fixture
def written() -> io.StringIO:
    """What a handler of the logger ``tests.forged`` writes."""
    return io.StringIO()


@pytest.fixture
def log(written: io.StringIO):
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("tests.forged")
    logger.addHandler(handler)
    logger.propagate = False
    before = [(handler, handler.formatter) for handler in logging.getLogger().handlers]
    protect_logs()
    protect_logs()
    yield logger
    logger.removeHandler(handler)
    for other, formatter in before:
        other.setFormatter(formatter)


@pytest.mark.parametrize(
    ("mark", "shown"),
    [
        ("\n", r"\n"),
        ("\r\n", r"\r\n"),
        ("\x1b[2K\x1b[1A", r"\x1b[2K\x1b[1A"),
        ("\u2028", r"\u2028"),
        ("\u2029", r"\u2029"),
        ("\x85", r"\x85"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202e", r"\u202e"),
        ("\x00\x08\x0b\x0c\x7f", r"\x00\x08\x0b\x0c\x7f"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_would_start_a_line_or_move_the_cursor_is_escaped(log, written, mark, shown):
    log.warning("path=%s", f"/x{mark}{FORGED}")
    assert written.getvalue() == f"WARNING path=/x{shown}{FORGED}\n"


def test_japanese_text_stays_as_it_is(log, written):
    log.warning("entity %s", "赤い　やかん・ＫＸ－９００ é 👍")
    assert written.getvalue() == "WARNING entity 赤い　やかん・ＫＸ－９００ é 👍\n"


def test_traceback_keeps_its_lines_and_none_passes_for_a_record(log, written):
    try:
        raise ValueError(f"bad\n{FORGED}\x1b[0m")
    except ValueError:
        log.exception("it\nfailed")
    first, *trace = written.getvalue().splitlines()
    assert first == r"ERROR it\nfailed"
    assert len(trace) >= 3
    assert all(line.startswith(TRACE) for line in trace)
    assert "\x1b" not in written.getvalue()


def test_long_message_is_cut(log, written):
    log.warning("path=%s", "/" + "x" * 100_000)
    assert len(written.getvalue()) < LONGEST + 100
    assert written.getvalue().endswith("(100006 characters)\n")


def test_record_itself_is_left_alone():
    record = logging.LogRecord("n", logging.INFO, "f", 1, "a\n%s", ("b",), None)
    assert OneLine(logging.Formatter()).format(record) == r"a\nb"
    assert record.getMessage() == "a\nb"


def test_escape_is_the_same_twice():
    assert escaped(escaped("a\nb")) == escaped("a\nb")
