"""Cost of experts and matching compared with CLIP: a step of the towers alone, of this project, of the published form.

    python benchmarks/step.py --model ViT-B-32 --batch 16 --json
    python benchmarks/step.py --model ViT-B-32 --batch 192 --device cuda --dtype bf16 --compile --json

A step is forward and backward of B pictures, B captions and B explanations, all distinct; the optimiser is not timed.
Texts are of full length, or with ``--texts real`` those of the built-in catalogue. ``text_tokens`` has their mean and
largest number of tokens, and the number that they are padded to.

"towers" is open_clip's forward of the three inputs, every text padded to full length, with contrastive losses on its
vectors, "ours" is ``EntityCLIP.losses``, and "plain" is the same loss by ``lib/reference_model.py``. All three have the
same weights and the same batch and alternate in every round; ratios are medians of the ratios within a round. ``gflop``
counts the operations of each, independent of noise on the machine. ``matmul_share`` is the rate of our step divided by
that of one large product on the device. ``peak_gib`` is the memory of our step on a GPU, or of the whole process on the
CPU.

``ops_per_step``, ``casts_per_step`` and ``host_waits`` are counted over one real step of the trainer on the CPU, update
and running mean included, and ``tower_ops`` over the towers alone; both in the precision of ``--dtype``
(``lib/step_counter.py``). ``launches_per_step`` is what the host of that step launches where towers and loss are CUDA
graphs: each graph counts once forward and once backward.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple

import torch
import typer
from lib.catalog_rows import catalog_texts
from lib.machine import facts, peak_gib
from lib.reference_model import PlainMMAE, plain_losses, plain_vtc
from lib.step_counter import counting
from lib.trainer_step import COUNTED_ROWS, counted_step, launches
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from entityclip.data.text import Tokenisation
from entityclip.model.config import LossConfig, ModelConfig, TowerConfig
from entityclip.model.entityclip import Batch, EntityCLIP
from entityclip.model.losses import cosine
from entityclip.training.schedule import TEXT_LENGTHS

CONFIG = LossConfig()
END_OF_TEXT = 49407  # the largest id of CLIP's tokenizer: where its text tower is read


class Form(NamedTuple):
    """One way to compute the loss of the batch, with its weights."""

    loss: Callable[[], torch.Tensor]
    weights: list[nn.Parameter]


class StepCost(NamedTuple):
    """Cost of one forward and backward."""

    seconds: float
    gib: float  # peak on a GPU, without weights that only other forms need; 0 on the CPU


def distinct_batch(model: EntityCLIP, *, size: int, device: str, texts: Literal["full", "real"] = "full") -> Batch:
    """Noise as pictures; as texts random words of full length, or those of the catalogue. Each row is an entity."""
    g = torch.Generator().manual_seed(0)
    side, length = model.picture_size or 224, model.longest_text or 77
    own = torch.arange(size)

    def full() -> torch.Tensor:
        words = torch.randint(1000, 40_000, (size, length), generator=g)
        words[:, -1] = END_OF_TEXT
        return words

    pictures, captions, explanations = torch.randn(size, 3, side, side, generator=g), full(), full()
    if texts == "real":
        lengths = TEXT_LENGTHS if device == "cuda" else ()  # as the trainer pads
        captions, explanations = catalog_texts(Tokenisation(context=length).load(lengths=lengths), size).values()
    draws, explained = torch.rand(size, 2, generator=g), torch.ones(size, dtype=torch.bool)
    return Batch(pictures, captions, own, explanations, own, explained, own, draws).to(device)


def forms(model: EntityCLIP, batch: Batch) -> dict[str, Form]:
    """Towers alone, ours, plain."""
    plain = PlainMMAE(model.mmae)
    towers = [weight for name, weight in model.named_parameters() if not name.startswith("mmae.")]

    longest = model.longest_text or 77
    captions, explanations = (F.pad(ids, (0, longest - ids.shape[1])) for ids in (batch.captions, batch.explanations))

    def towers_alone() -> torch.Tensor:
        v, t, e = model.visual(batch.pictures), model.text(captions), model.text(explanations)
        scale = model.logit_scale.exp()
        each = [plain_vtc(scale * cosine(v, text), batch.entities) for text in (t, e)]
        return each[0] + CONFIG.explanation * each[1]

    def ours() -> torch.Tensor:
        return model.losses(batch, config=CONFIG)["loss"]

    def published() -> torch.Tensor:
        return plain_losses(model, plain, batch, config=CONFIG)["loss"]

    return {
        "towers": Form(towers_alone, towers),
        "ours": Form(ours, list(model.parameters())),
        "plain": Form(published, towers + list(plain.parameters())),
    }


class Place(NamedTuple):
    """Device and precision of a step."""

    device: str
    dtype: torch.dtype

    def step(self, form: Form) -> torch.Tensor:
        """Forward and backward; returns the loss and leaves gradients in the weights."""
        with torch.autocast(self.device, self.dtype) if self.dtype == torch.bfloat16 else nullcontext():
            loss = form.loss()
        loss.backward()
        return loss.detach()

    def now(self) -> float:
        """Wall-clock seconds after the device has finished its work."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def cost(form: Form, place: Place, *, idle: int) -> StepCost:
    """One forward and backward with empty gradients, while ``idle`` bytes of other weights are in memory."""
    gpu = place.device == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    started = place.now()
    place.step(form)
    seconds = place.now() - started
    forget_gradients(form)
    return StepCost(seconds, (torch.cuda.max_memory_allocated() - idle) / 2**30 if gpu else 0.0)


