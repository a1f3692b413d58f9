"""The command ``ablate``: measures the contribution of each part of the method."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from entityclip.cli.model import read_source
from entityclip.cli.options import Json, Mapping, Products, SourcePath
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import content_hash, explained
from entityclip.paths import AblationLayout, Layout

if TYPE_CHECKING:
    import pandas as pd

    from entityclip.experiments.ablate import AblationRun
    from entityclip.schemas import EvalReport


def ablate(
    preset: Annotated[str, typer.Option(help="Source and settings: demo, photos, grocery, table or tiny.")] = "demo",
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results; the same command resumes it.")] = Path(
        "build/ablation"
    ),
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with explanations; without it, the source of the preset.")
    ] = None,
    source_path: SourcePath = None,
    mapping: Mapping = None,
    products: Products = None,
    seeds: Annotated[int, typer.Option(min=1, help="Training runs per variant.")] = 3,
    compare: Annotated[
        Literal["all", "terms", "swaps"], typer.Option(help="Terms of the loss, swapped explanations, or all.")
    ] = "all",
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Freeze a pretrained image tower and keep its features: far faster.")
    ] = False,
    size: Annotated[
        int | None, typer.Option(min=8, help="With --frozen: side of the pictures, pixels; default: the backbone's.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs; default: as in the preset.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: as in the preset.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Parallel training runs; several small models fit on one GPU.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the planned training runs and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Train with each part of the method removed in turn and with swapped explanations; compare R@1.

    Writes a table, a plot, and the difference that each part makes, with 95 % intervals. Each seed takes nine training
    runs, six with --compare terms. Finished runs are not repeated.

    \b
    Example:
      entityclip ablate --preset table --data mine --seeds 3
      entityclip ablate --preset table --data mine --frozen --compare terms --seeds 10
    """
    from entityclip.data.sources import SourceOptions
    from entityclip.experiments.ablate import ablate as measure
    from entityclip.experiments.ablate import markdown, plot, runs, summary
    from entityclip.experiments.effects import effects, effects_table
    from entityclip.training import presets

    chosen, layout = presets.preset(preset), AblationLayout(to)
    config = chosen.train.changed(epochs=epochs, device=device)
    config = presets.frozen(config, size=size) if frozen else config
    planned = runs(config, seeds=seeds, compared=compare)
    if dry_run:
        table([{"training": run.variant.name, "seed": run.seed, "epochs": run.config.epochs} for run in planned])
        return
    source = SourceOptions(source=chosen.source, path=source_path, mapping=mapping, products=products)
    folder = explained(data) if data is not None else read_source(source, Layout(to))
    measured = measure(
        planned,
        data=folder,
        data_hash=content_hash(folder),
        to=layout,
        report=_report,
        jobs=jobs,
        progress=on_terminal(),
    )
    found, added = summary(measured.cells), effects(measured.hits)
    measured.cells.to_csv(layout.cells, index=False)
    added.to_csv(layout.effects, index=False)
    layout.table.write_text(f"{markdown(found)}\n{effects_table(added)}", encoding="utf-8")
    layout.plot.write_text(plot(found), encoding="utf-8")
    typer.echo(layout.table.read_text(encoding="utf-8"))
    typer.echo(f"Mean of {seeds} seeds, 95 % interval. Table: {layout.table}  Plot: {layout.plot}")
    answer = {"ablation": _records(found), "effects": _records(added), "epochs": config.epochs, "seeds": seeds}
    last_line(answer, as_json)


def _records(frame: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Rows for JSON; what one seed does not say is null."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def _report(run: AblationRun, report: EvalReport) -> None:
    best = {kind: report.value("R@1", index=kind) for kind in ("caption", "explanation", "mixed")}
    figures = "  ".join(f"{kind} {value:.1f}" for kind, value in best.items() if value is not None)
    typer.echo(f"{run.variant.name}, seed {run.seed}: R@1 {figures}", err=True)
