"""The Python examples of the first pages run as they are printed."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from entityclip.paths import PackageLayout

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "README.ja.md", "docs/quickstart.md", "docs/quickstart.ja.md")
STORE = Path("build/demo/.entityclip/bentoml")


@pytest.fixture
def demo(tmp_path: Path, package: PackageLayout, picture_bytes: Callable[..., bytes]) -> Path:
    """A folder with what ``make demo`` leaves: the packaged model and the example picture."""
    store = tmp_path / STORE
    (store / "models/entityclip-model").mkdir(parents=True)
    (store / "models/entityclip-model/v1.0.0").symlink_to(package.root)
    (store / "examples").mkdir()
    (store / "examples/v1.0.0.jpg").write_bytes(picture_bytes(1))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_example_runs(
    page: str, demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(demo)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 2
