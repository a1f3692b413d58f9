"""A package answers only if every file in it is the one that was packaged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bentos.runtime import active_release
from bentos.runtime.loaded_release import LoadedRelease
from entityclip.errors import DataError
from entityclip.paths import PackageLayout, StateLayout


@pytest.fixture
def copy(other_package: Path, tmp_path: Path) -> PackageLayout:
    shutil.copytree(other_package, tmp_path / "写真 package")
    return PackageLayout(tmp_path / "写真 package")


def other_rows(package: PackageLayout) -> Path:
    """As many rows, readable, with two names exchanged: nothing but a hash can tell."""
    rows = pd.read_parquet(package.entities.rows)
    names = rows["entity"].tolist()
    rows.assign(entity=[names[1], names[0], *names[2:]]).to_parquet(package.entities.rows, index=False)
    return package.entities.rows


def flipped(file: Callable[[PackageLayout], Path]) -> Callable[[PackageLayout], Path]:
    def flip(package: PackageLayout) -> Path:
        data = bytearray(file(package).read_bytes())
        data[-5] ^= 1
        file(package).write_bytes(data)
        return file(package)

    return flip


def missing(package: PackageLayout) -> Path:
    package.text.unlink()
    return package.text


def added(package: PackageLayout) -> Path:
    path = package.checkpoint.text / "追加.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}", encoding="utf-8")
    return path


DAMAGES = {
    "other rows": other_rows,
    "entity vectors": flipped(lambda package: package.entities.vectors),
    "picture vectors": flipped(lambda package: package.pictures.vectors),
    "picture rows": flipped(lambda package: package.pictures.rows),
    "full text": flipped(lambda package: package.text),
    "weights": flipped(lambda package: package.checkpoint.weights),
    "report": flipped(lambda package: package.reports / "promotion.json"),
    "missing": missing,
    "added": added,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_switch_and_service_refuse_a_package_with_one_changed_file(damage, copy, tmp_path):
    file = damage(copy)
    state = StateLayout(tmp_path / "state")
    for use in (
        lambda: active_release.switch(state, copy.root),
        lambda: LoadedRelease.load(copy.root, changes=None, decoders=1),
    ):
        with pytest.raises(DataError, match="package the release again") as refused:
            use()
        assert file.relative_to(copy.root).as_posix() in str(refused.value)
    assert not state.live.exists()


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"files": {"a": 1}}', b"\xff\xfe"])
def test_manifest_that_is_missing_or_rubbish_is_an_error_that_names_it(content, copy, tmp_path):
    copy.manifest.unlink()
    if content is not None:
        copy.manifest.write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json"):
        active_release.switch(StateLayout(tmp_path / "state"), copy.root)


def test_whole_package_is_accepted_twice_and_what_bentoml_adds_is_no_fault(copy, tmp_path):
    (copy.root / "model.yaml").write_text("name: entityclip-model\n")
    state = StateLayout(tmp_path / "state")
    assert active_release.switch(state, copy.root) == active_release.switch(state, copy.root)
    assert LoadedRelease.load(copy.root, changes=None, decoders=1).version == "v1.1.0"
