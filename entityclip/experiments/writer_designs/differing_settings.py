"""In what the settings of designs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import yaml


class DifferingSettings(NamedTuple):
    """Settings of designs, and of the examples that they name."""

    different: dict[str, list[str | None]]
    """Key, such as ``max_tokens`` or ``example en 1 text`` -> the value of each design; None where it has none."""
    equal: list[str]
    """Keys of the settings whose value is that of every design."""


def differing_settings(designs: Sequence[Mapping[str, str]]) -> DifferingSettings:
    """Compare the files of designs: the settings first, then the examples.

    Args:
        designs: Name -> content of the YAML files of each design, in the same order.
    """
    different: dict[str, list[str | None]] = {}
    equal: list[str] = []
    for number, contents in enumerate(zip_longest(*(design.values() for design in designs), fillvalue="")):
        values = [dict(_values(yaml.safe_load(content))) for content in contents]
        for key in dict.fromkeys(key for some in values for key in some):
            row = [some.get(key) for some in values]
            shown = key if number == 0 else f"example {key}"
            if len(set(row)) > 1:
                different[shown] = row
            elif number == 0:
                equal.append(key)
    return DifferingSettings(different, equal)


def _values(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every value below ``node`` with its keys; places in a list count from 1."""
    if isinstance(node, dict):
        for key, part in node.items():
            yield from _values(part, (*path, str(key)))
    elif isinstance(node, list):
        for place, part in enumerate(node, 1):
            yield from _values(part, (*path, str(place)))
    elif path:
        yield " ".join(path), str(node)
