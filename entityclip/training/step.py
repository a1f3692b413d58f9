"""What a run works on, and its single step: loss, gradient, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, count

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import ConfigError, TrainingError
from entityclip.model.compatibility import require_fit
from entityclip.model.distributed import processes
from entityclip.model.entityclip import MAX_SCALE, Batch, EntityCLIP, Read
from entityclip.model.frozen_part import frozen_blocks
from entityclip.model.image_towers import image_blocks
from entityclip.model.tokens import TowerOutput
from entityclip.paths import DecodedLayout
from entityclip.training import frozen_features
from entityclip.training.adapters import adapt, optimizer, tower_weights, train_mode
from entityclip.training.batches import PreparedBatch, TrainingSet
from entityclip.training.compiled_blocks import CompiledBlocks
from entityclip.training.config import TrainConfig
from entityclip.training.cuda_graphs import StepGraphs, obstacle
from entityclip.training.devices import accelerator_of
from entityclip.training.ema import Average
from entityclip.training.finite import FiniteCheck
from entityclip.training.first_projection import start_from_components
from entityclip.training.frozen_features import Views
from entityclip.training.memory import attention, keep_freed_memory
from entityclip.training.resume_state import whole_state
from entityclip.training.schedule import Steps, rate_share
from entityclip.training.working_weights import WorkingWeights


class TrainingJob:
    """Model, optimizer and steps of a run, on the devices that it was given.

    Args:
        config: What is computed.
        training: What it trains on.
        first: Called while every process still holds the whole model: for ``keep_features``, ``start_projection``.

    Raises:
        ConfigError: These towers cannot do what the config sets.
    """

    def __init__(
        self, config: TrainConfig, training: TrainingSet, *, first: Callable[[TrainingJob], None] | None = None
    ) -> None:
        self.config = config
        keep_freed_memory()
        torch.manual_seed(config.seed)
        self.model = EntityCLIP(config.model).to(memory_format=torch.channels_last)
        self.accelerator = accelerator_of(config, self.model)
        self.model.to(self.accelerator.device)
        self.steps = Steps(config, training)
        _require_possible(config, self.model)
        require_fit(self.model, preprocessing=config.preprocessing, tokenizer=self.steps.tokenizer)
        self._merge = adapt(self.model, config.adaptation)
        if config.checkpoint_gradients:
            self.model.checkpoint_gradients()
        self.compiled = CompiledBlocks(chain(*self.model.blocks())) if config.compile else None
        self.graphed = config.compile and not obstacle(config)
        if first:
            first(self)
        self.wrapped, prepared = self.accelerator.prepare(self.model, optimizer(self.model, config))
        self.optimizer: torch.optim.Optimizer = prepared.optimizer
        self.working = WorkingWeights(self.model) if self._reads_copies() else None
        self.finite = FiniteCheck(self.accelerator.device)
        self._tower_weights = tower_weights(self.model)
        self.probing: bool | None = None
        self.graphs: StepGraphs | None = None
        self.train_mode()
        with torch.no_grad():
            self.average = Average(self.wrapped, keep=config.ema_decay)

    def keep_features(self, cache: DecodedLayout, *, hashes: Sequence[str], progress: bool) -> None:
        """Let the frozen part of the image tower read the training pictures once, where the config wants it to.

        Raises:
            ConfigError: The tower cannot be cut between its blocks.
        """
        if not (cuts := self.cuts()):
            return
        config = self.config
        kept = frozen_features.keep_features(
            self.model.visual,
            self.steps.training.pictures,
            hashes=hashes,
            views=Views(config.adaptation.views, config.preprocessing, config.augmentation),
            blocks=list(cuts.values()),
            cache=cache,
            progress=progress,
        )
        self.steps.features = {probing: kept[cut] for probing, cut in cuts.items()}

    def start_projection(self) -> None:
        """Start a fresh projection of the image tower from the training pictures, where the config wants it to; from
        their features, where they are kept. With several processes each computes it, and the first one's counts.
        """
        config, kept = self.config, next(iter(self.steps.features.values()), None)
        if not config.adaptation.whiten:
            return
        view = Views(1, config.preprocessing, config.augmentation)
        start_from_components(self.model, self.steps.training.pictures, views=view, kept=kept)

    def cuts(self) -> dict[bool, int]:
        """In the first epochs (True) and after them: behind how many blocks features are kept; empty without any."""
        if not self.config.adaptation.views:
            return {}
        learning = frozen_blocks(self.model.visual)
        whole = {True: len(image_blocks(self.model.visual))} if self.steps.probe else {}
        return whole | ({False: learning} if learning and self.steps.probe < len(self.steps) else {})

    def enter(self, *, probing: bool) -> None:
        """Let the weights learn that learn in this part of the run, from pictures or from kept features."""
        self.probing = probing
        for weight in self._tower_weights:
            weight.requires_grad_(not probing)
        features = self.steps.features.get(probing)
        self.model.features_behind = features.blocks if features else None
        self.graphs = StepGraphs(self.model) if self.graphed else None  # of the weights that learn now
        self.train_mode()

    def train_mode(self) -> None:
        """Put the model into training mode, all but its frozen modules."""
        train_mode(self.wrapped)

    def step(self, number: int, prepared: PreparedBatch) -> dict[str, torch.Tensor]:
        """Loss, gradient, update, without waiting for the device. Returns the loss's terms, scalars on the device.

        A step whose loss or gradient is not finite changes no weight, and neither does any after it: see
        ``require_finite``.
        """
        if (probing := self.steps.probes(number)) != self.probing:
            self.enter(probing=probing)
        torch.manual_seed(self.config.seed * 1_000_003 + number)  # a tower may have dropout
        epoch, _ = self.steps.plan[number]
        batch = prepared.batch(preprocessing=self.preprocessing(epoch), device=self.accelerator.device)
        self.optimizer.zero_grad(set_to_none=True)
        working = self.working.used() if self.working else nullcontext()
        compiling = self.compiled.within_limit() if self.compiled else nullcontext()
        with attention(self.accelerator.device, self.config.precision), working, compiling:
            terms = self._in_chunks(batch, number) if self.config.grad_cache_chunk else self._at_once(batch)
        values = self.accelerator.reduce(torch.stack([value.detach() for value in terms.values()]), "mean").double()
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.max_grad_norm)
        self.optimizer.found_inf = self.finite.add(number, values[-1], norm)  # type: ignore[attr-defined]
        highest = self.config.adaptation.probe_rate if probing else self.config.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = highest * group["scale"] * rate_share(self.steps.done(number), warmup=self.config.warmup)
        self.optimizer.step()
        with torch.no_grad():  # beyond the loss's own limit it would have no gradient to come back by
            self.model.logit_scale.clamp_(max=math.log(MAX_SCALE))
            self.average.add(number)
        return dict(zip(terms, values.unbind(), strict=True))

    def uncompiled(self) -> AbstractContextManager[None]:
        """Compile nothing while the block runs: for shapes that no step has."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()

    def require_finite(self) -> None:
        """Wait for the device, and refuse to go on behind a step that was not finite.

        Raises:
            TrainingError: Loss or gradient was not finite; the weights are still those of the step before. The message
                names the pairs of the batch.
        """
        failure = self.finite.failure()
        if failure:
            pairs = ", ".join(self.steps.training.pair_ids[self.steps.plan[failure.step][1]])
            raise TrainingError(
                f"step {failure.step}: {failure}; the last good state is kept, and a smaller rate or other data may "
                f"help; pairs of the batch: {pairs}"
            )

    def _reads_copies(self) -> bool:
        """Whether the step can multiply by ``WorkingWeights``: elsewhere gradients belong to the weights themselves, of
        which processes share them, chunks sum them in float32, and low-rank updates are added to them.
        """
        config = self.config
        once = not config.grad_cache_chunk and config.adaptation.towers != "lora"
        return config.precision == "bf16" and once and processes() == 1

    def _at_once(self, batch: Batch) -> dict[str, torch.Tensor]:
        loss = self.config.loss
        if self.graphs is None:
            terms = self.wrapped(batch, config=loss)
        else:
            with self.accelerator.autocast():
                terms = self.graphs.losses(batch, config=loss)
        self.accelerator.backward(terms["loss"])
        return terms

    def _in_chunks(self, batch: Batch, number: int) -> dict[str, torch.Tensor]:
        """The gradient of the whole batch, in the memory of a chunk (Gao et al., arXiv 2101.06983).

        The towers read chunk by chunk without keeping anything but tokens; the loss gives the tokens' gradients;
        then each chunk is read again and passes them on.
        """
        model, chunk, loss = self.model, self.config.grad_cache_chunk, self.config.loss
        inputs = [(model.batch_tokens, batch.pictures), (model.text_tokens, batch.captions)]
        if loss.explanation or loss.beta or loss.eta:
            inputs.append((model.text_tokens, batch.explanations))
        seeds = count(number << 20)
        chunks = [[(read, part, next(seeds)) for part in rows.split(chunk)] for read, rows in inputs]
        with self.accelerator.no_sync(self.wrapped):
            with torch.no_grad():
                cached = [[self._read(*one) for one in of_input] for of_input in chunks]
            joined = [TowerOutput(*(torch.cat(parts) for parts in zip(*tokens, strict=True))) for tokens in cached]
            leaves = [tokens._replace(tokens=tokens.tokens.requires_grad_()) for tokens in joined]
            with self.accelerator.autocast():
                read = Read(leaves[0], leaves[1], leaves[2] if len(leaves) > 2 else None)
                terms = model.losses_of(read, batch, config=loss)
            terms["loss"].backward()
            for of_input, leaf in zip(chunks, leaves, strict=True):
                if leaf.tokens.grad is not None:
                    for one, gradient in zip(of_input, leaf.tokens.grad.split(chunk), strict=True):
                        self._read(*one).tokens.backward(gradient)
        self._share_gradients()
        return terms

    def _read(self, tower: Callable[[torch.Tensor], TowerOutput], rows: torch.Tensor, seed: int) -> TowerOutput:
        """One chunk through a tower; ``seed`` makes dropout the same when the chunk is read again."""
        torch.manual_seed(seed)
        with self.accelerator.autocast():
            return tower(rows)

    def _share_gradients(self) -> None:
        """Give every process the mean of what all processes found."""
        if self.steps.processes == 1:
            return
        for parameter in (p for p in self.model.parameters() if p.requires_grad):
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self.accelerator.reduce(gradient, "mean")

    def preprocessing(self, epoch: int) -> Preprocessing:
        """That of the config; in the first epochs of smaller pictures."""
        full, config = self.config.preprocessing, self.config
        small = epoch < config.small_until * config.epochs
        return full.model_copy(update={"size": min(config.small_size, full.size)}) if small else full

    def agree(self, wish: bool) -> bool:
        """Whether any process wishes it: what all have to do together, all have to decide together."""
        if self.steps.processes == 1:
            return wish
        flag = torch.tensor(float(wish), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum"))

    def finish(self) -> dict[str, torch.Tensor]:
        """The trained weights, or their mean, whole and on the CPU; low-rank updates are merged. The job cannot go on
        after it.
        """
        with torch.no_grad():
            self.average.swap()
        self._merge()
        return whole_state(self.wrapped)


def _require_possible(config: TrainConfig, model: EntityCLIP) -> None:
    if config.grad_cache_chunk and any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise ConfigError(
            f"grad_cache_chunk {config.grad_cache_chunk}: the batch norm of {config.model.towers.architecture} mixes "
            "the rows of a batch, so the batch cannot be processed in chunks; expected 0, or a tower without batch "
            "norm, such as a ViT"
        )
    if config.grad_cache_chunk and config.shard:
        raise ConfigError(
            "grad_cache_chunk and shard: cached gradients need unsharded weights; set only one of the two"
        )
    if config.shard and processes() == 1:
        raise ConfigError("shard: there is only one process; start several with --processes or torchrun")
