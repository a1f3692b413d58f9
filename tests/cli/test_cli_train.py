"""Training as a user types it: from a published source, with settings from a file, on one process and on two."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from test_cli import answer, entityclip, refusal
from tiny import tiny_vit

from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.training import TrainConfig, read_config


@pytest.fixture
def news(tmp_path: Path) -> Path:
    """A tree as N24News is published: twelve articles to train on, four of each other split."""
    root, number = tmp_path / "N24News", 0
    (root / "imgs").mkdir(parents=True)
    (root / "news").mkdir()
    for split, count in (("train", 12), ("dev", 4), ("test", 4)):
        articles, texts = [], {}
        for _ in range(count):
            number += 1
            file = io.BytesIO()
            Image.new("RGB", (40, 36), (20 * number % 256, 90 * number % 256, 50)).save(file, format="JPEG")
            (root / "imgs" / f"{number}.jpg").write_bytes(file.getvalue())
            articles.append({"image_id": str(number), "caption": f"Speaker {number} in Osaka.", "section": "World"})
            texts[f"{number}.jpg"] = f"A square of colour number {number}."
        (root / "news" / f"nytimes_{split}.json").write_text(json.dumps(articles))
        (root / "news" / f"CapDsc_mistral_{split}.json").write_text(json.dumps(texts))
    return root


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings that train in a second."""
    config = TrainConfig(
        model=tiny_vit(tmp_path),
        preprocessing=Preprocessing(size=32),
        tokenisation=Tokenisation(context=24),
        epochs=2,
        batch=6,
        keep="best",
        mask_names=False,
    )
    path = tmp_path / "settings.json"
    config.write(path)
    return path


@pytest.mark.slow
def test_a_source_is_read_trained_on_and_measured(news: Path, settings: Path, tmp_path: Path) -> None:
    train = ("train", "--source", "n24news", "--source-path", news, "--config", settings, "--run", tmp_path / "run")
    card = answer(*train)
    assert answer(*train) == card  # nothing is read or trained twice
    assert card["metrics"]["truncated_captions"] == 0
    (news / "imgs" / "1.jpg").write_bytes((news / "imgs" / "2.jpg").read_bytes() + b" ")
    assert "choose a new folder" in refusal(*train)
    data = tmp_path / "run" / ".entityclip" / "staging"
    report = answer("evaluate", "--checkpoint", card["checkpoint"], "--data", data)
    names = {(metric["index"], metric["direction"]) for metric in report["metrics"]}
    assert {("pairs", "image_to_text"), ("pairs", "text_to_image")} <= names


@pytest.mark.slow
def test_two_processes_train_one_model(news: Path, settings: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    train = ["train", "--source", "n24news", "--source-path", str(news), "--config", str(settings)]
    done = subprocess.run(
        [*torchrun, "-m", "entityclip", *train, "--to", str(tmp_path / "two"), "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout.splitlines()[-1])
    alone = answer(*train, "--run", tmp_path / "one")
    assert together["metrics"]["vtc"] == pytest.approx(alone["metrics"]["vtc"], rel=1e-4)


def test_what_a_dry_run_prints_is_a_file_of_settings(tmp_path: Path) -> None:
    shown = entityclip("train", "--preset", "demo", "--epochs", 3, "--run", tmp_path / "run", "--dry-run")
    assert shown.exit_code == 0
    (tmp_path / "shown.json").write_text(shown.stdout)
    assert read_config(tmp_path / "shown.json").epochs == 3
    assert not (tmp_path / "run").exists()


def test_a_preset_without_its_weights_says_that_it_starts_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    shown = entityclip("train", "--preset", "published", "--run", tmp_path / "run", "--dry-run")
    assert json.loads(shown.stdout)["model"]["towers"]["pretrained"] is None
    assert "WARNING: weights 'openai'" in shown.stderr
    assert "starts from scratch" in shown.stderr


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("epoch: 3\nbatch: 1\n")
    complaint = refusal("train", "--config", tmp_path / "wrong.yaml", "--run", tmp_path / "run")
    assert "wrong.yaml: batch: " in complaint
    assert "epoch: " in complaint


def test_data_have_to_be_named(tmp_path: Path) -> None:
    assert "--data DIR, or --source" in refusal("train", "--preset", "tiny", "--run", tmp_path / "run")
