"""Every preset is a run that could start."""

from __future__ import annotations

import pytest
import torch

from entityclip.errors import ConfigError
from entityclip.ingest import SplitShares
from entityclip.model.entityclip import EntityCLIP
from entityclip.presets import PRESETS, cpu_precision, preset
from entityclip.sources import SOURCES
from entityclip.train import TrainConfig


@pytest.mark.parametrize("name", PRESETS)
def test_preset_describes_a_run_that_is_possible(name: str) -> None:
    chosen = preset(name)
    assert chosen.name == name
    assert chosen.source in SOURCES
    SplitShares.checked(val=chosen.val_share, test=chosen.test_share, entity_holdout=chosen.entity_holdout)
    assert TrainConfig.model_validate_json(chosen.train.model_dump_json()) == chosen.train


@pytest.mark.parametrize("name", PRESETS)
def test_towers_of_a_preset_take_its_pictures_and_its_texts(name: str) -> None:
    config = preset(name).train
    towers = config.model.towers.model_copy(update={"pretrained": None})  # their shapes are the same
    model = EntityCLIP(config.model.model_copy(update={"towers": towers})).eval()
    sizes = [config.preprocessing.size] + [config.small_size] * (config.small_until > 0)
    ids = config.tokenisation.load()(["word " * 200])
    assert ids.shape[1] == config.tokenisation.context
    with torch.inference_mode():
        for size in sizes:
            assert model.encode_image(torch.zeros(1, 3, size, size)).shape == (1, model.dim)
        assert model.encode_text(ids).shape == (1, model.dim)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'large' is unknown; known are demo, grocery, table, published, tiny"):
        preset("large")


def test_half_precision_is_for_processors_that_compute_in_it() -> None:
    can = torch.cpu.get_capabilities()
    assert (cpu_precision() == "bf16") == any(can.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
