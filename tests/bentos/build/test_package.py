"""Bentos from releases: what is refused, what goes in, and (slow) one that is really built, served and queried."""

import ast
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import packages_distributions
from pathlib import Path

import psutil
import pytest
from packaging.utils import canonicalize_name

from bentos.build.example import serve_command
from bentos.build.package import build
from bentos.build.requirements import hashed_requirements, serving_requirements
from bentos.build.smoke_test import packaged_probes, probe_pictures, serving, smoke
from entityclip.errors import PackagingError
from entityclip.evaluation import evaluate
from entityclip.model import checkpoint
from entityclip.model.checkpoint_card import file_sha256
from entityclip.paths import Layout, StoreLayout
from entityclip.schemas import BentoRecord, EvalReport, PromotionDecision

REPOSITORY = Path(__file__).parents[3]


# ---------------------------------------------------------------- refusals
@pytest.fixture
def copy(tmp_path, released) -> Layout:
    shutil.copytree(released.layout.root, tmp_path / "release")
    return Layout(tmp_path / "release")


def _build(copy: Layout, release, tmp_path: Path) -> BentoRecord:
    return build(copy.root, release=release, data=copy.data, store=tmp_path / "store")


def test_weights_of_another_release_are_refused(tmp_path, copy, released):
    other = released.release.model_copy(update={"model_fingerprint": "other"})
    with pytest.raises(PackagingError, match=r"holds model \w+, but release v1\.0\.0 is model other"):
        _build(copy, other, tmp_path)


def test_release_that_was_never_promoted_is_refused(tmp_path, copy, released):
    path = copy.report("promotion")
    decision = PromotionDecision.model_validate_json(path.read_text())
    path.write_text(decision.model_copy(update={"promoted": False}).model_dump_json())
    with pytest.raises(PackagingError, match="only a promoted release"):
        _build(copy, released.release, tmp_path)
    path.unlink()
    with pytest.raises(PackagingError, match="no readable promotion decision"):
        _build(copy, released.release, tmp_path)


@pytest.mark.parametrize("version", ["latest", "../v1.0.0", "v1", ""])
def test_version_must_be_a_release(tmp_path, copy, released, version):
    with pytest.raises(PackagingError, match=r"expected a version such as v1\.0\.0"):
        _build(copy, released.release.model_copy(update={"version": version}), tmp_path)


def test_smoke_test_with_nothing_to_compare_does_not_pass(tmp_path):
    with pytest.raises(PackagingError, match="no probes"):
        smoke("entityclip-service:v1.0.0", store=tmp_path, probes=(), pictures={})


def test_probe_outside_the_data_is_an_error(released):
    probe = evaluate.Probe(pair_id="nowhere", entity="KX-RED", scores={"KX-RED": 1.0})
    with pytest.raises(PackagingError, match="no pair nowhere"):
        probe_pictures(released.layout.data, [probe])