def counted(form: Form, place: Place) -> tuple[float, int]:
    """The loss, and the floating-point operations of one forward and backward; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        loss = place.step(form)
    forget_gradients(form)
    return float(loss), counter.get_total_flops()


def forget_gradients(form: Form) -> None:
    """Free the gradients, so that they do not count for the next form."""
    for weight in form.weights:
        weight.grad = None


def measure(by_name: dict[str, Form], place: Place, *, rounds: int, warmup: int) -> dict[str, list[StepCost]]:
    """Time every form once per round, in rotating order; warm-up rounds are dropped."""
    size = {id(weight): weight.nbytes for form in by_name.values() for weight in form.weights}
    idle = {name: sum(size.values()) - sum(w.nbytes for w in form.weights) for name, form in by_name.items()}
    costs: dict[str, list[StepCost]] = {name: [] for name in by_name}
    names = list(by_name)
    for number in range(warmup + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            costs[name].append(cost(by_name[name], place, idle=idle[name]))
    return {name: found[warmup:] for name, found in costs.items()}


def summary(costs: dict[str, list[StepCost]]) -> dict[str, Any]:
    """Medians and spread over the rounds; memory if it was measured."""
    seconds = {name: [each.seconds for each in found] for name, found in costs.items()}
    memory = {name: max(each.gib for each in found) for name, found in costs.items()}
    ratios = {
        f"{name}_over_{base}": [a / b for a, b in zip(seconds[name], seconds[base], strict=True)]
        for name, base in (("ours", "towers"), ("plain", "ours"))
        if name in seconds
    }
    answer: dict[str, Any] = {name: round(median(each), 3) for name, each in ratios.items()}
    answer["spread"] = {name: [round(min(each), 3), round(max(each), 3)] for name, each in ratios.items()}
    answer["seconds"] = {name: round(median(each), 4) for name, each in seconds.items()}
    on_gpu = {"peak_gib": memory["ours"], "peak_over_towers": memory["ours"] / (memory["towers"] or 1)}
    return answer | ({name: round(figure, 3) for name, figure in on_gpu.items()} if memory["ours"] else {})


def counts(architecture: str, *, dtype: torch.dtype) -> dict[str, int]:
    """Operations, casts and host waits of the trainer's step, and the operations of the towers alone."""
    network = EntityCLIP(ModelConfig(towers=TowerConfig(architecture=architecture))).train()
    batch = distinct_batch(network, size=COUNTED_ROWS, device="cpu")
    with counting() as towers:
        Place("cpu", dtype).step(forms(network, batch)["towers"])
    precision = "bf16" if dtype == torch.bfloat16 else "float32"
    found = counted_step(architecture, precision=precision).totals() | {"tower_ops": towers.totals()["ops_per_step"]}
    return found | {"launches_per_step": launches(architecture, precision=precision)}


