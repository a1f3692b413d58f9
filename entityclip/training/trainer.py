"""Training, top to bottom: data, model, optimizer, then steps; the state is saved on the way and a killed run resumes.

The position in the run, not any hidden state, decides what a step does: batches, augmentation and hard
negatives come from generators seeded by (seed, step). On the CPU a resumed run ends with the very weights of an
unbroken one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from tqdm import tqdm

from entityclip.data.pairs import read_frame
from entityclip.data.text import Tokenizer
from entityclip.errors import CheckpointError
from entityclip.model import checkpoint
from entityclip.model.checkpoint_card import CheckpointCard, read_card, verify
from entityclip.paths import CheckpointLayout, DataLayout, DecodedLayout, RunLayout
from entityclip.schemas import Split
from entityclip.training import batches, resume_state
from entityclip.training.batches import TrainingSet
from entityclip.training.best_checkpoint import Best
from entityclip.training.budget import planned
from entityclip.training.compiled_blocks import keep_kernels
from entityclip.training.config import TIMES, TrainConfig, code_hash, first_weights, versions
from entityclip.training.cuda_graphs import obstacle
from entityclip.training.devices import join, machine
from entityclip.training.distillation import distil
from entityclip.training.feeding import feed, shortage
from entityclip.training.interpolation import interpolate, keep_start
from entityclip.training.step import TrainingJob
from entityclip.training.text_settings import settle_texts

READ_EVERY = 16
"""Steps after which a GPU's host waits for it, to see whether loss and gradient were finite; on a CPU every step."""

Report = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number (from 1) and the means of the loss's terms over its steps, and of TIMES."""


def fit(
    config: TrainConfig,
    *,
    data: DataLayout,
    data_hash: str,
    run: RunLayout,
    report: Report,
    decoded: DecodedLayout | None = None,
    progress: bool = True,
) -> CheckpointCard:
    """Train, and leave a complete checkpoint in ``run``. A run that was killed goes on where it was saved.

    Started by ``launch`` or ``torchrun``, every process calls it with the same arguments; together they are one run.

    Args:
        config: What is computed.
        data: The data version trained on.
        data_hash: Its hash, for the card.
        run: Where the run is kept.
        report: Called after each epoch.
        decoded: Where decoded pictures are kept; by default in ``run``.
        progress: Show bars.

    Raises:
        ConfigError: The towers cannot do what the config sets.
        DataError: The data are incomplete.
        TrainingError: Loss or gradient is no longer finite; the message names the pairs of the batch.
    """
    processes = join(config)
    if run.checkpoint.card.is_file():
        return read_card(run.checkpoint)
    if config.distillation is None or not _intact(run.teacher):
        cache = decoded or run.decoded
        _fit(config, data, run, data_hash=data_hash, cache=cache, report=report, progress=progress)
    if config.distillation is not None and processes.is_main_process:
        teacher, how = checkpoint.load(run.teacher, device=config.device), config.distillation
        distil(teacher, data, config=how, to=run.checkpoint, data_hash=data_hash, progress=progress)
    while not run.checkpoint.card.is_file():  # a barrier gives up after minutes
        time.sleep(1)
    return read_card(run.checkpoint)


def _intact(trained: CheckpointLayout) -> bool:
    """Whether an earlier run has trained this model."""
    try:
        return bool(verify(trained))
    except CheckpointError:
        return False


def _trained(config: TrainConfig, run: RunLayout) -> CheckpointLayout:
    """Where the trained model goes: with a distillation, it is not yet the final one."""
    return run.checkpoint if config.distillation is None else run.teacher


def _fit(
    config: TrainConfig,
    data: DataLayout,
    run: RunLayout,
    *,
    data_hash: str,
    cache: DecodedLayout,
    report: Report,
    progress: bool,
) -> None:
    """Train until the trained model's checkpoint is complete."""
    processes = join(config)
    started, first = time.monotonic(), processes.is_main_process
    show = progress and first
    training = _read(config, data, "train", side=config.kept_side, cache=cache, progress=show)
    if config.siblings:
        training = batches.with_siblings(training, data)
    with processes.main_process_first():  # the others find its tokenizer
        config = settle_texts(config, data, folder=run.tokenizer, learn=first)
    if config.compile:
        keep_kernels(cache.kernels)
    config, plan = planned(config, training, run=run, started=started)
    for note in _notes(config, plan, processes=processes.num_processes) if first else ():
        tqdm.write(note)
    job = _job(config, training, data, run=run, cache=cache, progress=show)
    interpolates, held_out = _interpolates(job, data), None
    if config.keep == "best" or interpolates:
        validation = _read(config, data, "val", side=config.preprocessing.size, cache=cache, progress=show)
        held_out = Best(config, validation, run.best)
    best = held_out if config.keep == "best" else None
    terms = _train(job, best, run=run, report=report if first else silent, progress=show)
    if best:
        best.restore(job)
    if job.compiled:
        terms["compile_s"] = job.compiled.seconds
    extra = {"interpolation": interpolate(job, held_out, run.start)} if interpolates and held_out else {}
    weights = job.finish()
    if first:
        metrics = {**terms, **_long_texts(training, job.steps.tokenizer), **extra}
        metrics["seconds"] = time.monotonic() - started
        _keep(config, job, weights, run=run, data_hash=data_hash, metrics=metrics)
    job.accelerator.wait_for_everyone()


def _notes(config: TrainConfig, plan: str, *, processes: int) -> Iterator[str]:
    """Lines to print before the first step."""
    if plan:
        yield plan
    if config.compile and (reason := obstacle(config)):
        yield f"compile: no CUDA graphs: {reason}"
    if short := shortage(config, processes=processes):
        yield short


