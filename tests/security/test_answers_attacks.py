"""What would make a running service answer wrongly: changes between its workers, decisions that fail, other files."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from callers import bearer
from served import other_package, package, released, store_home  # noqa: F401  (fixtures)

from bentos.build.smoke_test import serving
from bentos.middleware import keys
from bentos.runtime import active_release, followers
from entityclip.paths import PackageLayout, StateLayout

PUTS = 100

pytestmark = pytest.mark.slow


class Target(NamedTuple):
    """A running service with two workers, and an administrator's way to it."""

    url: str
    state: StateLayout
    administrator: dict[str, str]

    def ask(self, path: str, **json) -> dict:
        """The answer, on a connection of its own, so that either worker may give it."""
        answer = httpx.post(f"{self.url}{path}", json=json, headers=self.administrator, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bentos", "release", *arguments, "--state", str(self.state.root)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def target(store_home: Path, tmp_path_factory) -> Iterator[Target]:  # noqa: F811
    state = StateLayout(tmp_path_factory.mktemp("状態"))
    scopes = ("query", "entities", "metrics")
    key = keys.make(state.keys, name="all", scopes=scopes, per_minute=1_000_000, max_concurrency=1000)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ENTITYCLIP_WORKERS", "2")
        with serving("bentos.service:EntityClip", store=store_home, state=state.root) as url:
            yield Target(url, state, bearer(key))


def test_every_put_is_found_by_the_next_request_to_either_worker(target):
    missed = []
    for number in range(PUTS):
        name = f"ポンプ QZ-{number}"
        target.ask("/entities", entity_id="qz", entity=name)
        hits = target.ask("/search", text=name, k=1, target="entities")["hits"]
        if [hit["entity"] for hit in hits] != [name]:
            missed.append(name)
    assert not missed


def test_switch_waits_for_both_workers_and_replaces_a_decision_whose_package_is_gone(
    target,
    other_package,  # noqa: F811
    tmp_path,
):
    done = target.command("activate", str(other_package))
    assert (done.returncode, done.stderr) == (0, "2 workers serve it\n")
    assert {target.ask("/about")["release"]["version"] for _ in range(10)} == {"v1.1.0"}
    shutil.copytree(other_package, tmp_path / "package")
    active_release.switch(target.state, tmp_path / "package")  # a decision of another program, without waiting
    shutil.rmtree(tmp_path / "package")
    done = target.command("activate", str(other_package))
    assert (done.returncode, {worker.release for worker in followers.living(target.state).values()}) == (0, {"v1.1.0"})


def test_decision_for_a_package_that_is_gone_is_seen_in_metrics_about_and_status(target, tmp_path):
    active_release.Live(champion=tmp_path / "gone").write(target.state.live)
    with pytest.raises(followers.SwitchError, match=r"2 of 2 workers .*no release\.json"):
        followers.carry_out(target.state, lambda: active_release.read(target.state), take_back=False)
    assert httpx.get(f"{target.url}/readyz").status_code == 200
    assert all(target.ask("/about")["behind"] for _ in range(5))
    metrics = httpx.get(f"{target.url}/metrics", headers=target.administrator, timeout=30).text
    assert "entityclip_wanted_not_live 1.0" in metrics
    assert target.command("status").stdout.count("no release.json") == 2
    assert target.command("rollback").returncode == 0
    assert not target.ask("/about")["behind"]


def test_package_with_other_rows_or_flipped_vectors_is_refused_by_the_command(target, other_package, tmp_path):  # noqa: F811
    for file in ("rows.parquet", "vectors.safetensors"):
        shutil.copytree(other_package, tmp_path / file)
        damaged = PackageLayout(tmp_path / file).pictures.root / file
        content = bytearray(damaged.read_bytes())
        content[-3] ^= 4
        damaged.write_bytes(content)
        refused = target.command("activate", str(tmp_path / file))
        assert refused.returncode == 1
        assert f"'index/pictures/{file}' differs from the manifest" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not target.ask("/about")["behind"]
