"""Training, top to bottom: data, model, optimizer, then steps; the state is saved on the way and a killed run resumes.

The position in the run, not any hidden state, decides what a step does: batches, augmentation and hard
negatives come from generators seeded by (seed, step). On the CPU a resumed run ends with the very weights of an
unbroken one.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import Field
from safetensors import safe_open
from tqdm import tqdm

from entityclip import batches, checkpoint
from entityclip.batches import Augmentation, TrainingSet
from entityclip.checkpoint import CheckpointCard, save_tensors
from entityclip.errors import TrainingError
from entityclip.images import Preprocessing
from entityclip.layout import DataLayout, RunLayout
from entityclip.model.entityclip import EntityCLIP, LossConfig, ModelConfig
from entityclip.pairs import digest, sources_hash
from entityclip.records import Record
from entityclip.text import Tokenisation


class TrainConfig(Record):
    """Everything that decides what a training run computes."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    preprocessing: Preprocessing = Preprocessing()
    tokenisation: Tokenisation = Tokenisation()
    augmentation: Augmentation = Augmentation()
    epochs: int = Field(default=20, ge=1)
    batch: int = Field(default=64, ge=2, description="Pairs in a step.")
    balance: float = Field(
        default=0.0, ge=0, le=1, description="How far rare entities are drawn more often: 0 not at all, 1 until equal."
    )
    rate: float = Field(default=1e-3, gt=0, description="Highest learning rate (AdamW).")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps with a rising rate.")
    decay: float = Field(default=0.05, ge=0, description="Weight decay of matrices.")
    clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient.")
    small_until: float = Field(default=0.0, ge=0, le=1, description="Share of the epochs on smaller pictures.")
    small_size: int = Field(default=64, ge=8, description="Side of the smaller pictures, pixels.")
    mask_names: bool = Field(default=True, description="Mask an entity's names in the explanations trained on.")
    seed: int = Field(default=0, ge=0)
    save_seconds: float = Field(default=20, ge=0, description="A killed run loses at most about this many seconds.")
    device: str = Field(default="cpu", description="'cpu' or 'cuda'.")


Report = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number (from 1) and the means of the loss's terms."""


def code_hash() -> str:
    """Hash of this package's sources: a run made by other code is another run."""
    return sources_hash(Path(__file__).parent)


def run_key(config: TrainConfig, *, data_hash: str) -> str:
    """Name of the run that this config on these data makes; the same inputs find the same run again."""
    return digest(config.model_dump_json(), data_hash, code_hash(), json.dumps(_versions()))


def _versions() -> dict[str, str]:
    """The libraries that compute."""
    return {name: importlib.metadata.version(name) for name in ("torch", "open_clip_torch", "numpy")}


def fit(
    config: TrainConfig, *, data: DataLayout, data_hash: str, run: RunLayout, report: Report, progress: bool = True
) -> CheckpointCard:
    """Train, and leave a complete checkpoint in ``run``. A run that was killed goes on where it was saved.

    Raises:
        DataError: The data are incomplete.
        TrainingError: The loss is no longer finite; the message names the pairs of the batch.
    """
    if run.checkpoint.card.is_file():
        return checkpoint.read_card(run.checkpoint)
    started = time.monotonic()

    # ------------------------------------------------------------ data, model, optimizer; or the state of a killed run
    side = round(config.preprocessing.size * 8 / 7)
    training = batches.load_training_set(data, side=side, mask=config.mask_names, progress=progress)
    job = Job(config, training)
    done = job.resume(run.resume)

    # ------------------------------------------------------------ steps
    saved, sums, terms = time.monotonic(), _Means(), {}
    bar = tqdm(job.plan[done:], initial=done, total=len(job.plan), desc="train", unit="step", disable=not progress)
    for step, (epoch, _) in enumerate(bar, start=done):
        terms = job.step(step)
        sums.add(terms)
        if step + 1 == len(job.plan) or job.plan[step + 1][0] != epoch:
            bar.set_postfix(epoch=f"{epoch + 1}/{config.epochs}", loss=f"{sums.mean()['loss']:.3f}")
            report(epoch + 1, sums.take())
        if time.monotonic() - saved > config.save_seconds:
            job.save(run.resume, step=step + 1)
            saved = time.monotonic()

    # ------------------------------------------------------------ the checkpoint, its card last
    card = checkpoint.save(
        run.checkpoint,
        job.model,
        preprocessing=config.preprocessing,
        tokenisation=config.tokenisation,
        data_hash=data_hash,
        config=config.model_dump(mode="json"),
        code_hash=code_hash(),
        epochs=config.epochs,
        metrics={**terms, "seconds": time.monotonic() - started},
        versions=_versions(),
    )
    run.resume.unlink(missing_ok=True)
    return card


