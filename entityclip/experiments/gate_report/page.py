"""The report as one HTML page and as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from entityclip.experiments.gate_report.costs import CostLine
from entityclip.reports.pages import as_markup, write_page
from entityclip.reports.plots import SLICE_TITLES, dots_by_slice
from entityclip.schemas import SLICES

WHOLE = "the whole gate"


def write_gate_page(
    path: Path,
    *,
    recall: pd.DataFrame,
    worth: pd.DataFrame,
    spent: Sequence[CostLine],
    seeds: int,
    tuned: pd.DataFrame | None = None,
    chosen: str = "",
) -> None:
    """Write the page atomically.

    Args:
        path: The HTML file.
        recall: Result of ``recall_table``.
        worth: Result of ``worth_table``.
        spent: Costs of the report.
        seeds: Training runs per variant.
        tuned: Result of ``tune``, if a limit was tuned.
        chosen: The chosen limit, as text.
    """
    named = worth.assign(rule=worth["rule"].replace("", WHOLE))
    write_page(
        path,
        "gate.html.j2",
        slices=present(recall),
        slice_titles=SLICE_TITLES,
        recall=pivoted(recall, "variant"),
        worth=pivoted(named, "rule"),
        recall_plot=as_markup(dots_by_slice(recall, rows="variant", unit="R@1, percent")),
        worth_plot=as_markup(dots_by_slice(named, rows="rule", unit="points of R@1", baseline=0)),
        spent=spent,
        seeds=seeds,
        tuned=None if tuned is None else pivoted(tuned, "limit"),
        chosen=chosen,
    )


def present(figures: pd.DataFrame) -> list[str]:
    """The slices that were measured, in their order."""
    return [name for name in (*SLICES, "all") if (figures["slice"] == name).any()]


def pivoted(figures: pd.DataFrame, rows: str) -> list[dict[str, object]]:
    """One row for each value of the column ``rows``: its other columns, and ``cells`` by slice as text."""
    kept = [name for name in ("texts", "rows", "alone") if name in figures]
    lines: list[dict[str, object]] = []
    for name, part in figures.groupby(rows, sort=False):
        cells = {row["slice"]: row for row in part.to_dict("records")}
        shown = {key: f"{c['value']:.1f} [{c['low']:.1f}, {c['high']:.1f}]" for key, c in cells.items()}
        first = part.iloc[0]
        lines.append({rows: name, **{column: int(first[column]) for column in kept}, "cells": shown})
    return lines


def markdown(figures: pd.DataFrame, rows: str) -> str:
    """The same table for a document."""
    slices = present(figures)
    lines = pivoted(figures, rows)
    counted = [name for name in ("texts", "rows", "alone") if name in figures]
    head = [rows, *counted, *(SLICE_TITLES[name] for name in slices)]
    body = [
        [str(line[rows]) or WHOLE, *(f"{line[name]:,}" for name in counted), *(_cell(line, name) for name in slices)]
        for line in lines
    ]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body]) + "\n"


def _cell(line: dict[str, object], name: str) -> str:
    cells = line["cells"]
    assert isinstance(cells, dict)
    return str(cells.get(name, ""))
