"""``explain compare``: designs of writers on the same entities, judged by the gate's rules and the champion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entityclip.cli.options import Json
from entityclip.cli.options import Workspace as LedgerFolder
from entityclip.cli.output import last_line, on_terminal, table

if TYPE_CHECKING:
    import pandas as pd

    from entityclip.experiments.writer_designs.comparison import DesignComparison, JudgedDesign, MeanInterval
    from entityclip.experiments.writer_designs.designs import DesignTexts, WriterDesign
    from entityclip.paths import DataLayout, DesignsLayout, Layout
    from entityclip.reports.words import Language
    from flows.steps.judge_designs import JudgedSample


class PageText(StrEnum):
    """Language of the page."""

    en = "en"
    ja = "ja"


def compare(
    designs: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Two or more YAML files with settings of a writer.")
    ],
    workspace: LedgerFolder = Path(),
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that 'ingest' wrote; default: staging of the workspace.")
    ] = None,
    sample: Annotated[int, typer.Option(min=2, help="Entities that every design describes.")] = 200,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Model that checks claims, instead of the workspace's champion."),
    ] = None,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the page and the figures.")] = Path(
        "build/explain-compare"
    ),
    language: Annotated[
        PageText | None, typer.Option(help="Of the page; default: that of most texts of the sample.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate requests and cost; send no request.")] = False,
    as_json: Json = False,
) -> None:
    """Compare designs of writers on the same sample of entities.

    A design is a file with settings of a writer, as 'explain --config' takes it. Each writes about the same entities;
    the ledger stores every answer, so that an interrupted command continues. The gate's rules and the champion judge
    the texts. The page has claims that the pictures support or contradict, texts that the gate sets aside, R@1, tokens,
    seconds and cost, with paired intervals, examples side by side, and which design is ahead on what.

    \b
    Example:
      entityclip explain compare A.yaml B.yaml --sample 40 --workspace shop-search --dry-run
      entityclip explain compare A.yaml B.yaml --sample 40 --workspace shop-search
    """
    from entityclip.data.rights import read_rights
    from entityclip.experiments.writer_designs.designs import open_designs, sampled, write_texts
    from entityclip.paths import DataLayout, DesignsLayout, Layout

    layout, target = Layout(workspace.resolve()), DesignsLayout(to)
    known = layout.staging if data is None else DataLayout(data)
    rights = read_rights(layout.pairs_suite)
    chosen = sampled(known, count=sample, rights=rights)
    entities = sorted({entity for entity, _ in chosen})
    opened = open_designs(designs, known, chosen, rights=rights, ledger=layout.ledger)
    if dry_run:
        _show_estimates(opened, layout, entities=len(entities), as_json=as_json)
        return
    written = []
    while opened:  # a design that has written is dropped, and its model with it
        written.append(write_texts(opened.pop(0), ledger=layout.ledger, progress=on_terminal()))
    judged = _judged(written, known, entities, layout, target, checkpoint)
    spoken: Language = language.value if language else _main_language([key[1] for key in chosen])
    last_line(_write_results(judged, known, entities, target, spoken), as_json)


def _judged(
    written: Sequence[DesignTexts],
    known: DataLayout,
    entities: Sequence[str],
    layout: Layout,
    target: DesignsLayout,
    checkpoint: Path | None,
) -> JudgedSample:
    from entityclip.quality.claims.vocabulary import read_vocabulary
    from flows.steps.judge_designs import judge_designs, release_of_judge, rules_of, scorers_of

    scorers, rules = scorers_of(layout, known, checkpoint), rules_of(layout, target)
    vocabulary = read_vocabulary(layout.attributes)
    judged = judge_designs(written, known, entities, scorers, context_root=rules, vocabulary=vocabulary)
    return judged._replace(release=release_of_judge(layout, checkpoint))


def _write_results(
    judged: JudgedSample, known: DataLayout, entities: Sequence[str], target: DesignsLayout, language: Language
) -> dict[str, Any]:
    """Write page, figures and texts, print the measures and the conclusion; return all of it for programs."""
    from entityclip.experiments.writer_designs.comparison import compare_designs
    from entityclip.experiments.writer_designs.comparison_examples import CheckingModel, ComparedDesigns
    from entityclip.experiments.writer_designs.comparison_page import conclusion, write_comparison_page
    from entityclip.storage import write_table

    comparison, page = compare_designs(judged.designs, entities, judged.not_computed), target.page(language)
    judge = CheckingModel(judged.champion, judged.release, judged.vocabulary, judged.tower)
    shown = ComparedDesigns(comparison, judged.designs, entities, known, judge)
    write_comparison_page(page, shown, language=language, day=datetime.now(UTC).date())
    comparison.write(target.figures)
    write_table(target.texts, _texts_of(judged.designs))
    ahead = conclusion(comparison, language).striptags()
    _show(comparison)
    typer.echo(f"\n{ahead}\nPage:    {page}\nFigures: {target.figures}\nTexts:   {target.texts}")
    files = {"page": str(page), "figures": str(target.figures), "texts": str(target.texts)}
    return comparison.model_dump() | {"conclusion": ahead} | files


def _show_estimates(designs: Sequence[WriterDesign], layout: Layout, *, entities: int, as_json: bool) -> None:
    from entityclip.explanations.stage import estimate_requests

    found = {one.name: estimate_requests(one.requests, writer=one.writer, ledger=layout.ledger) for one in designs}
    rows = [
        {
            "design": name,
            "requests": each.requests,
            "in the ledger": each.known,
            "input tokens": each.cost.tokens_in,
            "output tokens, at most": each.cost.tokens_out,
            "cost, at most": each.cost.money,
        }
        for name, each in found.items()
    ]
    table(rows)
    typer.echo(f"{entities:,} entities; repairs not included. No request was sent.")
    last_line({"entities": entities, "designs": {name: each.model_dump() for name, each in found.items()}}, as_json)


def _main_language(languages: Sequence[str]) -> Language:
    return "ja" if sum(language.startswith("ja") for language in languages) > len(languages) / 2 else "en"


# ---------------------------------------------------------------- results
def _texts_of(designs: Sequence[JudgedDesign]) -> pd.DataFrame:
    """Every text with the rules that it breaks and the claims that the pictures contradict."""
    import pandas as pd

    parts = []
    for one in designs:
        rules = one.broken.groupby("position")["rule"].agg(" ".join)
        lines = one.written.texts[["entity_id", "language", "text"]].reset_index(drop=True)
        wrong = pd.Series(dtype=object)
        if one.claims is not None:
            bad = one.claims[one.claims["verdict"] == "contradicted"]
            wrong = (bad["attribute"] + " " + bad["value"]).groupby(bad["position"]).agg("; ".join)
        found = {"rules": rules.reindex(lines.index), "contradicted": wrong.reindex(lines.index)}
        parts.append(lines.assign(design=one.written.name, **found))
    return pd.concat(parts, ignore_index=True)


def _show(comparison: DesignComparison) -> None:
    """Print the measures as a table."""

    def cell(estimate: MeanInterval | None) -> str:
        return "-" if estimate is None else f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"

    first, *others = comparison.names
    table(
        [
            {"measure": f"{m.name}, percent" if m.unit == "percent" else m.name}
            | {name: cell(value) for name, value in zip(comparison.names, m.values, strict=True)}
            | {f"{name} - {first}": cell(change) for name, change in zip(others, m.differences, strict=True)}
            for m in comparison.measures
        ]
    )