def _job(
    config: TrainConfig,
    training: TrainingSet,
    data: DataLayout,
    *,
    run: RunLayout,
    cache: DecodedLayout,
    progress: bool,
) -> TrainingJob:
    """The job in front of its first step, or of the state that a killed run left."""
    hashes = read_frame(data.pairs, name="train", columns=["image_sha256"])["image_sha256"].tolist()

    def first(job: TrainingJob) -> None:
        job.keep_features(cache, hashes=hashes, progress=progress)
        if not run.resume.is_file():
            job.start_projection()

    return TrainingJob(config, training, first=first)


def _interpolates(job: TrainingJob, data: DataLayout) -> bool:
    """Whether the run ends between two sets of weights: not without validation pictures, which say where."""
    known = len(read_frame(data.pairs, name="val", columns=["pair_id"]))
    return job.config.adaptation.interpolate and 0 < job.steps.probe < len(job.steps) and known > 0


def _train(job: TrainingJob, best: Best | None, *, run: RunLayout, report: Report, progress: bool) -> dict[str, float]:
    """Every step that is left, from the state of a killed run on; the terms of the last one."""
    config = job.config
    done, total = resume_state.resume(run.resume, job.wrapped, job.optimizer, job.average), len(job.steps)
    saved, means = time.monotonic(), _Means()
    terms: dict[str, torch.Tensor] = {}
    bar = tqdm(initial=done, total=total, desc="train", unit="step", disable=not progress)
    read_every = READ_EVERY if job.accelerator.device.type == "cuda" else 1
    requested = time.monotonic()
    for step, prepared in enumerate(feed(job.steps, first=done), start=done):
        arrived = time.monotonic()
        if step == job.steps.probe and config.adaptation.interpolate:
            keep_start(job, run.start)
        terms = job.step(step, prepared)
        reads = (step + 1) % read_every == 0 or job.steps.ends_epoch(step)
        if reads:
            job.require_finite()
        means.add(terms, dict(zip(TIMES, (arrived - requested, time.monotonic() - arrived), strict=True)))
        bar.update()
        if job.steps.ends_epoch(step):
            epoch = job.steps.plan[step][0] + 1
            bar.set_postfix(epoch=f"{epoch}/{config.epochs}", loss=f"{means.mean()['loss']:.3f}")
            report(epoch, means.pop() | ({"validation": best.offer(job)} if best else {}))
        if reads and job.agree(time.monotonic() - saved > config.save_seconds):
            resume_state.save(run.resume, job.wrapped, job.optimizer, job.average, step=step + 1)
            saved = time.monotonic()
        requested = time.monotonic()
    bar.close()
    return {name: float(value) for name, value in terms.items()}


def silent(epoch: int, terms: dict[str, float]) -> None:
    """What a process says that is not the first."""


def _read(
    config: TrainConfig, data: DataLayout, split: Split, *, side: int, cache: DecodedLayout, progress: bool
) -> TrainingSet:
    full = config.preprocessing
    return batches.load_training_set(
        data,
        split=split,
        preprocessing=full.model_copy(update={"size": side}),
        cache=cache,
        most_bytes=config.cache_gigabytes * 10**9,
        mask=config.mask_names,
        progress=progress,
    )


def _keep(
    config: TrainConfig,
    job: TrainingJob,
    weights: dict[str, torch.Tensor],
    *,
    run: RunLayout,
    data_hash: str,
    metrics: dict[str, float],
) -> None:
    """Write the checkpoint; what a killed run would have gone on from is not needed any more."""
    checkpoint.save(
        _trained(config, run),
        job.model,
        weights=weights,
        first_weights=first_weights(config),
        preprocessing=config.preprocessing,
        tokenisation=config.tokenisation,
        data_hash=data_hash,
        config=config.portable().model_dump(mode="json"),
        code_hash=code_hash(),
        epochs=config.epochs,
        metrics=metrics,
        versions=versions(),
        machine=machine(job.accelerator.device),
    )
    run.resume.unlink(missing_ok=True)
    run.best.unlink(missing_ok=True)
    run.start.unlink(missing_ok=True)


SAMPLE = 2000
"""Texts of each kind whose length is measured."""


def _long_texts(training: TrainingSet, tokenizer: Tokenizer) -> dict[str, float]:
    """Share of the captions and of the explanations that are longer than the context: those that lose their end, and
    those that are read in pieces.
    """
    kinds = {"captions": training.captions, "explanations": training.explanations}
    shares: dict[str, float] = {}
    for kind, known in kinds.items():
        texts = [text for of_entity in known for text in of_entity]
        sample = texts[:: max(1, len(texts) // SAMPLE)]
        longer = float((tokenizer.lengths(sample) > tokenizer.config.context).mean()) if sample else 0.0
        cut = tokenizer.config.long_texts == "cut"
        shares |= {f"truncated_{kind}": longer if cut else 0.0, f"in_pieces_{kind}": 0.0 if cut else longer}
    return shares


class _Means:
    """Running means over an epoch: of the loss's terms, which stay on the device until they are read, and of times."""

    def __init__(self) -> None:
        self._terms: dict[str, torch.Tensor] = {}
        self._times: dict[str, float] = {}
        self._count = 0

    def add(self, terms: dict[str, torch.Tensor], times: dict[str, float]) -> None:
        if self._count:
            torch._foreach_add_(list(self._terms.values()), list(terms.values()))
        else:
            self._terms = {name: value.clone() for name, value in terms.items()}
        self._times = {name: self._times.get(name, 0.0) + value for name, value in times.items()}
        self._count += 1

    def mean(self) -> dict[str, float]:
        sums = {name: float(value) for name, value in self._terms.items()} | self._times
        return {name: value / self._count for name, value in sums.items()}

    def pop(self) -> dict[str, float]:
        mean, self._times, self._count = self.mean(), {}, 0
        return mean
