"""The command ``score``: scores explanations and counts their faults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from entityclip.cli.options import Csv, Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import explained
from entityclip.data import pairs
from entityclip.paths import CheckpointLayout, DataLayout
from entityclip.storage import write_table

SHOWN = 12
Judge = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="DIR",
        help="Checkpoint that compares texts with pictures; must not be trained on these texts.",
    ),
]


def score(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with explanations, or data/.")],
    model: Judge = None,
    text_quality: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text-quality model, such as reports/text_quality.json.")
    ] = None,
    bias: Annotated[
        bool, typer.Option("--bias", help="Also report sentiment and typical words by category and language.")
    ] = False,
    csv: Csv = None,
    as_json: Json = False,
) -> None:
    """Score the explanations in DIR and count their faults.

    A fault column holds the offending words; it is empty if the text has no such fault. --model also compares
    explanations with the pictures of their entities; it must have been trained on other texts.

    \b
    Example:
      entityclip score mine --csv scores.csv
    """
    data = explained(folder)
    explanations, entities = pairs.read_frame(data.explanations), pairs.read_frame(data.entities)
    scored = _scored(explanations, entities, data, model=model, text_quality=text_quality)
    added = scored[[column for column in scored.columns if column not in explanations.columns]]
    faults: pd.DataFrame = added.select_dtypes("str").replace("", None)
    counts = {str(fault): int(count) for fault, count in faults.count().items()}
    examples = {fault: next(iter(faults[fault].dropna()), "") for fault in counts}
    table([{"fault": fault, "texts": count, "for example": examples[fault]} for fault, count in counts.items()])
    typer.echo(f"\n{len(scored):,} explanations, {int(faults.notna().any(axis=1).sum()):,} with a fault\n")
    spread = _spread(added)
    table(spread)
    if bias:
        _show_bias(scored, entities)
    if csv is not None:
        write_table(csv, scored)
        typer.echo(f"All explanations and scores: {csv}")
    medians = {str(row["score"]): row["median"] for row in spread}
    last_line({"explanations": len(scored), "faults": counts, "medians": medians}, as_json)


def _scored(
    explanations: pd.DataFrame,
    entities: pd.DataFrame,
    data: DataLayout,
    *,
    model: Path | None,
    text_quality: Path | None,
) -> pd.DataFrame:
    from entityclip.quality import score_explanations

    source_provided = (
        pairs.read_frame(data.source_provided, columns=["entity_id", "text"]) if data.source_provided.is_dir() else None
    )
    scored = score_explanations(explanations, entities, source_provided=source_provided)
    if model is not None:
        from entityclip.model import checkpoint
        from entityclip.quality.model_scores import score_with_model

        scored = score_with_model(checkpoint.load(CheckpointLayout(model)), scored, data, progress=on_terminal())
    if text_quality is not None:
        from entityclip.quality.text_quality_model import read_text_quality_model

        scored = scored.assign(text_quality=read_text_quality_model(text_quality).probability(scored))
    return scored


def _spread(added: pd.DataFrame) -> list[dict[str, object]]:
    """Minimum, median and maximum of each numeric score."""
    numbers = added.select_dtypes("number")
    return [
        {
            "score": str(name),
            "texts": int(column.count()),
            **{
                what: float(column.quantile(at)) if column.count() else 0.0
                for what, at in (("least", 0), ("median", 0.5), ("largest", 1))
            },
        }
        for name, column in numbers.items()
    ]


def _show_bias(scored: pd.DataFrame, entities: pd.DataFrame) -> None:
    from entityclip.quality.bias import attributes, sentiment

    category = dict(zip(entities["entity_id"], entities["category"].fillna(""), strict=True))
    for name, by in (("category", scored["entity_id"].map(category)), ("language", scored["language"])):
        typer.echo(f"\nSentiment by {name}; check differences of more than 3 standard errors:")
        table([{str(k): v for k, v in row.items()} for row in sentiment(scored, by=by).head(SHOWN).to_dict("records")])
        if by.nunique() > 1:
            typer.echo(f"\nWords typical of a {name}:")
            words = attributes(scored, by=by, most=3).sort_values("apart", ascending=False, kind="stable")
            table([{str(k): v for k, v in row.items()} for row in words.head(3 * SHOWN).to_dict("records")])
