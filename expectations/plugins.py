"""Rules that are Python classes: every file in a context's ``gx/plugins`` is run before a suite is."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType

from entityclip.data.pairs import digest

_loaded: dict[str, str] = {}
"""Module -> hash of the source that it was last made from. Great Expectations identifies classes by name, so that
another workspace's file of the same name has to be run again."""


def plugins(context_root: Path) -> list[Path]:
    """The context's files with rules of its own, in the order in which they are run."""
    return sorted((context_root / "gx" / "plugins").glob("*.py"))


def load_plugins(context_root: Path) -> None:
    """Run the files, so that Great Expectations registers their classes. Their exceptions propagate."""
    # Great Expectations warns a dozen times when a class replaces an older one, which is intended here.
    logging.getLogger("great_expectations.expectations.registry").setLevel(logging.ERROR)
    for path in plugins(context_root):
        name, source = f"gx_plugin_{path.stem}", path.read_text(encoding="utf-8")
        if _loaded.get(name) == digest(str(path), source):
            continue
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # annotations are looked up there
        exec(compile(source, str(path), "exec"), module.__dict__)
        _loaded[name] = digest(str(path), source)
