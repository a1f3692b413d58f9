"""Prompts: versioned templates in ``prompts/``, one for each domain and language, rendered with rules and data.

Captions and all other fields of an entity are data, never instructions: they are one JSON object between tags that
the data cannot close.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypedDict

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

from entityclip.explanations.rules import DomainRules
from entityclip.schemas import ExplanationRequest

Domain = Literal["product", "news", "free"]
VERSION = "v1"
MOST_CHARACTERS = 4_000
"""Limit of each field; a source-provided article may be as long as a book."""
_JOINERS = "\u200c\u200d"  # used in emoji and Persian
# A tag in the data could close the prompt's tag; "<|" and "[INST]" mark the speaker for some models.
_ESCAPED = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>[]"})
_LANGUAGES = {"en": "English", "ja": "日本語"}


class Prompt(TypedDict):
    """The messages to a model: task and data."""

    system: str
    user: str


def render(request: ExplanationRequest, *, domain: Domain, rules: DomainRules) -> Prompt:
    """The prompt for one entity: Japanese for Japanese texts, otherwise English."""
    return render_blocks(
        prompt_name(domain, request.language),
        {
            "data": data_of(request),
            "language": _LANGUAGES.get(request.language, f"the language with the ISO 639-1 code {request.language!r}"),
            "pictures": len(request.pictures_sha256),
            "rules": rules,
        },
    )


def render_blocks(name: str, values: dict[str, Any]) -> Prompt:
    """The blocks ``system`` and ``user`` of the template ``name``."""
    template = template_of(name)
    context = template.new_context(values)
    blocks = {name: "".join(template.blocks[name](context)).strip() for name in ("system", "user")}
    return Prompt(system=blocks["system"], user=blocks["user"])


def data_of(request: ExplanationRequest, *, most_characters: int = MOST_CHARACTERS) -> str:
    """What is known of the entity, as a JSON object that cannot close a tag; fields are cut to ``most_characters``."""
    data = {
        "name": request.entity,
        "caption": request.caption,
        "category": request.category,
        "notes": "\n".join(request.source_provided),
        "refused": request.reason,
    }
    return as_data({name: one_line(value, most_characters=most_characters) for name, value in data.items() if value})


def as_data(data: Mapping[str, object]) -> str:
    """``data``, strings and dictionaries of them, as a JSON object that cannot close a tag."""
    return json.dumps(data, ensure_ascii=False).translate(_ESCAPED)


def prompt_name(domain: Domain, language: str) -> str:
    """Name of the prompt for texts in ``language``, such as ``product.ja.v1``."""
    return f"{domain}.{'ja' if language == 'ja' else 'en'}.{VERSION}"


@cache
def prompt_source(name: str) -> str:
    """Source of a template."""
    return files(__package__).joinpath("prompts", f"{name}.jinja").read_text(encoding="utf-8")


@cache
def template_of(name: str) -> Template:
    """The template ``name`` of the package."""
    environment = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(prompt_source(name))


def one_line(text: str, *, most_characters: int = MOST_CHARACTERS) -> str:
    """``text`` without characters that are invisible to people: zero-width, direction, tag and control characters."""
    spaced = " ".join(text[:most_characters].split())
    return "".join(c for c in spaced if c in _JOINERS or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"})
