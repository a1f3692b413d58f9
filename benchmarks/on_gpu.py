"""Everything that only a GPU can say about training, in one command of a few minutes.

    python benchmarks/on_gpu.py --dry-run --json
    python benchmarks/on_gpu.py --to on_gpu.json --json
    python benchmarks/on_gpu.py --device cpu --quick --json

The parts are the rate of a large product; the towers alone and our loss by ``step.py``, for texts of full length and of
the catalogue's; the trainer's own step, eager, compiled, and compiled with CUDA graphs; batches from JPEGs of 224
pixels (``lib/feeding.py``); the demo trained to its usual recall, interrupted once and resumed; and the tests marked
``gpu``. The file of ``--to`` is written after each part, so that an interrupted run keeps its figures. A part that
fails or no longer fits into ``--minutes`` says so in its place. ``--only feeding`` runs the parts of such a name.

``--quick`` walks through the same parts with a small model; on a CPU it compiles nothing and captures no graph.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import typer
from lib.feeding import feeding
from lib.machine import facts
from lib.trainer_step import WARM, training_job
from step import Place, distinct_batch, forms, matmul_rate, measure, summary

from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.evaluate import evaluate
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.model.config import ModelConfig, TowerConfig
from entityclip.model.entityclip import EntityCLIP
from entityclip.paths import Layout
from entityclip.storage import atomic_write
from entityclip.training import presets
from entityclip.training.step import TrainingJob
from entityclip.training.trainer import fit

Mode = Literal["eager", "compiled", "graphs"]
"""Of the trainer's step; graphs are those of compiled towers."""

TEXTS: tuple[Literal["full", "real"], ...] = ("full", "real")
ROOT = Path(__file__).parents[1]
GPU_TESTS = ["tests/training", "-m", "gpu"]


class Sizes(NamedTuple):
    """How large the parts are."""

    model: str
    batches: tuple[int, ...]
    rounds: int
    steps: int  # of the trainer that are timed
    fed: int  # pictures that are prepared from JPEGs
    products: int
    preset: Literal["demo", "tiny"]


FULL = Sizes("ViT-B-32", (192, 512, 1024), rounds=5, steps=20, fed=16_384, products=300, preset="demo")
QUICK = Sizes("entityclip-tiny", (4, 8), rounds=1, steps=2, fed=384, products=24, preset="tiny")


QUICKER = 4
"""How many times as fast the parts are expected to be with the small sizes, on two cores."""


class Part(NamedTuple):
    """One measurement."""

    name: str
    seconds: float  # expected, on an H100 with the full sizes
    work: Callable[[], dict[str, Any]]


class Stopped(Exception):
    """The training was interrupted on purpose."""


# ---------------------------------------------------------------- the parts
def parts(sizes: Sizes, place: Place) -> Iterator[Part]:
    """Every measurement, the most telling ones first."""
    yield Part("matmul", 5, lambda: {"tflops": round(matmul_rate(place) / 1e12, 3)})
    for batch in sizes.batches:
        yield Part(f"trainer, eager, batch {batch}", 25, partial(trained, sizes, place, batch=batch, mode="eager"))
        for texts in TEXTS:
            loss = partial(loss_alone, sizes, place, batch=batch, texts=texts)
            yield Part(f"loss, {texts} texts, batch {batch}", 10, loss)
    yield Part("pytest -m gpu", 60, tests)
    yield Part("feeding from 224-pixel JPEGs", 20, partial(feeding, pictures=sizes.fed, device=place.device))
    yield Part("demo, interrupted and resumed", 55, partial(demo, sizes, place))
    for batch in sizes.batches:
        step = partial(trained, sizes, place, batch=batch)
        yield Part(f"trainer, compiled, batch {batch}", 45, partial(step, mode="compiled"))
        yield Part(f"trainer, graphs, batch {batch}", 20, partial(step, mode="graphs"))


def loss_alone(sizes: Sizes, place: Place, *, batch: int, texts: Literal["full", "real"]) -> dict[str, Any]:
    """Forward and backward of the towers alone and of our loss, as ``step.py`` times them."""
    torch.manual_seed(0)
    network = EntityCLIP(ModelConfig(towers=TowerConfig(architecture=sizes.model))).to(place.device).train()
    rows = distinct_batch(network, size=batch, device=place.device, texts=texts)
    by_name = {name: form for name, form in forms(network, rows).items() if name != "plain"}
    found = summary(measure(by_name, place, rounds=sizes.rounds, warmup=2))
    return {"pairs_per_s": round(batch / found["seconds"]["ours"], 1)} | found


def trained(sizes: Sizes, place: Place, *, batch: int, mode: Mode) -> dict[str, Any]:
    """The trainer's step from the prepared batch to the update, texts of the catalogue."""
    job = training_job(sizes.model, batch=batch, device=place.device, precision="bf16", compile=mode != "eager")
    job.graphed = mode == "graphs"  # whatever stands against it: here no thread pins batches
    started = place.now()
    for number in range(WARM):
        job.step(number, job.steps[number])
    first = place.now() - started
    prepared = job.steps[WARM]
    if place.device == "cuda":
        prepared = type(prepared)(*(tensor.pin_memory() for tensor in prepared))
        torch.cuda.reset_peak_memory_stats()
    started = place.now()
    for _ in range(sizes.steps):
        job.step(WARM, prepared)
    queued = time.perf_counter() - started
    seconds = place.now() - started
    job.require_finite()
    memory = {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)} if place.device == "cuda" else {}
    figures = {
        "pairs_per_s": round(batch * sizes.steps / seconds, 1),
        "step_s": round(seconds / sizes.steps, 4),
        "queued_share": round(queued / seconds, 3),  # of that time, the host was busy launching
        "first_steps_s": round(first, 1),
    }
    return figures | memory | compilation(job)


