"""Git and DVC in one folder, with time limits, bounded waiting for locks, and errors that give the remedy.

Hooks do not run on commits of flows: they may prompt, and a hook that rewrites files would change the release.
Signing, identity and all other settings are those of the user's Git.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.workspace.dvc_hashes import pointer_hash
from flows.workspace.git_locks import abandoned

T = TypeVar("T")
log = logging.getLogger(__name__)

GIT_SECONDS = 120
"""No Git command on a few small files takes longer, except for a prompt or a failing disk."""
LOCK_SECONDS = 60.0
"""Time to wait for another process's lock. DVC itself gives up after about three seconds."""

_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")
_HARMLESS = {"url", "verify", "path", "tmp_dir", "region", "endpointurl", "profile"}


# ---------------------------------------------------------------- one writer at a time
@contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold the lock for writing this workspace's Git and DVC.

    Raises:
        WorkspaceError: Another run holds the lock for longer than ``LOCK_SECONDS``.
    """
    layout.work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(layout.lock)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise WorkspaceError(
            f"{layout.root}: another run has held the lock for {LOCK_SECONDS:.0f} s; wait for it or stop it"
        ) from None
    try:
        _clear_after_kill(layout)
        layout.unfinished.touch()
        yield
    finally:
        layout.unfinished.unlink(missing_ok=True)
        lock.release()


@contextmanager
def translate_disk_full(layout: Layout) -> Iterator[None]:
    """Map the errors of files and databases about a full disk to one error with the remedy.

    Raises:
        WorkspaceError: The block found the disk full.
    """
    try:
        yield
    except (OSError, sqlite3.Error, SafetensorError) as error:
        if not _says_full(error):
            raise
        reason = f"{layout.root}: its disk is full ({error}); make room, then run the same command again"
        raise WorkspaceError(reason) from error


def _says_full(error: OSError | sqlite3.Error | SafetensorError) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, SafetensorError):  # carries the number in its text alone
        return any(f"(os error {number})" in str(error) for number in full)
    return error.errno in full


def _clear_after_kill(layout: Layout) -> None:
    """Remove stale locks of a killed run: Git locks younger than its marker, and a damaged lock list of DVC.

    Locks that a living process may hold stay.
    """
    if not layout.unfinished.exists():
        return
    since, git, held = layout.unfinished.stat().st_mtime, layout.root / ".git", layout.dvc_folder / "tmp" / "rwlock"
    left = [p for p in (*git.glob("*.lock"), *git.glob("refs/**/*.lock")) if _written_since(p, since)]
    if held.exists() and not _is_json(held.read_bytes()):
        left.append(held)
    for path in abandoned(left, root=layout.root.resolve()):
        log.warning("%s: removed; the run that wrote it was killed", path)
        path.unlink(missing_ok=True)


def _written_since(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime >= since
    except FileNotFoundError:  # its owner has ended meanwhile
        return False


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- Git and DVC
@dataclass(frozen=True)
class Repository:
    """The Git and DVC repository whose top folder is ``root``."""

    root: Path

    def git(self, *arguments: str, given: str = "", variables: Mapping[str, str] = MappingProxyType({})) -> str:
        """Standard output of ``git ARGUMENTS``, without the last line break.

        Args:
            arguments: Command and options.
            given: Its standard input.
            variables: Set in its environment.

        Raises:
            WorkspaceError: Git is missing, failed, or took longer than ``GIT_SECONDS``; carries its standard error.
        """
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            done = self._run_git(*arguments, given=given, variables=variables)
            if done.returncode == 0:
                return done.stdout.rstrip("\n")
            locked = ".lock': File exists" in done.stderr
            if not locked or time.monotonic() > give_up:
                break
            time.sleep(0.5)
        reason = redacted(done.stderr.strip())
        if locked:  # Git adds several lines about editors
            reason = f"{reason.splitlines()[0]} If no other git runs here, that lock is stale: delete it"
        raise WorkspaceError(f"{self.root}: git {arguments[0]} failed: {reason}")

    def _run_git(
        self, *arguments: str, given: str = "", variables: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k not in _ELSEWHERE}
        environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **variables}
        command = ["git", "-c", f"core.hooksPath={os.devnull}", "-c", "core.quotePath=false", *arguments]
        try:
            return subprocess.run(
                command,
                cwd=self.root,
                env=environment,
                input=given,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=GIT_SECONDS,
            )
        except FileNotFoundError:
            raise WorkspaceError(
                f"{self.root}: the folder or the `git` command is missing; install Git 2.28+"
            ) from None
        except subprocess.TimeoutExpired:
            raise WorkspaceError(
                f"{self.root}: git {arguments[0]} took more than {GIT_SECONDS} s; check for a prompt for a passphrase"
            ) from None

    def git_or_none(self, *arguments: str) -> str | None:
        """Like ``git``; None if the command fails."""
        done = self._run_git(*arguments)
        return done.stdout.rstrip("\n") if done.returncode == 0 else None

    def committed(self, path: Path, *, commit: str = "HEAD") -> str | None:
        """Text of ``path`` in ``commit``; None if it is not in the commit."""
        return self.git_or_none("show", f"{commit}:{path.relative_to(self.root).as_posix()}")

    def commit(self, message: str, paths: Iterable[Path]) -> str:
        """Commit exactly ``paths`` (those that exist) and return the commit; HEAD if nothing changed.

        Other changes of the user, staged or not, stay as they are.
        """
        if self.git_or_none("symbolic-ref", "-q", "HEAD") is None:
            raise WorkspaceError(f"{self.root}: HEAD is detached, so a commit would be lost; `git switch` to a branch")
        names = [p.relative_to(self.root).as_posix() for p in paths if p.exists()]
        self.git("add", "--", *names)
        if self.git("status", "--porcelain", "--", *names):
            self.git("commit", "--quiet", "--only", "--message", message, "--", *names)
        return self.git("rev-parse", "HEAD")

    def dvc(self, work: Callable[[Any], T], *, doing: str) -> T:
        """Result of ``work(dvc.repo.Repo)``, repeated while another DVC process holds the lock.

        Raises:
            WorkspaceError: DVC failed while ``doing``; the message holds no secrets of the remote.
        """
        from dulwich.file import FileLocked
        from dvc.lock import LockError
        from dvc.repo import Repo

        give_up = time.monotonic() + LOCK_SECONDS
        secrets: tuple[str, ...] = ()
        while True:
            try:
                with _logged_errors() as reasons, Repo(str(self.root)) as repo:
                    secrets = _secrets(repo.config)
                    return work(repo)
            except (LockError, FileLocked):
                if time.monotonic() > give_up:
                    raise WorkspaceError(
                        f"{self.root}: another git or DVC command held its lock for {LOCK_SECONDS:.0f} s; wait for it, "
                        "or delete .git/index.lock if no git runs here"
                    ) from None
                log.warning("%s: another git or DVC command holds a lock; waiting before %s", self.root, doing)
                time.sleep(0.5)
            except WorkspaceError:
                raise
            # Storage back ends raise errors of their own, whose chained messages may hold credentials.
            except Exception as error:
                reason = redacted(reasons[0] if reasons else f"{error}".strip() or type(error).__name__, secrets)
                raise WorkspaceError(
                    f"{self.root}: {doing} failed: {reason}; finished steps are kept; remove the cause and run again"
                ) from None

    def dvc_init(self, *, force: bool) -> None:
        """Make the folder a DVC repository. ``force`` deletes the contents of ``.dvc``, including the cache."""
        from dvc.exceptions import InitError
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.WARNING)
        try:
            Repo.init(str(self.root), force=force).close()
        except InitError as error:
            raise WorkspaceError(f"{self.root}: dvc init failed: {error}") from error

    def add(self, folder: Path) -> str:
        """Add ``folder`` to DVC and return its hash. This writes its ``.dvc`` file and commits nothing."""
        self.dvc(lambda repo: repo.add(str(folder)), doing=f"adding {folder.name}/")
        return pointer_hash(folder.with_name(f"{folder.name}.dvc").read_text())


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Collect DVC's logged errors: its exceptions about transfers only count the files. They are not redacted."""
    reasons: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reasons.append(str(record.exc_info[1]) if record.exc_info else record.getMessage())

    logger = logging.getLogger("dvc_data")
    printing, logger.handlers = logger.handlers, [Keep(logging.ERROR)]
    try:
        yield reasons
    finally:
        logger.handlers = printing


def _secrets(config: dict[str, Any]) -> tuple[str, ...]:
    """Values in the remotes' config that must not be shown: all except those known to be harmless."""
    settings = [item for remote in config.get("remote", {}).values() for item in remote.items()]
    return tuple(str(v) for k, v in settings if k not in _HARMLESS and isinstance(v, str) and len(v) > 3)


def redacted(text: str, secrets: tuple[str, ...] = ()) -> str:
    """``text`` without the secrets, and without credentials and signatures in URLs."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = re.sub(r"(?<=://)[^/@\s]+@", "***@", text)
    return re.sub(r"(?<=\?)[^\s'\"]+", "***", text)
