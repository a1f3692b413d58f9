"""Ingests feedback: what users judged and which products they changed comes from the service into the workspace.

Run it by hand with ``entityclip feedback --workspace DIR``; for the schedule see ``prefect.yaml``. The next retraining
reads ``feedback/`` after its source; such rows have the source ``feedback`` or ``service``.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from bentos import settings
from bentos.middleware import keys
from bentos.runtime import active_release
from bentos.runtime.feedback import Spool
from entityclip.data import pairs
from entityclip.data.erasure import read_erasures
from entityclip.data.sources.other_names import OtherName
from entityclip.data.sources.service_products import RESTORE, SERVICE, ServiceProducts
from entityclip.data.sources.with_feedback import FEEDBACK, RETURNED
from entityclip.errors import ConfigError
from entityclip.monitoring.feedback import Intake, JudgedRow, agreement
from entityclip.monitoring.feedback_pictures import accepted_images
from entityclip.monitoring.feedback_words import WordRules, accepted_names
from entityclip.paths import ChangesLayout, FeedbackLayout, Layout, StateLayout
from entityclip.schemas import Record
from entityclip.settings import read_config
from entityclip.storage import (
    PRIVATE_FILE,
    atomic_path,
    atomic_write,
    close_to_others,
    private_folder,
    read_records,
    write_table,
)
from flows.platform.telemetry import observed
from flows.steps.deploy_release import state_of
from flows.steps.service_products import Copied, Names, copy_products, other_names
from flows.workspace.dvc_hashes import pointer_hash
from flows.workspace.dvc_remote import bring, push
from flows.workspace.repository import Repository, exclusive
from flows.workspace.triggers import announce


class Gathered(Record):
    """What one run ingested."""

    taken: int = Field(description="Judgements that were new.")
    unusable: dict[str, int] = Field(description="Reason why judgements give no row -> how many.")
    pictures: int = Field(description="Accepted pictures in total.")
    names: int = Field(default=0, description="Accepted other names in total.")
    products: Copied = Field(default=Copied(), description="Products that were changed in service since the last run.")
    waiting: int = Field(description="Accepted pictures, those of products included, that are not in the data yet.")


@flow(name="feedback", log_prints=True)
def feedback(workspace: Path = Path("build/workspace"), state: Path | None = None) -> Gathered:
    """Ingest the spool; once enough accepted pictures wait, a retraining is due.

    Args:
        workspace: The workspace whose champion is in service.
        state: The service's state folder; by default the one that ENTITYCLIP_STATE names, else the workspace's.
    """
    layout = Layout(workspace.resolve())
    served = StateLayout(state) if state else settings.state() or layout.service
    with observed(layout, "feedback") as run:
        gathered = ingest_feedback(layout, served)
        publish(layout, gathered)
        run.figures[("pictures", "all")] = gathered.pictures
        run.figures[("pictures", "waiting")] = gathered.waiting
    return gathered


def ingest_what_returned(layout: Layout) -> None:
    """Ingest before a retraining, where the state folder of this workspace's service is on this machine."""
    state = state_of(layout)
    if not (state.feedback.exists() or ChangesLayout(state.entities).database.exists()):
        return
    if _of_another(state, layout):
        print(
            f"{state.root}: the active release there is not of this workspace, so its feedback and products are not "
            f"ingested; if they belong here: entityclip feedback --workspace {layout.root} --state {state.root}"
        )
        return
    ingest_feedback(layout, state)


def _of_another(state: StateLayout, layout: Layout) -> bool:
    """Whether the active release is not one of the workspace; where none was activated yet, the state is its own."""
    if state.root.resolve() == layout.service.root.resolve():
        return False
    try:
        live = active_release.read(state)
    except ConfigError:  # damaged, so it names none
        return True
    return live is not None and not live.champion.resolve().is_relative_to(layout.bento_home.resolve())


