"""Usage rights of rows by licence and consent; checked before texts are written and at the gate."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationError

from entityclip.data.pairs import normalised
from entityclip.errors import ConfigError, faults
from entityclip.schemas import Record


class Rights(Record):
    """Patterns of licences and consents that forbid use. ``*`` matches anything; case and width are ignored.

    A row without an entry may be used, since most pictures of products show no person. Add ``""`` to a list to reject
    such rows.
    """

    refused_licences: tuple[str, ...] = Field(
        default=(
            *("all rights reserved*", "no licence*", "no license*", "unlicensed*"),
            *("*無断転載*", "*転載禁止*", "*使用禁止*", "*使用不可*", "*利用不可*"),
        ),
        description="Licences that forbid use.",
    )
    refused_consents: tuple[str, ...] = Field(
        default=(
            *("no", "none", "false", "0", "denied*", "refused*", "declined*", "withdrawn*", "revoked*"),
            *("expired*", "pending*", "いいえ", "なし", "無し", "無", "未取得*", "同意なし*", "不同意*"),
            *("拒否*", "撤回*", "取消*", "取り消し*"),
        ),
        description="Values of consent that forbid use.",
    )

    def missing(self, *, licence: str | None, consent: str | None) -> str:
        """Why such a row may not be used, such as ``consent: withdrawn``; empty if it may."""
        if _refused(licence, self.refused_licences):
            return f"licence: {licence or '(none)'}"
        if _refused(consent, self.refused_consents):
            return f"consent: {consent or '(none)'}"
        return ""

    def missing_each(self, *, licences: Iterable[str | None], consents: Iterable[str | None]) -> list[str]:
        """``missing`` of every row. Tables have few distinct licences and consents, so each pair is checked once."""
        rows = list(zip(licences, consents, strict=True))
        reasons = {row: self.missing(licence=row[0], consent=row[1]) for row in set(rows)}
        return [reasons[row] for row in rows]


DEFAULT_RIGHTS = Rights()


def read_rights(suite: Path) -> Rights:
    """The rights in ``meta.rights`` of the suite of pairs; the defaults if the suite or the entry is missing.

    Raises:
        ConfigError: The file is not JSON, or the entry is invalid.
    """
    try:
        rights = json.loads(suite.read_text(encoding="utf-8"))["meta"].get("rights", {})
    except FileNotFoundError:
        return DEFAULT_RIGHTS
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{suite}: not a suite ({error!r}); expected JSON with meta.rights") from error
    try:
        return Rights.model_validate(rights)
    except ValidationError as error:
        raise ConfigError(f"{suite}: meta.rights: {faults(error)}") from error


@lru_cache(maxsize=1024)  # a table of a million rows has few distinct licences
def _refused(value: str | None, patterns: tuple[str, ...]) -> bool:
    plain = normalised(value or "")
    return any(fnmatchcase(plain, normalised(pattern)) for pattern in patterns)
