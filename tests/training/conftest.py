"""What the tests of training share: the smallest data, and settings without chance and batch norm."""

from __future__ import annotations

import pytest
from tiny import tiny_data, tiny_vit

from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.paths import DataLayout
from entityclip.training import TrainConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return TrainConfig(
        model=tiny_vit(tmp_path_factory.mktemp("vit")),
        preprocessing=Preprocessing(size=32),
        tokenisation=Tokenisation(context=24),
        epochs=4,
        batch=8,
        max_grad_norm=1e9,
        learning_rate=1e-4,
    )
