"""Calendar days in the formats that tables use."""

from __future__ import annotations

import datetime
import re
import unicodedata

FORMS = "2026-11-23, 2026/11/23, 20261123, 2026年11月23日 or 令和8年11月23日"
"""What ``calendar_day`` reads, for messages."""

_ERAS = {"": 0, "令和": 2018, "R": 2018, "平成": 1988, "H": 1988}
"""Japanese era -> what its first year comes after."""
_DAY = re.compile(r"(令和|平成|R|H|)\s*(\d{1,4}|元)[-/.年]\s*(\d{1,2})[-/.月]\s*(\d{1,2})日?(?:[T ].*)?")
_COMPACT = re.compile(r"()(\d{4})(\d\d)(\d\d)")


def calendar_day(text: str) -> datetime.date:
    """Parse a calendar day; a time of day after it is ignored.

    Formats whose order of day and month depends on the country are refused.

    Raises:
        ValueError: ``text`` has none of the formats in ``FORMS``, or the day does not exist.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    found = _DAY.fullmatch(plain) or _COMPACT.fullmatch(plain)
    if not found or (not found[1] and len(found[2]) != 4):
        raise ValueError(f"date {text!r}; expected {FORMS}")
    era, year = _ERAS[found[1]], 1 if found[2] == "元" else int(found[2])
    try:
        return datetime.date(era + year, int(found[3]), int(found[4]))
    except ValueError:
        raise ValueError(f"date {text!r}: there is no such day") from None