@task(cache_policy=NO_CACHE)
def ingest_feedback(layout: Layout, state: StateLayout) -> Gathered:
    """Copy spool and changed products to ``feedback/``, commit and push it, and only then clear the spool.

    Judgements wait for the first data version: only the data tell which entities and pictures are known.

    Raises:
        DataError: The spool, the service's products, the data or a file of ``feedback/`` are damaged.
        WorkspaceError: Git, DVC or the remote refused; the spool keeps everything, run again to complete.
    """
    spool, names = Spool(state.feedback), _names(layout, state)
    with exclusive(layout):
        _bring_back(layout)
        folder, policy = layout.feedback, read_config(layout.config).feedback
        before = read_judged(folder.judged)
        own, entities = own_pictures(layout), _entity_names(layout)
        copied = Copied()
        if policy.products:
            copied = copy_products(layout, state, policy=policy, names=names, entities=entities, pictures=own)
        products = ServiceProducts(folder)
        pictures = own | {row.picture: row.entity_id for row in products.pictures}
        removed = {row.entity_id for row in products.products.values() if not row.entry}
        others, named = other_names(entities, products), _with_products(entities, products)
        rules = WordRules(layout.data, read_erasures(layout.erasures)).why_not_kept if policy.keep_words else None
        intake = Intake(before, named, pictures, policy=policy, removed=removed, other_names=others, why_not_kept=rules)
        new, last = _judged(layout, spool, intake) if layout.data.marker.exists() else ([], 0)
        table = accepted_images([*before, *new], policy=policy, own=len(own), names=names)
        words = accepted_names([*before, *new], policy=policy, names=names)
        if new:
            write_table(folder.judged, pd.DataFrame([row.model_dump() for row in (*before, *new)]), mode=PRIVATE_FILE)
            _write(folder.table, table)
        if folder.root.exists():
            _write_names(folder.names, words)
            _drop_unnamed(folder, [row.picture for row in (*before, *new)] + [row.picture for row in products.pictures])
            _close_folders(layout)
            message = f"Feedback: {len(new)} judgements, {len(table)} pictures" + f", {len(words)} names" * bool(words)
            _version(layout, message="\n\n".join(filter(None, (message, copied.sentence))))
        spool.drop(until=last)
    return Gathered(
        taken=len(new),
        unusable=Counter(row.unusable for row in new if row.unusable),
        pictures=len(table),
        names=len(words),
        products=copied,
        waiting=_waiting(layout, table, products),
    )


def _names(layout: Layout, state: StateLayout) -> Names:
    """Owners of the API keys; '' for those whose names were erased."""
    erasures = read_erasures(layout.erasures)
    return Names(
        {
            key.id: "" if any(erasure.holds("person", key.name) for erasure in erasures) else key.name
            for key in keys.read(state.keys)
        }
    )


def _judged(layout: Layout, spool: Spool, intake: Intake) -> tuple[list[JudgedRow], int]:
    """New judgements, with their pictures written to disk, and the number of the last row read."""
    rows: list[JudgedRow] = []
    last, today = 0, datetime.now(UTC).date()
    for number, judgement in spool.read():
        last = number
        row = intake.take(judgement, day=today)
        if row is not None:
            rows.append(row)
            if row.picture and not row.unusable and row.verdict != "wrong":
                atomic_write(layout.feedback.picture(row.picture), judgement.picture, mode=PRIVATE_FILE)
    return rows, last


def _waiting(layout: Layout, table: pd.DataFrame, products: ServiceProducts) -> int:
    """Number of accepted pictures that no data version has yet."""
    rows = _known(layout)
    there = {source: set(rows.loc[rows["source"] == source, "image_sha256"]) for source in RETURNED}
    added = {row.picture for row in products.pictures if not row.unusable}
    return len(set(table["file"].str.removeprefix("pictures/")) - there[FEEDBACK]) + len(added - there[SERVICE])


def _drop_unnamed(folder: FeedbackLayout, named: Iterable[str]) -> None:
    """Delete pictures that no row names, such as those of a product that was removed."""
    kept = set(named)
    for path in folder.picture("x").parent.glob("*"):
        if path.name not in kept:
            path.unlink()


