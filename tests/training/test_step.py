from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from together import steps, steps_together

from entityclip.errors import ConfigError
from entityclip.model.config import TowerConfig
from entityclip.model.entityclip import EntityCLIP
from entityclip.paths import DataLayout, RunLayout
from entityclip.training import Adaptation, TrainConfig, batches
from entityclip.training.step import TrainingJob
from entityclip.training.trainer import fit

TINY = TowerConfig(architecture="entityclip-tiny", mean_pool=True)
"""With batch norm."""

BUFFER = re.compile("running_mean|running_var|num_batches_tracked")


@pytest.fixture(scope="module")
def alone(config: TrainConfig, data: DataLayout) -> dict[str, torch.Tensor]:
    return steps(config, data)


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], *kinds: str, atol: float = 1e-5) -> None:
    names = [name for name in theirs if name.startswith(kinds)]
    assert names
    assert ours.keys() >= set(names)
    for name in names:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


# ---------------------------------------------------------------- several processes
@pytest.mark.slow
def test_two_processes_have_loss_gradients_and_weights_of_one_with_the_whole_batch(
    config: TrainConfig, data: DataLayout, alone: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    ways = [config, config.model_copy(update={"grad_cache_chunk": 3}), config.model_copy(update={"shard": True})]
    whole, chunked, sharded = steps_together(ways, data, processes=2, folder=tmp_path)
    same(whole, alone, "loss", "grad", "weight")
    same(chunked, alone, "loss", "grad", "weight")
    same(sharded, alone, "loss", "weight")


# ---------------------------------------------------------------- ways to save memory
@pytest.mark.slow
@pytest.mark.parametrize("change", [{"grad_cache_chunk": 3}, {"grad_cache_chunk": 1}, {"checkpoint_gradients": True}])
def test_less_memory_gives_the_same_gradients(
    config: TrainConfig, data: DataLayout, alone: dict[str, torch.Tensor], change: dict[str, object]
) -> None:
    same(steps(config.model_copy(update=change), data), alone, "loss", "grad", "weight")


def test_half_precision_is_near(config: TrainConfig, data: DataLayout, alone: dict[str, torch.Tensor]) -> None:
    halved = steps(config.model_copy(update={"precision": "bf16"}), data)
    assert halved["weight.visual.proj"].dtype == torch.float32
    assert 0 < abs(halved["loss.0.vtc"] - alone["loss.0.vtc"]) < 0.05


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"grad_cache_chunk": 2, "model": TrainConfig().model}, "batch norm"),
        ({"grad_cache_chunk": 2, "shard": True}, "grad_cache_chunk and shard"),
        ({"shard": True}, "torchrun"),
    ],
)
def test_what_cannot_be_is_refused(
    config: TrainConfig, data: DataLayout, change: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        steps(config.model_copy(update=change), data)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_not_replaced_in_silence(config: TrainConfig, data: DataLayout) -> None:
    with pytest.raises(ConfigError, match="sees no CUDA device"):
        fit(config.changed(device="cuda"), data=data, data_hash="", run=RunLayout(data.root), report=lambda *_: None)


# ---------------------------------------------------------------- what learns
def learnt(config: TrainConfig, data: DataLayout, **adaptation: object) -> set[str]:
    """The names of the weights that two steps and the end of the run have changed."""
    training = batches.load_training_set(data, preprocessing=config.preprocessing, progress=False)
    job = TrainingJob(config.model_copy(update={"adaptation": Adaptation.model_validate(adaptation)}), training)
    torch.manual_seed(config.seed)
    before = EntityCLIP(config.model).state_dict()
    for number in range(2):
        job.step(number, job.steps[number])
    after = job.finish()
    assert after.keys() == before.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_everything_learns_by_default(config: TrainConfig, data: DataLayout) -> None:
    changed = learnt(config, data)
    assert {"visual.conv1.weight", "text.token_embedding.weight", "visual.proj", "logit_scale"} <= changed


def test_heads_alone_leave_the_blocks_as_they_are(config: TrainConfig, data: DataLayout) -> None:
    changed = learnt(config, data, towers="none")
    assert {"visual.proj", "text.text_projection", "visual.ln_post.weight", "mmae.match.weight"} <= changed
    assert not [name for name in changed if "resblocks" in name or "conv1" in name or "embedding" in name]


def test_the_last_blocks_learn_and_the_first_do_not(config: TrainConfig, data: DataLayout) -> None:
    changed = learnt(config, data, towers="last", blocks=1)
    blocks = {name.split("resblocks.")[1][0] for name in changed if "resblocks" in name}
    assert blocks == {"2"}


def test_low_rank_updates_are_merged_at_the_end(config: TrainConfig, data: DataLayout) -> None:
    changed = learnt(config, data, towers="lora", rank=2)
    assert {
        "visual.transformer.resblocks.0.mlp.c_fc.weight",
        "text.transformer.resblocks.2.attn.in_proj_weight",
    } <= changed
    assert not {"visual.conv1.weight", "visual.transformer.resblocks.0.mlp.c_fc.bias"} & changed


@pytest.mark.parametrize("towers", ["none", "last", "lora"])
def test_batch_norms_that_are_frozen_keep_their_statistics(config: TrainConfig, data: DataLayout, towers: str) -> None:
    normed = config.model_copy(update={"model": TrainConfig().model.model_copy(update={"towers": TINY})})
    changed = {name for name in learnt(normed, data, towers=towers, blocks=1, rank=2) if BUFFER.search(name)}
    learning = [name for name in changed if "layer4" in name] if towers == "last" else []
    assert changed == set(learning)
    assert bool(learning) == (towers == "last")


def test_a_validation_between_epochs_puts_no_frozen_module_into_training_mode(
    config: TrainConfig, data: DataLayout, tmp_path: Path
) -> None:
    model = TrainConfig().model.model_copy(update={"towers": TINY})
    frozen = config.model_copy(
        update={"model": model, "adaptation": Adaptation(towers="none"), "keep": "best", "epochs": 2}
    )
    torch.manual_seed(frozen.seed)
    before = EntityCLIP(model).state_dict()
    fit(frozen, data=data, data_hash="", run=RunLayout(tmp_path), report=lambda *_: None, progress=False)
    after = load_file(RunLayout(tmp_path).checkpoint.weights)
    buffers = [name for name in after if BUFFER.search(name)]
    assert buffers
    assert all(torch.equal(after[name], before[name]) for name in buffers)


def test_dropout_of_a_frozen_image_tower_is_off(config: TrainConfig, data: DataLayout) -> None:
    heads = config.model_copy(update={"adaptation": Adaptation(towers="none")})
    job = TrainingJob(heads, batches.load_training_set(data, preprocessing=config.preprocessing, progress=False))
    for _ in range(2):
        assert not any(block.training for block in chain(*job.model.blocks()))
        assert job.model.mmae.training
        job.train_mode()


def test_pretrained_weights_go_at_their_own_rate(config: TrainConfig, data: DataLayout, tmp_path: Path) -> None:
    file = tmp_path / "towers.safetensors"
    towers = {n: w for n, w in EntityCLIP(config.model).state_dict().items() if not n.startswith("mmae.")}
    save_file(towers, file)
    pretrained = config.model.towers.model_copy(update={"pretrained": str(file)})
    slow = config.model_copy(
        update={
            "model": config.model.model_copy(update={"towers": pretrained}),
            "adaptation": Adaptation(tower_rate=0.1),
        }
    )
    job = TrainingJob(slow, batches.load_training_set(data, preprocessing=config.preprocessing, progress=False))
    job.step(1, job.steps[1])
    of = {id(p): group["lr"] for group in job.optimizer.param_groups for p in group["params"]}
    assert of[id(job.model.visual.proj)] == pytest.approx(0.1 * of[id(job.model.mmae.match.weight)])