class Job:
    """What a run works on: the data, the model, the optimizer and the plan of its steps."""

    def __init__(self, config: TrainConfig, training: TrainingSet) -> None:
        torch.manual_seed(config.seed)
        self.config, self.training = config, training
        self.tokenizer = config.tokenisation.load()
        self.model = EntityCLIP(config.model).to(memory_format=torch.channels_last).to(config.device).train()
        self.optimizer = _optimizer(self.model, config)
        self.plan = [
            (epoch, rows)
            for epoch in range(config.epochs)
            for rows in batches.order(
                training.entities, batch=config.batch, balance=config.balance, epoch=epoch, seed=config.seed
            )
        ]

    def step(self, number: int) -> dict[str, float]:
        """Batch, loss, gradient, update. Returns the loss's terms.

        Raises:
            TrainingError: The loss is not finite; the weights are still those of the step before.
        """
        config, (epoch, rows) = self.config, self.plan[number]
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        batch = batches.make_batch(
            self.training,
            rows,
            tokenizer=self.tokenizer,
            preprocessing=self._preprocessing(epoch),
            augmentation=config.augmentation,
            generator=generator,
        ).to(config.device)
        terms = self.model.losses(batch, config=config.loss, generator=generator)
        values = {name: float(value.detach()) for name, value in terms.items()}
        if not math.isfinite(values["loss"]):
            pairs = ", ".join(self.training.pair_ids[rows])
            raise TrainingError(f"step {number}: the loss is no longer finite ({values}); pairs of the batch: {pairs}")
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate * _schedule(number / len(self.plan), warmup=config.warmup)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        return values

    def _preprocessing(self, epoch: int) -> Preprocessing:
        """That of the config; in the first epochs of smaller pictures."""
        full, config = self.config.preprocessing, self.config
        small = epoch < config.small_until * config.epochs
        return full.model_copy(update={"size": min(config.small_size, full.size)}) if small else full

    def save(self, path: Path, *, step: int) -> None:
        """Keep weights and moments after ``step`` steps, for ``resume``."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
        save_tensors(path, tensors, metadata={"step": str(step)})

    def resume(self, path: Path) -> int:
        """Put a saved state back, if there is one; returns the number of steps done."""
        if not path.is_file():
            return 0
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key in [key for key in tensors if key.startswith("optimizer.")]:
            _, number, name = key.split(".")
            value, parameter = tensors.pop(key), parameters[int(number)]
            if value.shape == parameter.shape:  # AdamW's fused kernel walks memory: same layout as the parameter
                value = torch.empty_like(parameter).copy_(value)
            state.setdefault(int(number), {})[name] = value
        self.model.load_state_dict({key.removeprefix("model."): value for key, value in tensors.items()}, strict=True)
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        return step


def _schedule(done: float, *, warmup: float) -> float:
    """Share of the highest rate at ``done`` of the run: linear rise, then a cosine down to 1 %."""
    if done < warmup:
        return done / warmup + 1e-3
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2


def _optimizer(model: EntityCLIP, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; gains, biases and the temperature do not decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98), eps=1e-6, fused=True)


class _Means:
    """Running means of the loss's terms over an epoch."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, terms: dict[str, float]) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def mean(self) -> dict[str, float]:
        return {name: value / self._count for name, value in self._sums.items()}

    def take(self) -> dict[str, float]:
        mean, self._sums, self._count = self.mean(), {}, 0
        return mean
