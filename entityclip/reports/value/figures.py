"""Numbers with the file and the key that each comes from, so that a program can check every one of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from entityclip.errors import DataError
from entityclip.schemas import Record

FigureUnit = Literal["percent", "points", "count", "minutes", "hours", "seconds", "months", "ms", "MB", "money", ""]


class TracedFigure(Record):
    """One number: read from a file, or computed from other figures."""

    name: str
    value: float | None = Field(description="None: it does not exist, like the payback of a loss.")
    low: float | None = Field(default=None, description="Lower end of the interval; None: it has none, or no end.")
    high: float | None = Field(default=None, description="Upper end.")
    unit: FigureUnit = ""
    file: str = Field(default="", description="File in the workspace that holds it; '': it is computed.")
    commit: str = Field(default="", description="Commit that the file was read from; '': not versioned.")
    command: str = Field(default="", description="Command that wrote the file; '': it is computed.")
    key: str = Field(default="", description="Where in the file, as JSON Pointer (RFC 6901).")
    formula: str = Field(default="", description="How it is computed; '': it was read.")
    inputs: tuple[str, ...] = Field(default=(), description="Names of the figures that it is computed from.")


class SourceFile(Record):
    """A file that figures are read from."""

    name: str = Field(description="Path in the workspace.")
    content: dict[str, Any] = Field(repr=False, description="What it holds, as JSON objects and lists.")
    commit: str = Field(default="", description="Commit that it was read from; '': not versioned.")
    command: str = Field(default="", description="Command that wrote it.")


class Figures:
    """All figures of one report, in the order in which they were added."""

    def __init__(self) -> None:
        self._known: dict[str, TracedFigure] = {}

    def __getitem__(self, name: str) -> TracedFigure:
        return self._known[name]

    def __contains__(self, name: str) -> bool:
        return name in self._known

    @property
    def all(self) -> tuple[TracedFigure, ...]:
        """Every figure."""
        return tuple(self._known.values())

    def value(self, name: str) -> float:
        """The value of a figure that has one.

        Raises:
            DataError: It has none.
        """
        found = self._known[name].value if name in self._known else None
        if found is None:
            raise DataError(f"{name}: no such figure")
        return found

    def read(self, name: str, source: SourceFile, key: str, *, unit: FigureUnit = "") -> None:
        """Add the number at ``key``, a JSON Pointer; a metric with value, low and high is one figure."""
        found = resolve(source.content, key)
        value, low, high = (
            (found["value"], found["low"], found["high"]) if isinstance(found, dict) else (found, None, None)
        )
        self._add(
            TracedFigure(
                name=name,
                value=value,
                low=low,
                high=high,
                unit=unit,
                file=source.name,
                commit=source.commit,
                command=source.command,
                key=key,
            )
        )

    def derive(
        self,
        name: str,
        value: float | None,
        formula: str,
        inputs: Iterable[str],
        *,
        unit: FigureUnit = "",
        ends: tuple[float | None, float | None] = (None, None),
    ) -> None:
        """Add a number that was computed from the figures ``inputs``."""
        low, high = ends
        self._add(
            TracedFigure(name=name, value=value, low=low, high=high, unit=unit, formula=formula, inputs=tuple(inputs))
        )

    def _add(self, figure: TracedFigure) -> None:
        if figure.name in self._known:
            raise DataError(f"{figure.name}: two figures of one name")
        self._known[figure.name] = figure


def resolve(content: Any, key: str) -> Any:
    """What stands at ``key``, a JSON Pointer (RFC 6901).

    Raises:
        KeyError: Nothing does.
    """
    for part in key.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            content = content[int(name)] if isinstance(content, list) else content[name]
        except (IndexError, ValueError, TypeError) as error:
            raise KeyError(key) from error
    return content


def pointer(*parts: str | int) -> str:
    """The JSON Pointer of these names and positions."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def untraced(figures: Iterable[TracedFigure], files: Mapping[str, Any]) -> list[str]:
    """Names of the figures that do not come from where they say.

    A figure that was read must stand at its key with the same value. A computed one needs a formula and inputs that
    are traced themselves.

    Args:
        figures: All figures of a report.
        files: Name -> content of each file.
    """
    known = {figure.name: figure for figure in figures}
    checked: dict[str, bool] = {}

    def traced(name: str) -> bool:
        if name not in checked:
            checked[name] = False  # a figure that is computed from itself stays so
            figure = known.get(name)
            checked[name] = figure is not None and (_stands(figure, files) or _computed(figure, traced))
        return checked[name]

    return [name for name in known if not traced(name)]


def _stands(figure: TracedFigure, files: Mapping[str, Any]) -> bool:
    if not figure.file or figure.file not in files:
        return False
    try:
        found = resolve(files[figure.file], figure.key)
    except KeyError:
        return False
    if isinstance(found, dict):
        return (figure.value, figure.low, figure.high) == (found.get("value"), found.get("low"), found.get("high"))
    return bool(figure.value == found)


def _computed(figure: TracedFigure, traced: Callable[[str], bool]) -> bool:
    return bool(figure.formula and figure.inputs) and all(traced(name) for name in figure.inputs)
