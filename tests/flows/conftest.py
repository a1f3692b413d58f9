"""Real Git, DVC and GTO in a temporary folder, away from this machine's own configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from entityclip.data.pairs import finish, start
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.schemas import PromotionDecision, PromotionPolicy
from flows.workspace.create import open_workspace


@pytest.fixture(autouse=True)
def own_configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_CONFIG_HOME", "DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        monkeypatch.setenv(name, str(home / name.lower()))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for name in ("NAME", "EMAIL"):
        monkeypatch.delenv(f"GIT_COMMITTER_{name}", raising=False)
        monkeypatch.delenv(f"GIT_AUTHOR_{name}", raising=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Layout:
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def accepted(tmp_path: Path) -> Callable[[str], DataLayout]:
    """Writes data that passed the gate; text files stand for the Parquet shards."""

    def write(text: str) -> DataLayout:
        data = DataLayout(tmp_path / "accepted")
        start(data)
        data.pairs.mkdir()
        (data.pairs / "train-00000-of-00001.parquet").write_text(text)
        (data.pairs / "test-00000-of-00001.parquet").write_text("the same in every version")
        finish(data, pairs=2)
        return data

    return write


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[[str], CheckpointLayout]:
    """Writes a checkpoint whose weights are its fingerprint."""

    def write(fingerprint: str) -> CheckpointLayout:
        layout = CheckpointLayout(tmp_path / f"checkpoint-{fingerprint}")
        layout.root.mkdir(exist_ok=True)
        layout.weights.write_text(fingerprint)
        layout.card.write_text(json.dumps({"fingerprint": fingerprint}))
        return layout

    return write


@pytest.fixture
def decided() -> Callable[..., PromotionDecision]:
    """Writes a decision about a challenger on a data version."""

    def decide(challenger: str, data_hash: str, *, promoted: bool = True) -> PromotionDecision:
        return PromotionDecision(
            promoted=promoted,
            reasons=("R@1 tells",),
            challenger=challenger,
            champion=None,
            data_hash=data_hash,
            suite_hash="suite",
            evaluation_hash="evaluation",
            policy=PromotionPolicy(),
        )

    return decide
