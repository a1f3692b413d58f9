"""API keys: stored as hashes, compared in constant time, changed without a restart.

A key has the form ``ec_ID_SECRET``. The id is public and selects the entry; only the SHA-256 of the secret is stored. A
secret of 256 random bits needs no slow hash. To rotate a key, create a second one, switch its users, revoke the first.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import Field, ValidationError, field_validator, model_validator

from entityclip.errors import ConfigError, faults
from entityclip.schemas import Record
from entityclip.storage import PRIVATE_FILE, private_folder

Scope = Literal["query", "feedback", "entities", "metrics", "review", "release"]
"""query: search, tag, match, embed, about; entities: add, change and remove entities; metrics: read ``/metrics``;
review: decide about texts and feedback; release: approve or refuse a release."""

RENAMED = {"at_once": "max_concurrency"}
RENAMED_SCOPES = {"ask": "query"}
"""Old name -> new name."""

LOOK_SECONDS = 1.0
"""Interval between two checks of the file for changes."""

log = logging.getLogger("entityclip.keys")


class Key(Record):
    """One API key: its scopes and limits."""

    id: str = Field(description="Public part; identifies the key in logs and commands.")
    name: str = Field(description="Owner.")
    secret_sha256: str
    scopes: tuple[Scope, ...]
    per_minute: int = Field(gt=0, description="Requests per minute; a burst may use a sixth of them.")
    max_concurrency: int = Field(gt=0, description="Concurrent requests, per worker.")
    made: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    @model_validator(mode="before")
    @classmethod
    def _renamed_fields(cls, key: Any) -> Any:
        """Refuse a field under its old name and give the new one."""
        for old in RENAMED.keys() & set(key if isinstance(key, dict) else ()):
            raise ValueError(f"{old!r} is now {RENAMED[old]!r}; rename it in this file")
        return key

    @field_validator("scopes", mode="before")
    @classmethod
    def _renamed(cls, scopes: Any) -> Any:
        """Refuse a scope under its old name and give the new one."""
        for old in RENAMED_SCOPES.keys() & set(scopes if isinstance(scopes, list | tuple) else ()):
            raise ValueError(f"scope {old!r} is now {RENAMED_SCOPES[old]!r}; rename it in this file")
        return scopes

    def valid(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class Keyring(Record):
    """Content of the keys file."""

    keys: tuple[Key, ...] = ()


# ---------------------------------------------------------------- the file, for the operator
def make(
    path: Path,
    *,
    name: str,
    scopes: tuple[Scope, ...] = ("query",),
    per_minute: int = 600,
    max_concurrency: int = 16,
    days: int | None = None,
) -> str:
    """Add a key to the file and return it. It cannot be shown again.

    Raises:
        ConfigError: A limit or scope is invalid, or the file is not a keys file.
    """
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    try:
        key = Key(
            id=key_id,
            name=name,
            secret_sha256=_hashed(secret),
            scopes=scopes,
            per_minute=per_minute,
            max_concurrency=max_concurrency,
            made=now,
            expires=None if days is None else now + timedelta(days=days),
        )
    except ValidationError as error:
        raise ConfigError(f"key for {name!r}: {faults(error)}") from None
    with _changing(path) as keys:
        keys.append(key)
    return f"ec_{key_id}_{secret}"


def revoke(path: Path, key_id: str) -> Key:
    """Revoke a key permanently. It stays in the file, so that its id in a log can still be resolved.

    Raises:
        ConfigError: No key has this id, or the file is not a keys file.
    """
    with _changing(path) as keys:
        for place, key in enumerate(keys):
            if key.id == key_id:
                keys[place] = key.model_copy(update={"revoked": key.revoked or datetime.now(UTC)})
                return keys[place]
    raise ConfigError(f"{path}: no key {key_id!r}; `entityclip keys list` shows their ids")


def read(path: Path) -> tuple[Key, ...]:
    """The keys in the file; empty if there is no file.

    Raises:
        ConfigError: The file is not a keys file.
    """
    try:
        return Keyring.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        return ()
    except ValidationError as error:
        raise ConfigError(f"{path}: not a keys file: {faults(error)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


@contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The keys as a list that the block may change; then written to the file, which only its owner can read."""
    private_folder(path.parent)
    with FileLock(path.with_name(f".{path.name}.lock")):
        keys = list(read(path))
        yield keys
        Keyring(keys=tuple(keys)).write(path, mode=PRIVATE_FILE)


# ---------------------------------------------------------------- the file, for the service
class KeyFile:
    """The current keys. Checks the file for changes once a second, so that no change needs a restart.

    Raises:
        ConfigError: The file is damaged at the start. If it breaks later, the previous keys stay valid and an error is
            logged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._looked = 0.0
        self._load()

    def find(self, presented: str) -> Key | None:
        """The valid key that was presented, or None. Takes as long for an unknown id as for a wrong secret."""
        self._look()
        prefix, _, rest = presented.partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._keys.get(key_id)
        expected = key.secret_sha256 if key else _hashed("no key")
        same = hmac.compare_digest(_hashed(secret), expected)
        return key if key and same and prefix == "ec" and key.valid(datetime.now(UTC)) else None

    def get(self, key_id: str) -> Key | None:
        """The key with this id if it is valid. Does not check a secret: for a session that was opened with the key."""
        self._look()
        key = self._keys.get(key_id)
        return key if key and key.valid(datetime.now(UTC)) else None

    def named(self, name: str) -> Key | None:
        """The valid key with this name, for a person whom a trusted proxy names; None where several have it."""
        self._look()
        now = datetime.now(UTC)
        found = [key for key in self._keys.values() if key.name == name and key.valid(now)]
        return found[0] if len(found) == 1 else None

    def _look(self) -> None:
        if time.monotonic() - self._looked < LOOK_SECONDS or self._stamp() == self._seen:
            return
        try:
            self._load()
        except ConfigError as error:
            self._seen = self._stamp()
            log.error("the previous keys stay valid: %s", error)

    def _load(self) -> None:
        self._looked = time.monotonic()
        stamp = self._stamp()
        self._keys = {key.id: key for key in read(self.path)}  # without a file, no key is valid
        self._seen = stamp

    def _stamp(self) -> tuple[int, int, int] | None:
        self._looked = time.monotonic()
        try:
            about = self.path.stat()
        except OSError:
            return None
        return about.st_ino, about.st_mtime_ns, about.st_size


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
