"""Rendering of HTML pages: each is one self-contained file, with all data escaped."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from entityclip.data.thumbnails import thumbnail
from entityclip.errors import ImageError
from entityclip.storage import atomic_write


def write_page(
    path: Path, template: str, *, filters: dict[str, Callable[..., Any]] | None = None, **values: Any
) -> None:
    """Render ``template`` to ``path``, atomically; an older page is replaced.

    Args:
        path: The HTML file.
        template: Name of a file in ``templates/``.
        filters: For the template, beside ``picture``, which turns a picture's bytes into a data URI.
        **values: Variables of the template.
    """
    environment = page_environment()
    environment.filters.update({"picture": _data_uri} | (filters or {}))
    html = environment.get_template(template).render(**values)
    atomic_write(path, html.encode("utf-8", errors="replace"))


def page_environment(*packages: str) -> jinja2.Environment:
    """Templates of ``packages``, then those of this project's reports, whose colours and base style all pages share.

    Every value is escaped and a misspelt name is an error: captions and file names are data, never HTML.
    """
    loaders = [jinja2.PackageLoader(package) for package in (*packages, "entityclip.reports")]
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def as_markup(svg: str | None) -> Markup | None:
    """Mark a plot as safe HTML: matplotlib has escaped its text."""
    return Markup(svg) if svg else None


def _data_uri(picture: bytes) -> str | None:
    """A small JPEG of the picture as a data URI; None for bytes that are not a picture."""
    try:
        small = thumbnail(picture)
    except ImageError:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"
