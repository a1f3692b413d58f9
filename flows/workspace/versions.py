"""Versions of data and releases of models, on top of ``repository``, ``dvc_remote`` and ``registry``.

The order is always: folder, DVC pointer, push, commit, tags. A commit therefore never refers to objects that the remote
lacks, and after a kill the same call completes the work.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from entityclip.data.pairs import digest, require_complete
from entityclip.errors import WorkspaceError
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.schemas import DataVersion, PromotionDecision, Record, Release
from flows.workspace.create import workspace_files
from flows.workspace.dvc_hashes import folder_hash, pointer_hash
from flows.workspace.dvc_remote import push
from flows.workspace.registry import model_at, register, release_of, sign_version, versions
from flows.workspace.repository import Repository, exclusive


# ---------------------------------------------------------------- data
def version_data(
    layout: Layout, accepted: DataLayout, *, message: str, together_with: Iterable[Path] = (), pushed: bool = True
) -> DataVersion:
    """Copy ``accepted`` to ``data/``, add it to DVC, push it, and commit its hash.

    Args:
        layout: The workspace.
        accepted: Complete data that passed the gate; not modified.
        message: Message of the commit.
        together_with: Other files and folders for the same commit.
        pushed: False only if the workspace has no remote.

    Raises:
        DataError: ``accepted`` is half-written.
        WorkspaceError: Git, DVC or the remote failed; the last committed version stays, run again to complete.
    """
    require_complete(accepted)
    with exclusive(layout):
        repository = Repository(layout.root)
        before = repository.committed(layout.data_dvc)
        data_hash = _replace(repository, accepted.root, layout.data.root)
        if pushed:
            push(layout, {layout.data_dvc: data_hash})
        changed = before is None or pointer_hash(before) != data_hash
        if changed:
            parts = [*workspace_files(layout), layout.data_dvc, layout.report("quality"), *together_with]
            commit = repository.commit(message, parts)
        else:
            repository.commit("The same data, checked again", [layout.report("quality")])
            commit = repository.git("log", "-1", "--format=%H", "--", layout.data_dvc.name)
    return DataVersion(data_hash=data_hash, commit=commit, changed=changed)


def data_intact(layout: Layout, data_hash: str) -> bool:
    """Whether ``data/`` is this version, byte for byte: every file is hashed, DVC's records are not used."""
    return layout.data.marker.exists() and folder_hash(layout.data.root) == data_hash


def data_flaw(layout: Layout, data_hash: str) -> str:
    """Why ``data/`` is not this version, intact and named by HEAD; empty if it is."""
    pointer = Repository(layout.root).committed(layout.data_dvc)
    if pointer is None:
        return f"{layout.data_dvc.name} is missing in HEAD"
    if (named := pointer_hash(pointer)) != data_hash:
        return f"{layout.data_dvc.name} in HEAD names {named[:12]}, and what was made is {data_hash[:12]}"
    intact = data_intact(layout, data_hash)
    return (
        "" if intact else f"{layout.data.root.name}/ is missing or damaged: its files do not hash to {data_hash[:12]}"
    )


def _replace(repository: Repository, source: Path, folder: Path) -> str:
    """Replace ``folder`` by a copy of ``source``, add it to DVC and return the hash."""
    wanted = folder_hash(source)
    if not folder.exists() or folder_hash(folder) != wanted:
        _swap(Layout(repository.root), source, folder)
    shutil.rmtree(Layout(repository.root).outgoing(folder.name), ignore_errors=True)
    added = repository.add(folder)
    if added != wanted:
        raise WorkspaceError(
            f"{folder}: DVC sees {added}, expected {wanted}; check for a process that writes there, and .dvcignore"
        )
    return added


def _swap(layout: Layout, source: Path, folder: Path) -> None:
    """Copy ``source`` beside ``folder``, then rename twice: a reader sees the old version, none, or the new one."""
    incoming, outgoing = layout.incoming(folder.name), layout.outgoing(folder.name)
    for leftover in (incoming, outgoing):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        shutil.copytree(source, incoming)
    except OSError as error:
        shutil.rmtree(incoming, ignore_errors=True)
        first = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise WorkspaceError(
            f"{folder}: could not be replaced: {first}; it is unchanged, remove the cause and run again"
        ) from error
    if folder.exists():
        folder.rename(outgoing)
    incoming.rename(folder)


