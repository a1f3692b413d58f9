"""Whether a row may be used, by its licence and its consent: asked before texts are written and at the gate."""

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
    """What a licence or a consent may not say. ``*`` stands for anything; case, width and outer space do not count.

    A row that says nothing may be used: most pictures of goods show nobody who could consent. Add ``""`` to a list
    where silence is a no.
    """

    refused_licences: tuple[str, ...] = Field(
        default=(
            *("all rights reserved*", "no licence*", "no license*", "unlicensed*"),
            *("*無断転載*", "*転載禁止*", "*使用禁止*", "*使用不可*", "*利用不可*"),
        ),
        description="Licences under which nothing may be used.",
    )
    refused_consents: tuple[str, ...] = Field(
        default=(
            *("no", "none", "false", "0", "denied*", "refused*", "declined*", "withdrawn*", "revoked*"),
            *("expired*", "pending*", "いいえ", "なし", "無し", "無", "未取得*", "同意なし*", "不同意*"),
            *("拒否*", "撤回*", "取消*", "取り消し*"),
        ),
        description="What a person's consent says where there is none.",
    )

    def missing(self, *, licence: str | None, consent: str | None) -> str:
        """Why a row with these may not be used, as in ``consent: withdrawn``; empty where it may."""
        if _refused(licence, self.refused_licences):
            return f"licence: {licence or '(none)'}"
        if _refused(consent, self.refused_consents):
            return f"consent: {consent or '(none)'}"
        return ""

    def missing_each(self, *, licences: Iterable[str | None], consents: Iterable[str | None]) -> list[str]:
        """``missing`` of every row. A table knows few licences and consents, so each pair of them is judged once."""
        rows = list(zip(licences, consents, strict=True))
        judged = {row: self.missing(licence=row[0], consent=row[1]) for row in set(rows)}
        return [judged[row] for row in rows]


DEFAULT_RIGHTS = Rights()


def read_rights(suite: Path) -> Rights:
    """The rights in ``meta.rights`` of the suite of pairs; the defaults where the suite or the entry is not there.

    Raises:
        ConfigError: The file is no JSON, or the entry is not what ``Rights`` holds.
    """
    try:
        said = json.loads(suite.read_text(encoding="utf-8"))["meta"].get("rights", {})
    except FileNotFoundError:
        return DEFAULT_RIGHTS
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{suite}: not a suite ({error!r}); expected JSON with meta.rights") from error
    try:
        return Rights.model_validate(said)
    except ValidationError as error:
        raise ConfigError(f"{suite}: meta.rights: {faults(error)}") from error


@lru_cache(maxsize=1024)  # a table of a million rows knows a few licences
def _refused(said: str | None, patterns: tuple[str, ...]) -> bool:
    plain = normalised(said or "")
    return any(fnmatchcase(plain, normalised(pattern)) for pattern in patterns)
