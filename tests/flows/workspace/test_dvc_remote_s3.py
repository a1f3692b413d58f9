"""The remote on S3: a real server on loopback that checks access, with credentials from the environment only."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from dvc.repo import Repo

from entityclip.data.erasure import ErasureRequest
from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.erasure.erase import erase
from flows.platform import doctor
from flows.workspace.create import open_workspace
from flows.workspace.dvc_hashes import pointer_hash
from flows.workspace.dvc_remote import bring
from flows.workspace.repository import Repository
from flows.workspace.versions import data_intact, version_data
from tests.tiny import tiny_data

pytestmark = pytest.mark.slow

pytest.importorskip("dvc_s3", reason="the extra s3 is not installed: pip install -e '.[s3]'")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")

BUCKET = "entityclip-versions"
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'


@dataclass
class S3:
    """A server that can go away and come back with what it held."""

    server: Any
    key: str
    secret: str

    @property
    def url(self) -> str:
        """Where it listens."""
        return "http://127.0.0.1:{1}".format(*self.server.get_host_and_port())

    @contextmanager
    def away(self) -> Iterator[None]:
        """The server is down in this block and up again afterwards."""
        port = self.server.get_host_and_port()[1]
        self.server.stop()
        try:
            yield
        finally:
            self.server = moto_server.ThreadedMotoServer("127.0.0.1", port)
            self.server.start()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A server with one bucket and one user; it refuses a signature that this user's secret did not make."""
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # a server that is away is believed at once
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    found = S3(server, "", "")
    try:
        how = {"endpoint_url": found.url, "region_name": "us-east-1"}
        first = {"aws_access_key_id": "first", "aws_secret_access_key": "first"}
        boto3.client("s3", **how, **first).create_bucket(Bucket=BUCKET)
        iam = boto3.client("iam", **how, **first)
        iam.create_user(UserName="flows")
        iam.put_user_policy(UserName="flows", PolicyName="all", PolicyDocument=POLICY)
        made = iam.create_access_key(UserName="flows")["AccessKey"]
        found.key, found.secret = made["AccessKeyId"], made["SecretAccessKey"]
        httpx.post(f"{found.url}/moto-api/reset-auth", content="0").raise_for_status()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", found.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", found.secret)
        yield found
        httpx.post(f"{found.url}/moto-api/reset-auth", content="inf").raise_for_status()
        httpx.post(f"{found.url}/moto-api/reset").raise_for_status()
    finally:
        found.server.stop()


@pytest.fixture
def on_s3(workspace: Layout, s3: S3) -> Layout:
    """A workspace that keeps its versions there, configured as docs/operations.md says."""
    with Repo(str(workspace.root)) as repo, repo.config.edit("repo") as config:
        config["core"]["remote"] = "storage"
        config["remote"]["storage"] = {"url": f"s3://{BUCKET}/shop", "endpointurl": s3.url, "verify": True}
    return workspace


def pulled(workspace: Layout, to: Path) -> Layout:
    """A fresh clone that has pulled with DVC's own command."""
    Repository(workspace.root).git("clone", "-q", str(workspace.root), str(to))
    subprocess.run([sys.executable, "-m", "dvc", "pull", "-q"], cwd=to, check=True, timeout=300)
    return Layout(to)


def test_a_fresh_clone_pulls_from_s3_what_a_run_pushed(on_s3: Layout, tmp_path: Path) -> None:
    version = version_data(on_s3, tiny_data(tmp_path / "accepted"), message="First")
    assert not on_s3.remote.exists() or not any(on_s3.remote.rglob("*.dir"))  # nothing went to the folder
    assert data_intact(pulled(on_s3, tmp_path / "clone"), version.data_hash)


def test_a_lost_cache_comes_back_from_s3(on_s3: Layout, tmp_path: Path) -> None:
    version = version_data(on_s3, tiny_data(tmp_path / "accepted"), message="First")
    shutil.rmtree(on_s3.dvc_folder / "cache")
    bring(on_s3, version.data_hash, tmp_path / "pulled")
    assert (tmp_path / "pulled" / on_s3.data.marker.name).is_file()


def test_an_s3_that_is_away_loses_nothing_and_the_next_run_pushes(on_s3: Layout, s3: S3, tmp_path: Path) -> None:
    first = version_data(on_s3, tiny_data(tmp_path / "one"), message="First")
    second = tiny_data(tmp_path / "two", held_out=2)
    with s3.away():
        with pytest.raises(WorkspaceError, match=r"pushing to remote 'storage' failed.*run again"):
            version_data(on_s3, second, message="Second")
        found = doctor.remote(on_s3)
        assert (found.state, s3.url in found.saw) == ("wrong", True)
    assert Repository(on_s3.root).git("rev-parse", "HEAD") == first.commit
    assert data_intact(pulled(on_s3, tmp_path / "before"), first.data_hash)
    version = version_data(on_s3, second, message="Second")
    assert version.changed
    assert data_intact(pulled(on_s3, tmp_path / "after"), version.data_hash)


def test_credentials_of_the_environment_are_in_no_log_and_no_committed_file(
    on_s3: Layout, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    version_data(on_s3, tiny_data(tmp_path / "accepted"), message="First")
    wrong = "wrong-secret-of-somebody"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", wrong)
    with pytest.raises(WorkspaceError, match="pushing to remote 'storage' failed") as caught:
        version_data(on_s3, tiny_data(tmp_path / "two", held_out=2), message="Second")
    output = "\n".join([str(caught.value), caplog.text, doctor.remote(on_s3).model_dump_json()])
    kept = [p for p in on_s3.root.rglob("*") if p.is_file()]
    for secret in (s3.key, s3.secret, wrong):
        assert secret not in output
        assert not [p for p in kept if secret.encode() in p.read_bytes()]


def test_the_doctor_names_s3_and_leaves_no_probe(on_s3: Layout) -> None:
    found = doctor.remote(on_s3)
    assert (found.state, found.saw) == ("fine", "storage (s3): written, read and deleted")


def test_credentials_in_the_committed_config_are_refused_unnamed(on_s3: Layout, s3: S3) -> None:
    with Repo(str(on_s3.root)) as repo, repo.config.edit("repo") as config:
        config["remote"]["storage"]["secret_access_key"] = s3.secret
    with pytest.raises(WorkspaceError, match=r"holds secret_access_key of remote 'storage'.*--unset") as caught:
        open_workspace(on_s3.root)
    found = doctor.remote(on_s3)
    assert found.state == "wrong"
    assert s3.secret not in f"{caught.value}{found.saw}"


def test_an_erasure_clears_the_bucket_and_refuses_before_it_deletes_while_s3_is_away(
    on_s3: Layout, s3: S3, tmp_path: Path
) -> None:
    first = version_data(on_s3, tiny_data(tmp_path / "one", held_out=1), message="First")
    second = version_data(on_s3, tiny_data(tmp_path / "two", held_out=2), message="Second")
    request = ErasureRequest(kind="entity", value="KX-RED")
    with s3.away(), pytest.raises(WorkspaceError, match="before anything is deleted, failed"):
        erase(on_s3, request, by="ana")
    assert not on_s3.erasures.exists()
    assert data_intact(on_s3, second.data_hash)
    erase(on_s3, request, by="ana")
    with Repo(str(on_s3.root)) as repo:
        remote = repo.cloud.get_remote_odb("storage")
        assert not any(map(remote.exists, (first.data_hash, second.data_hash)))
        assert remote.exists(pointer_hash(on_s3.data_dvc.read_text()))
    assert data_intact(pulled(on_s3, tmp_path / "clone"), pointer_hash(on_s3.data_dvc.read_text()))
