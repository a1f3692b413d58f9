"""The error tree. Every message names the file, row or value, what was expected and what to do.

::

    EntityClipError
    ├── ConfigError        a setting is impossible or a name is unknown
    ├── SourceError        a source as a whole cannot be read (a single bad row is a rejection, not an error)
    ├── ImageError         one picture cannot be used; ``reason`` is short enough for the rejected-rows file
    ├── DataError          versioned pairs or explanations are missing, incomplete or of another schema
    ├── WriterError        a writer of explanations cannot be used or reached; what it had answered is kept
    │   └── BudgetSpent    the writer's budget of tokens or money is used up
    ├── GateRefused        a batch broke the quality gate; the model in service is untouched
    ├── TrainingError      training cannot go on; the last good checkpoint is kept
    ├── CheckpointError    weights or card are missing, half-written or do not fit each other
    ├── IndexMismatch      an index was built by another model than the one that asks it
    ├── WorkspaceError     git, DVC or the workspace folder is not in the state that a step needs
    │   └── Busy           another run is at work, and this one does not wait
    ├── PackagingError     a Bento could not be built from a release, or its smoke test failed
    └── SwitchError        a running service does not answer with the release that was decided
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


class WriterError(EntityClipError):
    """A writer of explanations cannot be used or reached; what it had answered is kept in the ledger."""


class BudgetSpent(WriterError):
    """A writer's budget is used up; the next run goes on from here and pays for nothing twice."""


class GateRefused(EntityClipError):
    """A batch broke the quality gate; nothing was versioned."""


class TrainingError(EntityClipError):
    """Training cannot go on; the last good checkpoint is kept."""


class CheckpointError(EntityClipError):
    """Weights or card are missing, half-written or do not fit each other."""


class IndexMismatch(EntityClipError):
    """An index was built by another model than the one that asks it."""


class WorkspaceError(EntityClipError):
    """Git, DVC or the workspace folder is not in the state that a step needs."""


class Busy(WorkspaceError):
    """Another run is at work in this workspace or on this device, and this one does not wait any longer."""


class PackagingError(EntityClipError):
    """A Bento could not be built from a release, or its smoke test failed."""


class SwitchError(EntityClipError):
    """A running service does not answer with the release that was decided."""


def faults(error: ValidationError, *, whole: str = "the file") -> str:
    """What pydantic found, in one line: each field with what is wrong about it, or the ``whole`` that they are in."""
    # What a rule of ours says needs no "Value error" before it.
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or whole}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
    )
