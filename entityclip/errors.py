"""The error tree. Every message names the file, row or value, the expected state and the remedy.

::

    EntityClipError
    ├── ConfigError        a setting is impossible or a name is unknown
    ├── SourceError        a source as a whole cannot be read (a single bad row is a rejection, not an error)
    ├── ImageError         one picture cannot be used; ``reason`` is short enough for the rejected-rows file
    ├── DataError          versioned pairs or explanations are missing, incomplete or of another schema
    │   └── AuditError     a change was made, but the audit log could not be written
    ├── WriterError        a writer of explanations cannot be used or reached; its answers so far are kept
    │   └── BudgetSpent    the writer's budget of tokens or money is used up
    ├── GateRefused        a batch failed the quality gate; the model in service is unchanged
    ├── TrainingError      training cannot continue; the last good checkpoint is kept
    ├── CheckpointError    weights or card are missing, half-written or do not fit each other
    ├── IndexMismatch      an index was built by another model than the one that queries it
    ├── WorkspaceError     git, DVC or the workspace folder is not in the state that a step needs
    │   └── Busy           another run holds the lock, and this one does not wait
    ├── PackagingError     a Bento could not be built from a release, or its smoke test failed
    ├── SignatureError     a package is not signed, or not by a key that the service trusts, or not as it is
    └── SwitchError        a running service does not serve the release that it should
"""

from __future__ import annotations

from pydantic import ValidationError


class EntityClipError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(EntityClipError):
    """A setting is impossible or a name is unknown."""


class SourceError(EntityClipError):
    """A source as a whole cannot be read."""


class ImageError(EntityClipError):
    """One picture cannot be used.

    ``reason`` says why in a few words, without the file's name.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DataError(EntityClipError):
    """Versioned pairs or explanations are missing, incomplete or of another schema."""


class AuditError(DataError):
    """A change was made, but the audit log could not be written."""


class WriterError(EntityClipError):
    """A writer of explanations cannot be used or reached; its answers so far are in the ledger."""


class BudgetSpent(WriterError):
    """A writer's budget is used up; the next run continues from here and pays for nothing twice."""


class GateRefused(EntityClipError):
    """A batch failed the quality gate; nothing was versioned."""


class TrainingError(EntityClipError):
    """Training cannot continue; the last good checkpoint is kept."""


class CheckpointError(EntityClipError):
    """Weights or card are missing, half-written or do not fit each other."""


class IndexMismatch(EntityClipError):
    """An index was built by another model than the one that queries it."""


class WorkspaceError(EntityClipError):
    """Git, DVC or the workspace folder is not in the state that a step needs."""


class Busy(WorkspaceError):
    """Another run holds the lock of this workspace or device, and this run does not wait (any longer)."""


class PackagingError(EntityClipError):
    """A Bento could not be built from a release, or its smoke test failed."""


class SignatureError(EntityClipError):
    """A package is not signed, is not what was signed, or was signed by a key that the service does not trust."""


class SwitchError(EntityClipError):
    """A running service does not serve the release that it should."""


def faults(error: ValidationError, *, whole: str = "the file") -> str:
    """Pydantic's findings in one line: each field, or ``whole``, with its error."""
    # Messages of our own validators need no "Value error" prefix.
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or whole}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
    )