def compilation(job: TrainingJob) -> dict[str, Any]:
    """Seconds of compilation, and the number of graphs or why there are none."""
    seconds = {"compile_s": round(job.compiled.seconds, 1)} if job.compiled else {}
    return seconds | ({} if job.graphs is None else {"graphs": job.graphs.failure or len(job.graphs)})


def demo(sizes: Sizes, place: Place) -> dict[str, Any]:
    """The preset trained on the device, stopped after half of its epochs and resumed; R@1 on the test pictures."""
    config = getattr(presets, sizes.preset)().train.changed(device=place.device, precision="bf16")

    def stop(epoch: int, _: dict[str, float]) -> None:
        if epoch == config.epochs // 2:
            raise Stopped

    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        source = CatalogSource(layout.drawn, products=sizes.products, faults=False)
        ingest(source, staging=layout.staging, rejected=layout.rejected("catalog"), progress=False)
        explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
        run = layout.run("demo")
        settings: dict[str, Any] = {"data": layout.staging, "data_hash": "", "run": run, "progress": False}
        started = time.monotonic()
        config = config.changed(save_seconds=0.01)
        try:
            fit(config, report=stop, **settings)
        except Stopped:
            fit(config, report=lambda *_: None, **settings)
        seconds = time.monotonic() - started
        model = checkpoint.load(run.checkpoint)
        report = evaluate(replace(model, card=calibrate(model, layout.staging)), layout.staging, progress=False)[0]
    r1 = {index: report.value("R@1", index=index, slice="all") for index in ("caption", "explanation", "mixed")}
    return {"r1": r1, "training_s": round(seconds, 1), "epochs": config.epochs}


def tests() -> dict[str, Any]:
    """The tests that need a GPU; without one they are skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *GPU_TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    return {"exit_status": done.returncode, "tail": (done.stdout + done.stderr).splitlines()[-12:]}


# ---------------------------------------------------------------- one after the other
def walk(wanted: list[Part], *, minutes: float, to: Path, about: dict[str, Any], quiet: bool) -> dict[str, Any]:
    """Run the parts that fit; the file is complete after each of them."""
    started, answer = time.monotonic(), about | {"parts": {}}
    for part in wanted:
        begun = time.monotonic()
        left = 60 * minutes - (begun - started)
        if part.seconds > left:
            found: dict[str, Any] = {"left_out": f"expected {part.seconds:.0f} s, {left:.0f} s are left"}
        else:
            found = attempted(part.work)
        found["seconds_all"] = round(time.monotonic() - begun, 1)
        answer["parts"][part.name] = found
        answer["seconds"] = round(time.monotonic() - started, 1)
        atomic_write(to, json.dumps(answer, indent=2))
        if not quiet:
            print(f"{part.name}: {json.dumps(found)}", flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return answer


def attempted(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures, or why there are none: the parts behind a failed one still run."""
    try:
        return work()
    except Exception as error:  # out of memory, no compiler, a library of another version
        where = traceback.extract_tb(error.__traceback__)[-1]
        return {"error": f"{type(error).__name__}: {str(error)[:500]} ({Path(where.filename).name}:{where.lineno})"}


def main(
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute.")] = "cuda",
    quick: Annotated[bool, typer.Option("--quick", help="Every part with a small model.")] = False,
    minutes: Annotated[float, typer.Option(min=0, help="A part that does not fit any more is left out.")] = 8,
    to: Annotated[Path, typer.Option(help="File that has the figures so far.")] = Path("on_gpu.json"),
    only: Annotated[str, typer.Option(help="The parts whose name has this text.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the parts with their expected seconds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Measure training on a GPU and print the figures as one JSON object, last."""
    sizes, place = (QUICK if quick else FULL), Place(device, torch.bfloat16)
    wanted = [
        part._replace(seconds=part.seconds / (QUICKER if quick else 1))
        for part in parts(sizes, place)
        if only in part.name
    ]
    if not wanted:
        raise typer.BadParameter(f"no part is named like {only!r}; --dry-run lists them")
    expected = {part.name: part.seconds for part in wanted}
    if dry_run:
        print(json.dumps({"parts": expected, "seconds": sum(expected.values()), "minutes": minutes}))
        return
    if device == "cuda" and not torch.cuda.is_available():
        typer.echo("--device cuda: PyTorch sees no CUDA device on this machine; use --device cpu --quick", err=True)
        raise typer.Exit(2)
    about = {"device": device, "quick": quick} | facts()
    if device == "cuda":
        about["gpu"] = torch.cuda.get_device_name()
    with torch.compiler.set_stance("force_eager") if device == "cpu" else nullcontext():
        answer = walk(wanted, minutes=minutes, to=to, about=about, quiet=as_json)
    print(json.dumps(answer))


if __name__ == "__main__":
    typer.run(main)
