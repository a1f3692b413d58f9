"""A writer of your own: a class that ``entityclip.yaml`` names by its import path."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from entityclip.errors import ConfigError
from entityclip.explanations.source_writer import Writer

PROTOCOL = ("generator", "sees_pictures", "prompt_version", "expected", "write")


def open_custom_writer(factory: str, options: dict[str, Any]) -> Writer:
    """Import ``module:Class`` and call it with ``options``.

    This runs the code of the module, as do the rules in ``expectations/gx/plugins/``: the settings of a workspace are
    as trusted as its rules.

    Raises:
        ConfigError: The class cannot be imported, does not take the options, or makes something that is not a writer.
    """
    make = _imported(factory)
    try:
        inspect.signature(make).bind(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"explain.options: {factory} cannot be called with {options}: {error}") from None
    writer: Writer = make(**options)
    if missing := [name for name in PROTOCOL if not hasattr(writer, name)]:
        raise ConfigError(
            f"explain.factory: {factory} makes a {type(writer).__name__} without {', '.join(missing)}; expected a "
            "writer like entityclip.explanations.Writer"
        )
    return writer


def _imported(factory: str) -> Any:
    module, _, name = factory.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"explain.factory: {factory!r} cannot be imported: {error}; install its package in this environment, or "
            "put the folder of its file on PYTHONPATH"
        ) from error
