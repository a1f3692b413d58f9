"""A device package: it answers as the package does, without this project, and refuses what is damaged."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageCms
from served import Released
from tiny import tiny_picture
from typer.testing import CliRunner

from bentos.build import device_runner
from bentos.build.device_package import write_device_package
from entityclip.cli import app
from entityclip.data.images import decode
from entityclip.data.learned_tokenizer import learn_tokenizer
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError
from entityclip.evaluation.compression_policy import EXPORTED, CompressionPolicy
from entityclip.evaluation.onnx_export import export
from entityclip.model import checkpoint, onnx_runtime
from entityclip.paths import DeviceLayout, ExportedLayout, PackageLayout
from entityclip.retrieval.predictor import Predictor

pytestmark = pytest.mark.slow

ALLOWED = {"numpy", "onnxruntime", "PIL", "flatbuffers", "google", "packaging", "sympy", "mpmath", "coloredlogs"}
"""The three libraries, and what they need themselves."""
TEXTS = (
    "The KX-204B is a red kettle with a wooden handle.",
    "赤いやかん。取っ手は木でできている。",
    "ＫＸ－２０４Ｂ　ｶﾞﾗｽの花瓶 &amp; ふた",
    "Grüße, naïve_text №5 🫖 \t x²",
    "",
)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, package: PackageLayout, released: Released) -> DeviceLayout:
    folder = tmp_path_factory.mktemp("device")
    towers = ExportedLayout(folder / "towers")
    policy = CompressionPolicy(runtimes=EXPORTED, budget=100)  # so few pictures cannot show a small loss
    export(checkpoint.load(package.checkpoint), released.layout.data, to=towers, policy=policy)
    options = ["--towers", str(towers.root), "--to", str(folder / "棚 device"), "--runtime", "onnx", "--json"]
    done = CliRunner().invoke(app, ["release", "device", str(package.root), *options])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["measured"]["tag_ms"] > 0
    return DeviceLayout(folder / "棚 device")


def run(device: DeviceLayout, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, device.runner, *arguments], capture_output=True, text=True)


def test_it_tags_and_finds_as_the_package_does(device: DeviceLayout, package: PackageLayout, tmp_path: Path) -> None:
    tiny_picture("green", 3).save(path := tmp_path / "写真.png")
    tags = json.loads(run(device, "tag", str(path), str(path), "--k", "3").stdout)
    predictor = Predictor.load(package.root)
    expected = predictor.tag([tiny_picture("green", 3)] * 2, k=3)
    assert [tag["entity"] for tag in tags] == [tag.entity for tag in expected]
    assert [tag["score"] for tag in tags] == pytest.approx([tag.score for tag in expected], abs=1e-4)
    assert [tag["sure"] for tag in tags] == [tag.above_threshold for tag in expected]
    (found,) = json.loads(run(device, "search", "kx", "green").stdout)
    assert (found["entity"], found["exact"]) == ("KX-GREEN", True)
    assert "no entity is named 'kettle'" in run(device, "search", "kettle").stderr  # this model's tokenizer is CLIP's
    assert "runner.py" in device.readme.read_text()
    assert all(path.is_file() for path in device.root.iterdir())


def test_it_loads_nothing_but_the_three_libraries(device: DeviceLayout) -> None:
    code = "import sys; sys.argv = ['runner', 'search', 'KX-RED']; import runner; runner.main(); import json\n"
    code += (
        "print(json.dumps([n for n, m in sys.modules.items() if 'site-packages' in (getattr(m, '__file__', 0) or '')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=device.root, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert {"numpy", "onnxruntime", "PIL"} <= loaded
    assert {name for name in loaded if not name.startswith("_")} <= ALLOWED


def test_its_tokenizer_reads_as_the_models(tmp_path: Path) -> None:
    learn_tokenizer(TEXTS[:2] * 3, tmp_path)
    reads = Tokenisation(learned=True, context=24, folder=str(tmp_path)).load()
    runner = device_runner._Tokenizer(tmp_path / "tokenizer.json", 24)
    for text in TEXTS:
        assert runner.ids(text) == reads([text])[0].tolist()


def test_it_decodes_files_as_the_package_does(tmp_path: Path) -> None:
    noise = Image.effect_noise((40, 24), 90).convert("RGB")
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # fits no RGB picture, so is ignored
    turned = Image.Exif()
    turned[0x0112] = 6
    noise.save(tmp_path / "turned.jpg", exif=turned)
    noise.save(tmp_path / "profile.png", icc_profile=wide)
    noise.convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.merge("RGBA", [*noise.split(), noise.getchannel(0)]).save(tmp_path / "clear.png")
    Image.fromarray(np.linspace(0, 65535, 960, dtype=np.uint16).reshape(24, 40)).save(tmp_path / "16 bit.png")
    for path in tmp_path.iterdir():
        expected = decode(path.read_bytes())
        assert np.array_equal(device_runner.open_picture(path), expected), path.name
    Image.new("F", (9, 9)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match=r"f\.tiff: 32-bit samples"):
        device_runner.open_picture(tmp_path / "f.tiff")


@pytest.mark.parametrize("resize", ["shortest", "squash", "letterbox"])
def test_its_square_is_the_models(resize: Literal["shortest", "squash", "letterbox"]) -> None:
    how = Preprocessing(size=32, resize=resize)
    for size in ((100, 40), (9, 400)):
        picture = Image.effect_noise(size, 90).convert("RGB")
        ours = np.asarray(device_runner._square(picture, how.model_dump()))
        assert np.array_equal(ours.transpose(2, 0, 1), how.square(picture))


def test_names_that_differ_in_signs_alone_are_one(device: DeviceLayout) -> None:
    runner = device_runner.DevicePackage(device.root)
    assert "" not in runner._names
    assert all(len(set(rows)) == len(rows) for rows in runner._names.values())


def test_what_is_damaged_or_no_picture_is_refused(device: DeviceLayout, tmp_path: Path) -> None:
    assert f"cannot identify image file '{device.card}'" in run(device, "tag", str(device.card)).stderr
    content = device.vectors.read_bytes()
    device.vectors.write_bytes(content[:-1])
    try:
        done = run(device, "search", "KX-RED")
    finally:
        device.vectors.write_bytes(content)
    assert (done.returncode, done.stdout) == (2, "")
    assert "vectors.npz: missing or damaged" in done.stderr


def test_int8_is_refused_on_a_processor_that_it_is_not_proven_for(
    device: DeviceLayout, package: PackageLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers = ExportedLayout(device.root.parent / "towers")
    card = write_device_package(package, tmp_path / "int8", towers=towers)
    assert {"x86_64", "amd64"} <= set(card.machines) or platform.machine().lower() in card.machines
    monkeypatch.setattr(device_runner.platform, "machine", lambda: "riscv64")
    with pytest.raises(ValueError, match="not for riscv64; make the folder with onnx"):
        device_runner.DevicePackage(tmp_path / "int8")
    device_runner.DevicePackage(device.root)  # fp32 runs everywhere


def test_another_folder_is_not_replaced_and_int8_needs_its_proof(
    package: PackageLayout, device: DeviceLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        write_device_package(package, tmp_path)
    with pytest.raises(ConfigError, match="expected onnx, onnx-int8 or distilled"):
        write_device_package(package, tmp_path / "new", runtime="torch")
    monkeypatch.setattr(onnx_runtime, "instruction_set", lambda: "riscv64")
    with pytest.raises(ConfigError, match="int8 is proven for"):
        write_device_package(package, tmp_path / "new", towers=ExportedLayout(device.root.parent / "towers"))
    assert not (tmp_path / "new").exists()
