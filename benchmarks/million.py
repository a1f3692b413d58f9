"""Estimate for a million pairs: time, disk and money of each step, from unit costs measured on a sample.

    python benchmarks/million.py --source ../shared/grocery --core-hour 0.05 --json
    python benchmarks/million.py --device cuda --gpu-hour 2.5 --json
    python benchmarks/million.py --gpu-rate 1000 --gpu-hour 2.5 --json

Every step of the main job runs on a quarter of the pictures and on all of them, with the libraries loaded; the
difference is the cost per picture, so that fixed costs are not multiplied. CPU costs are core seconds of this process
and its children, independent of other work on the machine. A training step on a GPU is measured in seconds of that GPU,
here or from the pairs per second that ``step.py`` found. Disk is the size of the workspace after the version was
pushed. Without --source, the built-in catalogue is drawn.

Prices are never assumed: money is null without a price. ``growth`` states how a cost was scaled to a million: with the
pictures, or with the entities, whose number follows from the pictures per entity in the sample (or from
--pictures-per-entity).
"""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import typer
from lib.machine import facts, peak_gib
from lib.unit_costs import Done, Some, done, index_seconds, step_seconds, untrained
from step import Place

from entityclip.data.sources import SourceOptions, open_source
from entityclip.data.sources.base import Source
from entityclip.explanations.stage import Estimate
from entityclip.paths import Layout
from entityclip.training.presets import Preset, preset

BY_ENTITY = ("explain (source texts)", "embed texts")


class Prices(NamedTuple):
    """Prices from the command line; None if not given."""

    core_hour: float | None
    gpu_hour: float | None
    gb_month: float | None
    tokens_in: float | None
    tokens_out: float | None


def times(amount: float, price: float | None) -> float | None:
    """Money; None without a price."""
    return None if price is None else round(amount * price, 2)


def per_picture(small: float, large: float, first: Done, second: Done) -> float:
    """Cost per picture; at least 0, even if the difference is only noise."""
    return max(0.0, (large - small) / (second.pictures - first.pictures))


def cpu_steps(
    first: Done, second: Done, *, pairs_wanted: int, entities: int, price: float | None
) -> list[dict[str, Any]]:
    """A line for each measured step."""
    lines = []
    for name, large in second.core_seconds.items():
        by_entity = name in BY_ENTITY
        unit = large / second.entities if by_entity else per_picture(first.core_seconds[name], large, first, second)
        hours = unit * (entities if by_entity else pairs_wanted) / 3600
        growth = "entities" if by_entity else "pictures"
        lines.append(line(name, unit, growth=growth, core_hours=hours, money=times(hours, price)))
    return lines


def line(name: str, unit: float, *, growth: str, money: float | None, **hours: float) -> dict[str, Any]:
    """One step of the plan."""
    rounded = {kind: round(value, 3) for kind, value in hours.items()}
    return {"step": name, "seconds_each": float(f"{unit:.3g}"), "growth": growth, **rounded, "money": money}


def disk(first: Done, second: Done, *, pairs_wanted: int, price: float | None) -> list[dict[str, Any]]:
    """A line for each place that stores pictures."""
    lines = []
    for name, large in second.bytes_of.items():
        each = per_picture(first.bytes_of[name], large, first, second)
        gigabytes = each * pairs_wanted / 1e9
        lines.append(
            {"place": name, "bytes_each": round(each), "gb": round(gigabytes, 1), "a_month": times(gigabytes, price)}
        )
    return lines


def written(predicted: Estimate, *, entities: int, prices: Prices) -> dict[str, Any]:
    """Input tokens and maximum output tokens of a language model, with one text per entity."""
    tokens = {
        "in": predicted.cost.tokens_in / predicted.requests,
        "out_at_most": predicted.cost.tokens_out / predicted.requests,
    }
    millions = {way: each * entities / 1e6 for way, each in tokens.items()}
    money = [times(millions["in"], prices.tokens_in), times(millions["out_at_most"], prices.tokens_out)]
    return {
        "tokens_each": {way: round(each) for way, each in tokens.items()},
        "million_tokens": {way: round(each, 1) for way, each in millions.items()},
        "money": None if None in money else round(sum(filter(None, money)), 2),
    }