def _bring_back(layout: Layout) -> None:
    """Restore ``data/`` and ``feedback/`` as committed, if this checkout has only their pointers."""
    for pointer, folder in ((layout.data_dvc, layout.data.root), (layout.feedback_dvc, layout.feedback.root)):
        if pointer.exists() and not folder.exists():
            incoming = layout.incoming(folder.name)
            shutil.rmtree(incoming, ignore_errors=True)
            bring(layout, pointer_hash(pointer.read_text()), incoming)
            incoming.rename(folder)


def _close_folders(layout: Layout) -> None:
    """Restrict access to the users' pictures in ``feedback/``, DVC's cache and the local remote."""
    private_folder(layout.feedback.root)
    private_folder(layout.dvc_folder / "cache")
    close_to_others(layout.remote)


def _version(layout: Layout, *, message: str) -> None:
    repository = Repository(layout.root)
    push(layout, {layout.feedback_dvc: repository.add(layout.feedback.root)})
    repository.commit(message, [layout.feedback_dvc])


@task(cache_policy=NO_CACHE)
def publish(layout: Layout, gathered: Gathered) -> None:
    """Show the agreement by week; make a retraining due if enough accepted pictures wait."""
    policy = read_config(layout.config).feedback
    weeks = agreement(read_judged(layout.feedback.judged))
    create_table_artifact(
        key="feedback",
        table=json.loads(weeks.to_json(orient="records", date_format="iso", default_handler=str)),
        description=f"{gathered.taken} new judgements; {gathered.waiting} pictures wait, "
        f"{policy.min_new_images} are enough",
    )
    for reason, count in gathered.unusable.items():
        get_run_logger().info("%s judgements give no row: %s", count, reason)
    if gathered.waiting >= policy.min_new_images:
        summary = f"{gathered.waiting} accepted pictures wait for a retraining"
        announce(layout, "feedback", key=pointer_hash(layout.feedback_dvc.read_text()), summary=summary)


# ---------------------------------------------------------------- tables
def read_judged(path: Path) -> list[JudgedRow]:
    """Every ingested judgement; empty if there is no file.

    Raises:
        DataError: The file is damaged; names the row.
    """
    return read_records(path, JudgedRow, remedy=RESTORE)


def _entity_names(layout: Layout) -> dict[str, tuple[str, ...]]:
    """entity_id -> name, other names and codes, of the data."""
    if not layout.data.marker.exists():
        return {}
    frame = pairs.read_frame(layout.data.entities, columns=["entity_id", "entity", "aliases"])
    return {
        key: (name, *(() if aliases is None else aliases))
        for key, name, aliases in frame.itertuples(index=False, name=None)
    }


def _with_products(entities: Mapping[str, tuple[str, ...]], products: ServiceProducts) -> dict[str, str]:
    """entity_id -> name of the entities, as products add, rename and remove them."""
    named = {entity_id: names[0] for entity_id, names in entities.items()}
    for product in products.products.values():
        named.pop(product.entity_id, None)
        if (texts := product.texts) is not None:
            named[product.entity_id] = texts.entity
    return named


def _known(layout: Layout) -> pd.DataFrame:
    columns = ["image_sha256", "entity_id", "source"]
    exists = layout.data.marker.exists()
    return pairs.read_frame(layout.data.pairs, columns=columns) if exists else pd.DataFrame(columns=columns)


def own_pictures(layout: Layout) -> dict[str, str]:
    """SHA-256 -> entity_id of the source's own pictures; empty before the first data version.

    Raises:
        DataError: The data are damaged.
    """
    rows = _known(layout)
    rows = rows[~rows["source"].isin(RETURNED)]
    return dict(zip(rows["image_sha256"], rows["entity_id"], strict=True))


def _write_names(path: Path, names: list[OtherName]) -> None:
    if names:
        write_table(path, pd.DataFrame([name.model_dump() for name in names]), mode=PRIVATE_FILE)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, rows: pd.DataFrame) -> None:
    """Write a table for ingest, without the guards against formulas that spreadsheets need."""
    with atomic_path(path, mode=PRIVATE_FILE) as temporary:
        rows.to_csv(temporary, index=False, lineterminator="\n")
