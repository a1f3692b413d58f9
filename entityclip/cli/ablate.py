"""The command ``ablate``: measures the contribution of each part of the method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entityclip.cli.model import read_source
from entityclip.cli.options import Json, Mapping, Products, SourcePath
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import content_hash, explained
from entityclip.paths import AblationLayout, Layout

if TYPE_CHECKING:
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
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs; default: as in the preset.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: as in the preset.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Parallel training runs; several small models fit on one GPU.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the planned training runs and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Train with each part of the method removed in turn and with swapped explanations; compare R@1.

    Writes a table and a plot with 95 % intervals. Each seed takes seven training runs. Finished runs are not
    repeated.

    \b
    Example:
      entityclip ablate --preset table --data mine --seeds 3
    """
    from entityclip.data.sources import SourceOptions
    from entityclip.experiments.ablate import ablate as measure
    from entityclip.experiments.ablate import markdown, plot, runs, summary
    from entityclip.training.presets import preset as named_preset

    chosen, layout = named_preset(preset), AblationLayout(to)
    config = chosen.train.changed(epochs=epochs, device=device)
    planned = runs(config, seeds=seeds)
    if dry_run:
        table([{"training": run.variant.name, "seed": run.seed, "epochs": run.config.epochs} for run in planned])
        return
    source = SourceOptions(source=chosen.source, path=source_path, mapping=mapping, products=products)
    folder = explained(data) if data is not None else read_source(source, Layout(to))
    cells = measure(
        planned,
        data=folder,
        data_hash=content_hash(folder),
        to=layout,
        report=_report,
        jobs=jobs,
        progress=on_terminal(),
    )
    found = summary(cells)
    cells.to_csv(layout.cells, index=False)
    layout.table.write_text(markdown(found), encoding="utf-8")
    layout.plot.write_text(plot(found), encoding="utf-8")
    typer.echo(markdown(found))
    typer.echo(f"Mean of {seeds} seeds, 95 % interval. Table: {layout.table}  Plot: {layout.plot}")
    known = found.astype(object).where(found.notna(), None)  # one seed has no interval
    last_line({"ablation": known.to_dict("records"), "epochs": config.epochs, "seeds": seeds}, as_json)


def _report(run: AblationRun, report: EvalReport) -> None:
    best = {kind: report.value("R@1", index=kind) for kind in ("caption", "explanation", "mixed")}
    figures = "  ".join(f"{kind} {value:.1f}" for kind, value in best.items() if value is not None)
    typer.echo(f"{run.variant.name}, seed {run.seed}: R@1 {figures}", err=True)
