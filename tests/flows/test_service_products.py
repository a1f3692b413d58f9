"""Products of the source that people change or remove in service are so in the data."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from tiny import tiny_data, tiny_picture

from bentos.middleware import keys
from bentos.runtime.feedback import Feedback, Spool
from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.service_products import ServiceProducts
from entityclip.data.sources.table import TableSource
from entityclip.data.sources.with_feedback import with_feedback
from entityclip.errors import DataError
from entityclip.paths import ChangesLayout, DataLayout, Layout
from entityclip.retrieval.index import Changes
from entityclip.schemas import EntityEntry
from entityclip.storage import read_table
from flows.erasure.survey import feedback_rows
from flows.feedback import ingest_feedback

RED, GREEN = pairs.entity_id("KX-RED"), pairs.entity_id("KX-GREEN")


def png(colour: str, number: int) -> bytes:
    file = io.BytesIO()
    tiny_picture(colour, number).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def changes(workspace: Layout, tmp_path: Path) -> Changes:
    """Of a service on a workspace whose source is a shop with two pictures of each of two products."""
    tiny_data(workspace.data.root)
    (tmp_path / "shop").mkdir()
    lines = ["file,entity,explanation"]
    for colour in ("red", "green"):
        for number in (20, 21):
            (tmp_path / "shop" / f"{colour}{number}.png").write_bytes(png(colour, number))
            lines.append(f"{colour}{number}.png,KX-{colour.upper()},A {colour} kettle.")
    (tmp_path / "shop" / "pictures.csv").write_text("\n".join(lines) + "\n")
    return Changes(ChangesLayout(workspace.service.entities), fingerprint="f")


def put(
    changes: Changes, entity_id: str, name: str, *, pictures: list[bytes], keep: bool = True, key: str = ""
) -> None:
    entry = EntityEntry(entity=name, explanations=("It is round.",))
    changes.put(entity_id, entry, pictures=pictures, keep_pictures=keep, vectors={}, key=key)


def ingested(workspace: Layout, folder: Path) -> tuple[pd.DataFrame, DataLayout, str]:
    """Pairs, staging and rejected rows of the next data version."""
    source = with_feedback(TableSource(folder / "shop", name="shop"), workspace.feedback)
    staging, rejected = DataLayout(folder / "staging"), folder / "rejected.csv"
    ingest(source, staging=staging, rejected=rejected, progress=False)
    return pairs.read_frame(staging.pairs), staging, rejected.read_text() if rejected.exists() else ""


def test_renamed_product_keeps_its_id_and_gets_the_new_texts_alone(
    workspace: Layout, changes: Changes, tmp_path: Path
) -> None:
    put(changes, RED, "KX-RED 2", pictures=[png("red", 30)])
    about = {"release": "v1.0.0", "key": "ana", "verdict": "right", "entity_id": RED, "entity": "KX-RED 2"}
    Spool(workspace.service.feedback).put(Feedback.model_validate(about | {"picture": png("red", 9)}))
    ingest_feedback.fn(workspace, workspace.service)
    frame, staging, _ = ingested(workspace, tmp_path)
    red = frame[frame["entity_id"] == RED]
    assert set(red["entity"]) == {"KX-RED 2"}
    assert sorted(red["source"]) == ["feedback", "service", "shop", "shop"]
    texts = pairs.read_frame(staging.source_provided)
    assert list(texts.loc[texts["entity_id"] == RED, "text"]) == ["It is round."]


def test_changed_product_keeps_the_licence_of_the_source(workspace: Layout, changes: Changes, tmp_path: Path) -> None:
    workspace.config.write_text("feedback: {licence: CC0, consent: staff}\n")
    new = pairs.entity_id("KX-NEW")
    (tmp_path / "shop" / "entities.csv").write_text(
        "entity,licence,consent\nKX-RED,all rights reserved,withdrawn 2026-03-01\n"
    )
    for entity_id, name, colour in ((RED, "KX-RED", "red"), (GREEN, "KX-GREEN", "green"), (new, "KX-NEW", "blue")):
        put(changes, entity_id, name, pictures=[png(colour, 30)])
    ingest_feedback.fn(workspace, workspace.service)
    frame, staging, _ = ingested(workspace, tmp_path)
    rights = {(row.entity, row.source): (row.licence, row.consent) for row in frame.itertuples()}
    refused, ours = ("all rights reserved", "withdrawn 2026-03-01"), ("CC0", "staff")
    assert rights == {
        ("KX-RED", "shop"): refused,
        ("KX-RED", "service"): ours,
        ("KX-GREEN", "shop"): ("", ""),
        ("KX-GREEN", "service"): ours,
        ("KX-NEW", "service"): ours,
    }
    texts = pairs.read_frame(staging.source_provided).set_index("entity_id")["licence"]
    assert (texts[RED], texts[new]) == ("all rights reserved", "CC0")


def test_removed_product_and_given_up_pictures_stay_out_with_the_reason(
    workspace: Layout, changes: Changes, tmp_path: Path
) -> None:
    token = keys.make(workspace.service.keys, name="Ben", scopes=("entities",))
    ben = token.split("_")[1]
    changes.remove(GREEN, key=ben)
    put(changes, RED, "KX-RED", pictures=[png("red", 30)], keep=False, key=ben)
    spool = Spool(workspace.service.feedback)
    spool.put(
        Feedback(
            release="v1.0.0", key=ben, verdict="right", entity_id=GREEN, entity="KX-GREEN", picture=png("green", 9)
        )
    )
    ingest_feedback.fn(workspace, workspace.service)
    frame, staging, rejected = ingested(workspace, tmp_path)
    assert list(zip(frame["entity"], frame["source"], frame["person"], strict=True)) == [("KX-RED", "service", "Ben")]
    assert set(pairs.read_frame(staging.entities)["entity_id"]) == {RED}
    assert rejected.count("removed in service by Ben on 20") == 2
    assert rejected.count("given other pictures in service by Ben on 20") == 2
    assert list(read_table(workspace.feedback.judged)["unusable"]) == ["the entity was removed in service"]
    tiny_data(workspace.data.root)  # a later version still has it, since its source does
    assert ingest_feedback.fn(workspace, workspace.service).products.removed == 0
    assert "removed in service by Ben" in ingested(workspace, tmp_path)[2]
    put(changes, GREEN, "KX-GREEN", pictures=[])
    ingest_feedback.fn(workspace, workspace.service)
    frame, _, rejected = ingested(workspace, tmp_path)
    assert list(frame.loc[frame["entity_id"] == GREEN, "source"]) == ["shop", "shop"]
    assert "removed in service" not in rejected


def test_removed_product_does_not_come_back_under_another_of_its_names(workspace: Layout, changes: Changes) -> None:
    entry = EntityEntry(entity="KX-NEW", aliases=("Old kettle",))
    changes.put("of-a-key", entry, pictures=[png("blue", 1)], keep_pictures=True, vectors={})
    ingest_feedback.fn(workspace, workspace.service)
    changes.remove("of-a-key")
    for number, name in enumerate(("kx-new", "OLD KETTLE")):
        judged = {"release": "v1.0.0", "key": "ana", "verdict": "missing", "entity_id": "", "entity": name}
        Spool(workspace.service.feedback).put(Feedback.model_validate(judged | {"picture": png("blue", number)}))
    ingest_feedback.fn(workspace, workspace.service)
    assert set(read_table(workspace.feedback.judged)["unusable"]) == {"the entity was removed in service"}
    (row,) = feedback_rows(workspace.feedback.products)
    assert row["aliases"] == ["KX-NEW", "Old kettle"]


def test_picture_that_the_source_has_gives_no_second_row(workspace: Layout, changes: Changes, tmp_path: Path) -> None:
    shop = TableSource(tmp_path / "shop", name="shop")
    ingest(shop, staging=workspace.data, rejected=tmp_path / "rejected.csv", progress=False)
    theirs = next(row["image"]["bytes"] for row in pairs.iter_rows(workspace.data.pairs) if row["entity_id"] == RED)
    put(changes, GREEN, "KX-GREEN", pictures=[theirs])
    assert ingest_feedback.fn(workspace, workspace.service).waiting == 0
    (picture,) = ServiceProducts(workspace.feedback).pictures
    assert picture.unusable == "the source has this picture, of KX-RED"
    frame, _, rejected = ingested(workspace, tmp_path)
    assert len(frame) == 4
    assert picture.unusable in rejected


def test_state_folder_that_was_lost_takes_nothing_back(workspace: Layout, changes: Changes, tmp_path: Path) -> None:
    put(changes, pairs.entity_id("KX-NEW"), "KX-NEW", pictures=[png("pink", 1)])
    ingest_feedback.fn(workspace, workspace.service)
    ChangesLayout(workspace.service.entities).database.unlink()
    ingest_feedback.fn(workspace, workspace.service)
    assert "KX-NEW" in set(ingested(workspace, tmp_path)[0]["entity"])


def test_damaged_table_names_the_row_and_the_remedy(workspace: Layout) -> None:
    workspace.feedback.root.mkdir()
    workspace.feedback.products.write_text("entity_id,entry,keeps_source,person,at\ne1,{,True,,\n")
    with pytest.raises(DataError, match=r"service_products\.csv, row 1: entry.*dvc checkout"):
        ServiceProducts(workspace.feedback)