def opened(source: Path | None, *, pictures: int, root: Path) -> Source:
    """The photographs in ``source``, or a catalogue of about as many pictures."""
    layout = Layout(root / "source")
    if source is not None:
        return open_source(SourceOptions(source="grocery", path=source), layout=layout)
    return open_source(SourceOptions(source="catalog", products=max(20, pictures // 4)), layout=layout)


def trained(
    settings: Preset, unit: float, *, on_gpu: bool, pairs_wanted: int, epochs: int | None, prices: Prices
) -> dict[str, Any]:
    """The line of training: ``unit`` seconds per pair and epoch, for pairs that are not held out."""
    share, rounds = 1 - settings.val_share - settings.test_share, epochs or settings.train.epochs
    hours = unit * share * rounds * pairs_wanted / 3600
    kind, price = ("gpu_hours", prices.gpu_hour) if on_gpu else ("core_hours", prices.core_hour)
    return line(f"train, {rounds} epochs", unit, growth="pictures", money=times(hours, price), **{kind: hours})


def indexed(rows: int, *, pairs_wanted: int, dim: int, price: float | None) -> dict[str, Any]:
    """The line of the picture index; lists are twice the root of the rows, so that the work grows as rows ** 1.5."""
    seconds = index_seconds(rows, dim=dim) * (pairs_wanted / rows) ** 1.5
    growth = "measured whole" if rows == pairs_wanted else f"rows ** 1.5, from {rows}"
    hours = seconds / 3600
    return line("index", seconds / pairs_wanted, growth=growth, core_hours=hours, money=times(hours, price))


def show(answer: dict[str, Any]) -> None:
    """Print the plan as a table."""
    for found in answer["steps"]:
        hours = ", ".join(f"{found[k]} {k.replace('_', ' ')}" for k in ("core_hours", "gpu_hours") if k in found)
        print(f"{found['step']:26} {found['seconds_each']:>10} s each  {hours}  money {found['money']}")
    for found in answer["disk"]:
        print(f"{found['place']:26} {found['bytes_each']:>10} bytes each  {found['gb']} GB  a month {found['a_month']}")
    print(f"language model             {answer['language_model']}")


def main(
    source: Annotated[
        Path | None, typer.Option(help="Folder of the Grocery Store data set; else the catalogue.")
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=400, help="At least so many are measured, spread over the source.")
    ] = 2000,
    pairs_wanted: Annotated[int, typer.Option("--pairs", min=1, help="So many are planned.")] = 1_000_000,
    pictures_per_entity: Annotated[float | None, typer.Option(min=1, help="As planned; else as measured.")] = None,
    settings: Annotated[str, typer.Option("--preset", help="Whose towers, sizes and epochs.")] = "published",
    epochs: Annotated[int | None, typer.Option(min=1, help="Others than the preset's.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Pairs in the measured step of training.")] = 16,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="What the step of training is measured on.")] = "cpu",
    gpu_rate: Annotated[
        float | None, typer.Option(min=0.01, help="Pairs a second that step.py found on a GPU.")
    ] = None,
    index_rows: Annotated[int | None, typer.Option(min=1000, help="Vectors indexed; else as many as planned.")] = None,
    core_hour: Annotated[float | None, typer.Option(min=0, help="Price of an hour of one CPU core.")] = None,
    gpu_hour: Annotated[float | None, typer.Option(min=0, help="Price of an hour of one such GPU.")] = None,
    gb_month: Annotated[float | None, typer.Option(min=0, help="Price of a gigabyte for a month.")] = None,
    tokens_in: Annotated[float | None, typer.Option(min=0, help="Price of a million tokens sent.")] = None,
    tokens_out: Annotated[float | None, typer.Option(min=0, help="Price of a million tokens written.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Measure the sample, extrapolate, and print the plan as one JSON object last."""
    logging.disable(logging.INFO)
    chosen, prices = preset(settings), Prices(core_hour, gpu_hour, gb_month, tokens_in, tokens_out)
    with tempfile.TemporaryDirectory(prefix="million-") as folder:
        root = Path(folder)
        whole = opened(source, pictures=pictures, root=root)
        model = untrained(chosen, root / "model")
        counts = {"warm": pictures // 4, "small": pictures // 4, "large": pictures}  # the first pays for imports
        _, small, large = (done(Some(whole, n), chosen, model, root=root / name) for name, n in counts.items())
    entities = round(pairs_wanted / (pictures_per_entity or large.pictures / large.entities))
    place = Place(device, torch.bfloat16 if device == "cuda" else torch.float32)
    rows = index_rows or pairs_wanted
    lines = cpu_steps(small, large, pairs_wanted=pairs_wanted, entities=entities, price=core_hour)
    unit = 1 / gpu_rate if gpu_rate else step_seconds(chosen, place, batch=batch)
    on_gpu = bool(gpu_rate) or device == "cuda"
    lines.append(trained(chosen, unit, on_gpu=on_gpu, pairs_wanted=pairs_wanted, epochs=epochs, prices=prices))
    lines.append(indexed(rows, pairs_wanted=pairs_wanted, dim=model.dim, price=core_hour))
    answer: dict[str, Any] = {
        "pairs": pairs_wanted,
        "entities": entities,
        "steps": lines,
        "disk": disk(small, large, pairs_wanted=pairs_wanted, price=gb_month),
        "language_model": written(large.predicted, entities=entities, prices=prices),
        "prices": prices._asdict(),
        "measured": {"source": whole.name, "pictures": large.pictures, "entities": large.entities, "preset": settings},
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "peak_gib": peak_gib(),
    }
    if not as_json:
        show(answer)
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
