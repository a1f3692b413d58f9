"""An exported Bento in an environment that holds nothing but its own requirements."""

import os
import subprocess
import sys
import venv
from collections import Counter
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from bentos.build.package import build, store_environment
from bentos.build.smoke_test import packaged_probes, probe_pictures, serving, smoke
from bentos.client import Client
from entityclip.data.images import decode
from entityclip.evaluation import evaluate
from entityclip.model import checkpoint
from entityclip.paths import StoreLayout

pytestmark = pytest.mark.slow


def fresh_environment(folder: Path, requirements: list[str]) -> Path:
    """A virtual environment with these ``name==version`` and nothing else, linked from this one; its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    found = [distribution(line.partition("==")[0]) for line in requirements]
    shared = Counter(top for one in found for top in {path.parts[0] for path in _installed(one)})
    for one in found:
        for path in _installed(one):
            # Several distributions put their files into one namespace package; a folder of one's own is linked whole.
            wanted = path if shared[path.parts[0]] > 1 else Path(path.parts[0])
            target = site / wanted
            if not os.path.lexists(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(Path(str(one.locate_file(""))) / wanted)
    return folder / "bin" / "python"


def _installed(one: Distribution) -> list[Path]:
    return [Path(path) for path in one.files or [] if ".." not in path.parts and path.parts[0] != "__pycache__"]


def run(python: Path, store: Path, *arguments: str) -> str:
    done = subprocess.run(
        [python, "-P", *arguments], capture_output=True, text=True, env=store_environment(store), cwd=store, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_exported_bento_answers_where_only_its_requirements_are(released, predictor, tmp_path, monkeypatch):
    built, fresh = StoreLayout(tmp_path / "built"), StoreLayout(tmp_path / "fresh")
    bento = build(released.layout.root, release=released.release, data=released.layout.data, store=built.root)
    report = evaluate.evaluate(checkpoint.load(released.layout.model), released.layout.data, progress=False)[0]
    exported = tmp_path / "service.bento"
    run(Path(sys.executable), built.root, "-m", "bentoml", "export", bento.tag, str(exported))

    lines = (built.bento("v1.0.0") / "env" / "python" / "requirements.txt").read_text().splitlines()
    python = fresh_environment(tmp_path / "environment", [line for line in lines if "==" in line])
    fresh.root.mkdir()
    run(python, fresh.root, "-m", "bentoml", "import", str(exported))
    for absent in ("prefect", "dvc", "great_expectations", "entityclip", "pytest"):
        code = f"import importlib.util; assert importlib.util.find_spec({absent!r}) is None"
        run(python, fresh.root, "-c", code)

    monkeypatch.setattr(sys, "executable", str(python))
    pictures = probe_pictures(released.layout.data, report.probes)
    probes = packaged_probes(built.model("v1.0.0").root, report.probes, pictures)
    tested = smoke(bento.tag, store=fresh.root, probes=probes, pictures=pictures)
    assert tested.largest_difference < 1e-4
    with serving(bento.tag, store=fresh.root) as url, Client(url) as service:
        picture = next(iter(pictures.values()))
        for text in ("a red kettle", "赤いマグカップ"):
            expected = {hit.entity: hit.score for hit in predictor.search(text, target="entities", k=6)}
            found = {hit.entity: hit.score for hit in service.search(text, target="entities", k=6).hits}
            assert expected
            assert found == pytest.approx(expected, abs=1e-4)
            similarity = predictor.similarity(decode(picture), text)
            assert service.match(picture, text).score == pytest.approx(similarity, abs=1e-4)
    with serving(bento.tag, store=fresh.root, state=tmp_path / "state") as url, pytest.raises(Exception, match="401"):
        Client(url).about()
