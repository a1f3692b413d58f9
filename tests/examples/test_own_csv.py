"""An own CSV from end to end, from scratch, without a network; then the notebook on the model that came out of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from programs import EXAMPLES, commands, run
from without_network import without_network

from entityclip.paths import Layout

pytestmark = pytest.mark.slow

NOTEBOOK = EXAMPLES / "explore.ipynb"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the example, and what its commands printed."""
    folder = tmp_path_factory.mktemp("shop")
    return folder, run(commands("Your own CSV"), folder, inside=without_network())


def test_a_table_in_shift_jis_becomes_a_model_that_finds_a_product_by_name(shop: tuple[Path, str]) -> None:
    folder, printed = shop
    (folder / "shop" / "商品写真.csv").read_text(encoding="cp932")
    assert "The champion is v1.0.0." in printed
    assert printed.splitlines()[-3].startswith("YK-10 ")
    assert printed.splitlines()[-3].endswith("by name 赤いやかん")


def test_the_notebook_runs(shop: tuple[Path, str]) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    script = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (shop[0] / "explore.py").write_text(script + "\nprint(recall.pivot(index='slice', columns='index'))\n")
    workspace = shop[0] / "shop-search"
    printed = run("python explore.py", shop[0], WORKSPACE=str(workspace), MPLBACKEND="Agg")
    assert "few" in printed
    assert Layout(workspace).report("evaluation").is_file()


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs")]