def text_tokens(batch: Batch) -> dict[str, list[float]]:
    """Mean and largest number of tokens of captions and of explanations, the end of the text included, and the number
    that they are padded to.
    """
    kinds = {"captions": batch.captions, "explanations": batch.explanations}
    lengths = {kind: (ids.argmax(dim=1) + 1).double() for kind, ids in kinds.items()}
    return {
        kind: [round(float(found.mean()), 1), int(found.max()), kinds[kind].shape[1]] for kind, found in lengths.items()
    }


def matmul_rate(place: Place) -> float:
    """Operations per second of a large square product, best of ten."""
    side = 8192 if place.device == "cuda" else 1024
    a, b = (torch.randn(side, side, device=place.device, dtype=place.dtype) for _ in range(2))
    seconds = []
    for _ in range(10):
        started = place.now()
        a @ b
        seconds.append(place.now() - started)
    return 2 * side**3 / min(seconds)


def main(
    model: Annotated[str, typer.Option(help="Any open_clip architecture with CLIP's own tokenizer.")] = "ViT-B-32",
    batch: Annotated[int, typer.Option(min=2, help="Rows: a picture, a caption and an explanation each.")] = 16,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute.")] = "cpu",
    dtype: Annotated[Literal["fp32", "bf16"], typer.Option(help="bf16 is automatic mixed precision.")] = "fp32",
    texts: Annotated[Literal["full", "real"], typer.Option(help="Full length, or the catalogue's texts.")] = "full",
    compiled: Annotated[bool, typer.Option("--compile", help="All three forms through torch.compile.")] = False,
    plain: Annotated[bool, typer.Option("--plain/--no-plain", help="The published form too; long to compile.")] = True,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds of the three forms.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Time the three forms and print their costs as one JSON object last."""
    if device == "cuda" and not torch.cuda.is_available():
        typer.echo(
            "--device cuda: PyTorch sees no CUDA device on this machine; run this command on one that has", err=True
        )
        raise typer.Exit(2)
    torch.manual_seed(0)
    place = Place(device, torch.bfloat16 if dtype == "bf16" else torch.float32)
    network = EntityCLIP(ModelConfig(towers=TowerConfig(architecture=model))).to(device).train()
    rows = distinct_batch(network, size=batch, device=device, texts=texts)
    by_name = forms(network, rows)
    by_name = by_name if plain else {name: form for name, form in by_name.items() if name != "plain"}
    arithmetic = {name: counted(form, place) for name, form in by_name.items()}
    if compiled:
        by_name = {name: Form(torch.compile(form.loss), form.weights) for name, form in by_name.items()}
    warmup = 5 if compiled or device == "cuda" else 0  # counting has warmed the CPU
    answer = summary(measure(by_name, place, rounds=rounds, warmup=warmup))
    ours = answer["seconds"]["ours"]
    answer = {"peak_gib": peak_gib(), "pairs_per_s": round(batch / ours, 2)} | answer
    answer["matmul_share"] = round(arithmetic["ours"][1] / ours / matmul_rate(place), 3)
    answer["loss"] = {name: loss for name, (loss, _) in arithmetic.items() if name != "towers"}
    answer["gflop"] = {name: round(flops / 1e9, 1) for name, (_, flops) in arithmetic.items()}
    answer |= counts(model, dtype=place.dtype)
    about = {
        "model": model,
        "batch": batch,
        "texts": texts,
        "text_tokens": text_tokens(rows),
        "device": device,
        "dtype": dtype,
        "compile": compiled,
        "rounds": rounds,
    }
    if device == "cuda":
        about["gpu"] = torch.cuda.get_device_name()
    if not as_json:
        for name, seconds in answer["seconds"].items():
            print(f"{name:8}{seconds:9.3f} s")
    print(json.dumps(answer | about | {"threads": torch.get_num_threads()} | facts()))


if __name__ == "__main__":
    typer.run(main)