# ---------------------------------------------------------------- what goes in
def _imported(start: list[Path]) -> set[str]:
    """Every module that these files import, and that files of ours among those import in turn."""
    found: set[str] = set()
    while start:
        for node in ast.walk(ast.parse(start.pop().read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{name}" for name in names)]
            for name in set(names) - found:
                found.add(name)
                place = REPOSITORY.joinpath(*name.split("."))
                start += [p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()]
    return found


def test_requirements_hold_all_that_serving_imports_and_nothing_of_the_flows():
    imported = {name.partition(".")[0] for name in _imported([REPOSITORY / "bentos" / "service.py"])}
    owners = packages_distributions()
    needed = {canonicalize_name(d) for name in imported for d in owners.get(name, [])} - {"entityclip"}
    required = {line.partition("==")[0] for line in serving_requirements(onnx=True, labels=True)}
    assert "onnxruntime" not in {line.partition("==")[0] for line in serving_requirements()}
    assert {"torch", "open-clip-torch", "bentoml", "pillow", "safetensors", "pyarrow"} <= needed <= required
    assert not required & {"prefect", "dvc", "gto", "great-expectations", "datasets", "matplotlib", "pytest"}


def test_requirements_are_those_of_the_lock_file():
    locked = {line.partition(" ;")[0].strip() for line in (REPOSITORY / "requirements.lock").read_text().splitlines()}
    names = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in locked if "==" in line}
    required = dict(line.split("==") for line in serving_requirements())
    assert len(required) > 50
    assert required.keys() <= names.keys()


def test_serve_command_survives_a_shell():
    bento = BentoRecord(
        tag="entityclip-service:v1.0.0",
        release="v1.0.0",
        store="/a b/it's",
        example_text='Tim\'s "mug" マグ',
        example_picture="/a b/p.png",
    )
    serve, search, tag = serve_command(bento, port=3111).splitlines()
    quiet, home, keyless, _, *rest = shlex.split(serve)
    assert (quiet, home) == ("BENTOML_DO_NOT_TRACK=True", "BENTOML_HOME=/a b/it's")
    assert keyless == "ENTITYCLIP_KEYLESS=local"
    assert rest == ["serve", "entityclip-service:v1.0.0", "--port", "3111"]
    assert shlex.split(search)[-1] == '{"text": "Tim\'s \\"mug\\" マグ", "k": 5}'
    assert shlex.split(tag)[-1] == "image=@/a b/p.png"


# ---------------------------------------------------------------- the real thing
@pytest.fixture(scope="module")
def store(tmp_path_factory) -> StoreLayout:
    return StoreLayout(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def bento(released, store) -> BentoRecord:
    return build(released.layout.root, release=released.release, data=released.layout.data, store=store.root)


@pytest.fixture(scope="module")
def report(released) -> EvalReport:
    return evaluate.evaluate(checkpoint.load(released.layout.model), released.layout.data, progress=False)[0]


def _servers(store: StoreLayout) -> list[psutil.Process]:
    """Processes that still serve from this store."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BENTOML_HOME") == str(store.root.resolve()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_built_bento_scores_as_the_evaluator_did(released, store, bento, report):
    pictures = probe_pictures(released.layout.data, report.probes)
    assert len(pictures) == len(report.probes) == 5
    probes = packaged_probes(store.model("v1.0.0").root, report.probes, pictures)
    tested = smoke(bento.tag, store=store.root, probes=probes, pictures=pictures)
    assert tested.largest_difference < 1e-4
    assert 0 < tested.latency_ms < 60_000
    assert not _servers(store)


@pytest.mark.slow
def test_score_that_differs_from_the_evaluators_fails_the_smoke_test(released, store, bento, report):
    pictures = probe_pictures(released.layout.data, report.probes)
    first = packaged_probes(store.model("v1.0.0").root, report.probes, pictures)[0]
    wrong = first.model_copy(update={"scores": {name: score + 0.01 for name, score in first.scores.items()}})
    with pytest.raises(PackagingError, match=r"differ from the evaluator's by 0\.01[\s\S]*End of the server's log"):
        smoke(bento.tag, store=store.root, probes=[wrong], pictures=pictures)
    assert not _servers(store)


@pytest.mark.slow
def test_service_runs_on_the_code_in_the_bento_and_its_log_names_why_it_cannot_start(tmp_path, store, bento):
    """Installed packages must not answer in their place: the trace of a failed start shows where the code is."""
    shutil.copytree(store.root, tmp_path / "store")
    broken = StoreLayout(tmp_path / "store")
    broken.model("v1.0.0").checkpoint.weights.write_bytes(b"half")
    with pytest.raises(PackagingError, match="did not start") as caught, serving(bento.tag, store=broken.root):
        pytest.fail("a model with damaged weights was served")
    assert "differs from the manifest" in str(caught.value)
    assert str(broken.bento_sources("v1.0.0") / "bentos" / "runtime" / "manifest.py") in str(caught.value)
    assert not _servers(broken)


@pytest.mark.slow
def test_bento_holds_what_serving_needs_and_nothing_else(store, bento):
    root = store.bento_sources("v1.0.0")
    assert {p.name for p in root.iterdir()} == {"bentofile.yaml", "bentos", "entityclip"}
    names = {p.name for p in (root / "bentos").iterdir()}
    assert {"service.py", "middleware", "runtime", "schemas"} <= names
    assert "build" not in names
    installed = (store.bento("v1.0.0") / "env" / "python" / "requirements.txt").read_text().splitlines()
    hashed, reason = hashed_requirements()
    assert set(serving_requirements() if reason else ["--require-hashes", *hashed]) <= set(installed)
    assert reason or len(installed) == len(hashed) + 1
    assert "env/python/requirements.txt" in (store.bento("v1.0.0") / "env" / "docker" / "Dockerfile").read_text()
    assert store.model("v1.0.0").release.is_file()
    assert not store.building("v1.0.0").exists()


@pytest.mark.slow
def test_same_release_gives_the_same_bento_and_a_damaged_one_is_built_again(released, store, bento):
    again = {"release": released.release, "data": released.layout.data, "store": store.root}
    weights, before = store.model("v1.0.0").checkpoint.weights, store.bento("v1.0.0").stat().st_mtime_ns
    assert build(released.layout.root, **again) == bento
    assert store.bento("v1.0.0").stat().st_mtime_ns == before

    with pytest.raises(PackagingError, match="another release"):
        build(released.layout.root, **again | {"release": released.release.model_copy(update={"commit": "d" * 40})})

    weights.write_bytes(b"half")
    assert build(released.layout.root, **again) == bento
    assert file_sha256(weights) == file_sha256(released.layout.model.weights)


def _start_build(released, store: StoreLayout) -> subprocess.Popen[str]:
    """A build in a process of its own, with its error on stderr."""
    program = (
        "from pathlib import Path; from bentos.build.package import build; from entityclip.paths import DataLayout;"
        "from entityclip.schemas import Release; import sys; root, store, release = sys.argv[1:];"
        "build(Path(root), release=Release.model_validate_json(release), data=DataLayout(Path(root) / 'data'),"
        " store=Path(store))"
    )
    arguments = [str(released.layout.root), str(store.root), released.release.model_dump_json()]
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_builds_at_once_in_the_same_store_take_turns(released, tmp_path, bento):
    store = StoreLayout(tmp_path / "倉庫")
    building = [_start_build(released, store) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in building]
    assert [process.returncode for process in building] == [0, 0], errors
    assert sum("another process is building" in error for error in errors) <= 1
    again = build(released.layout.root, release=released.release, data=released.layout.data, store=store.root)
    assert again.content == bento.content
    assert not store.building("v1.0.0").exists()


@pytest.mark.slow
def test_killed_build_is_completed_by_the_next_with_the_same_content(released, tmp_path, bento):
    store = StoreLayout(tmp_path / "store")
    killed = _start_build(released, store)
    end = time.monotonic() + 120
    while not store.model("v1.0.0").root.exists() and time.monotonic() < end:
        assert killed.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not store.receipt("v1.0.0").exists()

    again = build(released.layout.root, release=released.release, data=released.layout.data, store=store.root)
    assert again.tag == "entityclip-service:v1.0.0"
    assert again.content == bento.content != ""
    assert [p.name for p in store.bento("v1.0.0").parent.iterdir() if p.is_dir()] == ["v1.0.0"]
