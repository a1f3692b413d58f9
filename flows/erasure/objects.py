"""DVC's objects in the cache and in every remote: read them, and delete those that no version needs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.workspace.dvc_hashes import pointer_hash
from flows.workspace.dvc_remote import probe
from flows.workspace.repository import Repository


@dataclass(frozen=True)
class Version:
    """One version of a folder that DVC keeps, and the commits that name it."""

    folder: str
    hash: str
    commits: tuple[str, ...]


def versions(layout: Layout) -> list[Version]:
    """Every version of ``data/``, ``feedback/`` and ``model/`` that any branch, tag or stash names."""
    repository = Repository(layout.root)
    found: dict[tuple[str, str], list[str]] = {}
    for pointer in (layout.data_dvc, layout.feedback_dvc, layout.model_dvc):
        listed = repository.git("rev-list", "--all", "--full-history", "HEAD", "--", pointer.name).splitlines()
        for commit in listed:
            text = repository.committed(pointer, commit=commit)
            if text is not None:
                found.setdefault((pointer.stem, pointer_hash(text)), []).append(commit)
    return [Version(folder, hash, tuple(commits)) for (folder, hash), commits in found.items()]


class Objects:
    """Cache and remotes of one open DVC repository.

    Args:
        repo: The repository.
        layout: Its workspace.
        scratch: An empty folder for objects that only a remote has.

    Raises:
        WorkspaceError: The folder of a remote is missing, so its objects could not be deleted.
    """

    def __init__(self, repo: Any, layout: Layout, scratch: Path) -> None:
        self._cache, self._scratch, self._layout = repo.cache.local, scratch, layout
        self.remotes: dict[str, Any] = {name: repo.cloud.get_remote_odb(name) for name in repo.config["remote"]}
        for name, remote in self.remotes.items():
            self._require_reachable(name, remote, repo.cloud.get_remote(name))

    def _require_reachable(self, name: str, remote: Any, config: Any) -> None:
        """Network errors come from the storage itself; ``Repository.dvc`` wraps them."""
        folder = Path(config.path)
        if remote.fs.protocol in ("http", "https"):
            raise WorkspaceError(
                f"remote {name!r}: HTTP cannot delete; nothing was erased: give DVC a remote that writes to the same "
                f"store, or erase it on the server and `dvc remote remove {name}`"
            )
        local, own = remote.fs.protocol == "local", folder == self._layout.remote
        if local and not own and (not folder.is_dir() or not any(folder.iterdir())):
            raise WorkspaceError(
                f"remote {name!r}: {folder} is {'empty' if folder.is_dir() else 'not a folder'}; nothing was erased: "
                f"mount the disk and run again, or `dvc remote remove {name}` if it is gone for good"
            )
        if not own or folder.is_dir():
            probe(remote)  # a look-up on an unreachable server reports a missing object

    def path(self, oid: str) -> Path | None:
        """The object as a file; None if neither the cache nor a remote has it."""
        cached = Path(self._cache.oid_to_path(oid))
        if cached.is_file():
            return cached
        fetched = self._scratch / oid
        for remote in self.remotes.values():
            if not fetched.exists() and remote.exists(oid):
                remote.fs.get_file(remote.oid_to_path(oid), str(fetched))
        return fetched if fetched.exists() else None

    def listing(self, folder: str) -> dict[str, str]:
        """Path inside the folder -> object; empty if the folder's list no longer exists."""
        listed = self.path(folder)
        return {} if listed is None else {entry["relpath"]: entry["md5"] for entry in json.loads(listed.read_text())}

    def unneeded(self, doomed: Iterable[str], kept: Iterable[str]) -> list[str]:
        """Objects of the folders ``doomed`` that no folder of ``kept`` has; each list of a folder comes last."""
        needed = {oid for folder in kept for oid in (*self.listing(folder).values(), folder)}
        folders = [folder for folder in doomed if folder not in needed]
        files = dict.fromkeys(oid for folder in folders for oid in self.listing(folder).values())
        return [oid for oid in (*files, *folders) if oid not in needed]

    def strays(self, known: Collection[str]) -> Iterator[str]:
        """Cached objects that belong to no version, left by a killed run or by manual use of DVC."""
        return (oid for oid in self._cache.all() if oid not in known)

    def places(self, oid: str) -> list[str]:
        """Where an object is: cache, or names of remotes."""
        there = ["cache"] if Path(self._cache.oid_to_path(oid)).exists() else []
        return there + [name for name, remote in self.remotes.items() if remote.exists(oid)]

    def delete(self, oids: Iterable[str]) -> None:
        """Delete objects, from the remotes first: the cached list allows a killed deletion to be completed."""
        wanted = list(oids)
        for remote in self.remotes.values():
            for oid in wanted:
                if remote.exists(oid):
                    remote.fs.remove(remote.oid_to_path(oid))
        for oid in wanted:
            Path(self._cache.oid_to_path(oid)).unlink(missing_ok=True)
