"""Push to and restore from the DVC remote, with checks: pushed objects are looked up, restored ones are hashed.

Both work on DVC's objects: a file named by its MD5, and for a folder a ``.dir`` object that lists its files.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.workspace.dvc_hashes import file_hash, folder_hash
from flows.workspace.repository import Repository


def push(layout: Layout, hashes: dict[Path, str]) -> None:
    """Push folders to the default remote and check that they arrived.

    Args:
        layout: The workspace.
        hashes: ``.dvc`` file -> hash of its folder, which is in the cache.

    Raises:
        WorkspaceError: There is no default remote, its folder is missing (an unmounted disk), it cannot be reached,
            or it is full. Local files are unchanged; the next push completes what is missing.
    """

    repository = Repository(layout.root)
    name = repository.dvc(lambda repo: repo.config["core"].get("remote"), doing="reading DVC's config")

    def work(repo: Any) -> None:
        remote = _default_remote(repo, layout)
        repo.push(targets=[str(p) for p in hashes])
        for folder in hashes.values():
            _complete(repo.cache.local, remote, folder)

    repository.dvc(work, doing=f"pushing to remote {name!r}")


def probe(remote: Any) -> None:
    """Write a few bytes to a remote's objects, read them back and delete them.

    Raises:
        OSError: The bytes read differ from those written; storage back ends raise errors of their own.
    """
    path, written = remote.fs.join(remote.path, f".probe-{uuid.uuid4().hex}"), os.urandom(64)
    remote.fs.makedirs(remote.fs.parent(path), exist_ok=True)
    try:
        remote.fs.pipe_file(path, written)
        if remote.fs.cat_file(path) != written:
            raise OSError(f"{path}: the bytes read differ from those written")
    finally:
        remote.fs.remove(path)


def has_remote(layout: Layout) -> bool:
    """Whether DVC has a default remote to push to."""
    doing = "reading DVC's config"
    return bool(Repository(layout.root).dvc(lambda repo: repo.config["core"].get("remote"), doing=doing))


def _default_remote(repo: Any, layout: Layout) -> Any:
    """The default remote's objects. DVC itself would silently create the missing folder of an unmounted disk."""
    name = repo.config["core"].get("remote")
    if not name:
        raise WorkspaceError(f"{layout.root}: DVC has no default remote; add one: dvc remote add --default NAME URL")
    remote = repo.cloud.get_remote_odb(name)
    if remote.fs.protocol == "local":
        folder = Path(repo.cloud.get_remote(name).path)
        if folder == layout.remote:
            folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise WorkspaceError(
                f"remote {name!r}: {folder} is not a folder; mount the disk, or create it if it is new"
            )
        pushed_before = Repository(layout.root).committed(layout.data_dvc) is not None
        if folder != layout.remote and pushed_before and not any(folder.iterdir()):
            raise WorkspaceError(
                f"remote {name!r}: {folder} is empty, but versions were pushed before; mount the disk, "
                "or fill a new remote first: dvc push --all-commits"
            )
    return remote


def _objects(cache: Any, folder: str) -> dict[str, str]:
    """Path inside the folder -> MD5, from the folder's ``.dir`` object in the cache."""
    listing = json.loads(Path(cache.oid_to_path(folder)).read_text())
    return {entry["relpath"]: entry["md5"] for entry in listing}


def _complete(cache: Any, remote: Any, folder: str) -> None:
    """Upload missing objects: DVC assumes that all files of a folder exist once its ``.dir`` does."""
    wanted = [*_objects(cache, folder).values(), folder]
    missing = [oid for oid in wanted if not remote.exists(oid)]
    _transfer(cache, remote, missing)
    if any(not remote.exists(oid) for oid in missing):
        raise OSError(f"{len(missing)} of {len(wanted)} objects did not arrive")


def _transfer(source: Any, target: Any, oids: Iterable[str]) -> None:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.transfer import transfer

    wanted = {HashInfo("md5", oid) for oid in oids}
    if wanted:
        transfer(source, target, wanted, shallow=True)


def bring(layout: Layout, folder: str, to: Path) -> None:
    """Restore the folder with this hash to ``to``, from the cache or else from the default remote.

    Damaged objects in the cache are replaced. ``to`` must not exist.

    Raises:
        WorkspaceError: The remote cannot be reached, lacks the folder, or holds it damaged.
    """

    def work(repo: Any) -> None:
        cache = repo.cache.local
        _fetch(repo, layout, [folder])
        objects = _objects(cache, folder)
        _fetch(repo, layout, objects.values())
        for relative, oid in objects.items():
            target = to / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cache.oid_to_path(oid), target)

    Repository(layout.root).dvc(work, doing=f"restoring {folder} from cache or remote")
    if (found := folder_hash(to)) != folder:
        raise WorkspaceError(f"{to}: restored with hash {found}, expected {folder}; restore the remote from a backup")


def _fetch(repo: Any, layout: Layout, oids: Iterable[str]) -> None:
    """Fetch these objects to the cache unless they are intact there. DVC does not detect damaged cache objects."""
    cache = repo.cache.local
    unsound = {oid for oid in oids if not _sound(Path(cache.oid_to_path(oid)), oid)}
    if not unsound:
        return
    for oid in unsound:
        Path(cache.oid_to_path(oid)).unlink(missing_ok=True)
    _transfer(_default_remote(repo, layout), cache, unsound)
    for oid in unsound:
        path = Path(cache.oid_to_path(oid))
        if not _sound(path, oid):
            path.unlink(missing_ok=True)
            raise OSError(f"the remote lacks object {oid}, or holds it damaged; restore it from a backup")


def _sound(path: Path, oid: str) -> bool:
    return path.is_file() and file_hash(path) == oid.removesuffix(".dir")