# ---------------------------------------------------------------- releases
def release(
    layout: Layout,
    *,
    checkpoint: CheckpointLayout,
    reports: Mapping[str, Record],
    decision: PromotionDecision,
) -> Release:
    """Release the promoted checkpoint: one commit with data, rules, model and reports, pushed and tagged.

    The first version is v1.0.0, a retrained model is v1.1.0 and so on. A model is released only once.
    A release becomes the champion after its serving check, see ``flows.steps.release``.

    Args:
        layout: The workspace, with the data version that the decision is about.
        checkpoint: The challenger's weights and card.
        reports: Name -> record, each written to ``reports/NAME.json``.
        decision: The promoting decision; written to ``reports/promotion.json``.

    Raises:
        WorkspaceError: The decision is a refusal or about other data; or Git, DVC or the remote failed.
    """
    if not decision.promoted:
        raise WorkspaceError(
            f"{decision.challenger[:12]}: not promoted ({'; '.join(decision.reasons)}); keep the champion"
        )
    with exclusive(layout):
        version = released(layout, decision.challenger)
        if version is None:
            version = register(layout, _release_commit(layout, checkpoint, reports, decision))
        sign_version(layout, version)  # also after a run that could not
        return release_of(layout, version)


def released(layout: Layout, fingerprint: str) -> str | None:
    """The version that holds this model, or None."""
    return next((v for v, commit in versions(layout).items() if model_at(layout, commit) == fingerprint), None)


def _release_commit(
    layout: Layout, checkpoint: CheckpointLayout, reports: Mapping[str, Record], decision: PromotionDecision
) -> str:
    repository = Repository(layout.root)
    pointer = repository.committed(layout.data_dvc)
    if pointer is None or pointer_hash(pointer) != decision.data_hash:
        found = pointer_hash(pointer) if pointer else "nothing"
        raise WorkspaceError(f"{layout.data_dvc}: HEAD has {found}, the decision is about {decision.data_hash}")
    card = checkpoint.card.read_text() if checkpoint.card.exists() else "{}"
    if (found := json.loads(card).get("fingerprint")) != decision.challenger:
        raise WorkspaceError(f"{checkpoint.card}: is of model {found}, the decision promoted {decision.challenger}")
    model_hash = _replace(repository, checkpoint.root, layout.model.root)
    for name, record in {**reports, "promotion": decision}.items():
        record.write(layout.report(name))
    decision.write(_decision_path(layout, decision))
    push(layout, {layout.data_dvc: decision.data_hash, layout.model_dvc: model_hash})
    parts = [*workspace_files(layout), layout.data_dvc, layout.model_dvc, layout.reports]
    return repository.commit(f"Release model {decision.challenger[:12]}", parts)


def record_decision(layout: Layout, decision: PromotionDecision) -> Path:
    """Commit a refused challenger's decision, which is kept permanently; the model is unchanged."""
    path = _decision_path(layout, decision)
    with exclusive(layout):
        decision.write(path)
        Repository(layout.root).commit(f"Keep the champion against {decision.challenger[:12]}", [path])
    return path


def _decision_path(layout: Layout, decision: PromotionDecision) -> Path:
    return layout.decision(digest(decision.model_dump_json()))


# ---------------------------------------------------------------- rollback
def restore(layout: Layout, release: Release, copy: Layout) -> str:
    """Restore data, rules, settings, source, model and reports of a release, in a commit of its own.

    Decisions, serving checks and reviews are kept permanently and stay as they are.

    Args:
        layout: The workspace.
        release: The release.
        copy: Its files with its data, from ``fetch_release``.

    Returns:
        The commit; HEAD if nothing changed.

    Raises:
        WorkspaceError: Git, DVC or the remote failed; call again to complete.
    """
    with exclusive(layout):
        repository = Repository(layout.root)
        data_hash = _replace(repository, copy.data.root, layout.data.root)
        model_hash = _replace(repository, copy.model.root, layout.model.root)
        kept = [layout.source] if repository.committed(layout.source, commit=release.commit) else []
        tracked = [
            layout.config,
            layout.rules,
            *kept,
            *(layout.report(path.stem) for path in _reports(layout, release)),
        ]
        names = [path.relative_to(layout.root).as_posix() for path in tracked]
        repository.git("restore", f"--source={release.commit}", "--staged", "--worktree", "--", *names)
        push(layout, {layout.data_dvc: data_hash, layout.model_dvc: model_hash})
        return repository.commit(f"Back to {release.version}", [*tracked, layout.data_dvc, layout.model_dvc])


def _reports(layout: Layout, release: Release) -> list[Path]:
    """The release's own records: evaluation, quality, promotion ..."""
    folder = layout.reports.relative_to(layout.root).as_posix()
    listed = Repository(layout.root).git("ls-tree", "--name-only", release.commit, "--", f"{folder}/").splitlines()
    return [Path(name) for name in listed if name.endswith(".json")]
