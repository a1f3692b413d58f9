"""Size variants that share a photograph pass the gate as one entity that every name finds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources import SourceOptions, open_source
from entityclip.data.sources.base import EntityRow, Source
from entityclip.paths import DataLayout, Layout
from entityclip.quality import score_pairs
from entityclip.schemas import Rejection

TABLE = """file,entity,explanation
s.jpg,軍手 S,白い軍手です。
s.jpg,軍手 M,白い軍手の中サイズです。
copy-of-s.jpg,軍手 L,白い軍手の大サイズです。
l-side.jpg,軍手 L,
pump.jpg,KX-204B,青いポンプです。
"""


@pytest.fixture
def shop(tmp_path, picture_bytes) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for seed, name in enumerate(("s", "l-side", "pump")):
        (folder / f"{name}.jpg").write_bytes(picture_bytes(seed))
    (folder / "copy-of-s.jpg").write_bytes(picture_bytes(0))
    (folder / "pictures.csv").write_text(TABLE, encoding="utf-8")
    return folder


def opened(shop: Path, mapping: str = "shared_pictures: merge\ndefault_language: ja") -> Source:
    (shop / "mapping.yaml").write_text(mapping, encoding="utf-8")
    return open_source(
        SourceOptions(source="table", path=shop, mapping=shop / "mapping.yaml"), layout=Layout(shop.parent)
    )


def ingested(source: Source, folder: Path) -> DataLayout:
    staging = DataLayout(folder / "staging")
    ingest(source, staging=staging, rejected=folder / "rejected.csv", progress=False)
    return staging


def test_variants_with_one_photograph_pass_the_gate_as_one_entity(shop, tmp_path):
    staging = ingested(opened(shop), tmp_path)
    scored = score_pairs(pairs.read_frame(staging.pairs))
    assert scored[["also_shows", "duplicate_of"]].isna().all(axis=None)
    assert sorted(scored["entity"]) == ["KX-204B", "軍手 S", "軍手 S"]
    entities = pairs.read_frame(staging.entities).set_index("entity")
    assert list(entities.loc["軍手 S", "aliases"]) == ["軍手 M", "軍手 L"]
    assert set(entities.index) == {"軍手 S", "KX-204B"}


def test_texts_of_every_variant_are_kept(shop, tmp_path):
    staging = ingested(opened(shop), tmp_path)
    texts = pairs.read_frame(staging.source_provided).groupby("entity_id")["text"].agg(set)
    assert texts[pairs.entity_id("軍手 S")] == {
        "白い軍手です。",
        "白い軍手の中サイズです。",
        "白い軍手の大サイズです。",
    }


def test_a_repeated_picture_is_listed_with_its_reason(shop):
    reasons = [row.reason for row in opened(shop).pictures() if isinstance(row, Rejection)]
    assert reasons == [
        f"the same picture as row 1; '軍手 {size}' is another name of '軍手 S' (shared_pictures: merge)"
        for size in "ML"
    ]


def test_without_the_key_the_rows_go_to_the_gate_as_they_are(shop, tmp_path):
    staging = ingested(opened(shop, "default_language: ja"), tmp_path)
    assert score_pairs(pairs.read_frame(staging.pairs))["also_shows"].notna().sum() == 3


def test_names_of_the_product_master_follow(shop, tmp_path):
    master = "entity,aliases,category\n軍手 M,GL-M,手袋\n軍手 Ｓ,GL-S,手袋\nKX-204B,,ポンプ\n"
    (shop / "products.csv").write_text(master, encoding="utf-8")
    rows = [row for row in opened(shop).entities() if isinstance(row, EntityRow)]
    assert [(row.entity, row.aliases) for row in rows[:3]] == [
        ("軍手 S", ("軍手 M", "GL-M")),
        ("軍手 S", ("軍手 Ｓ", "GL-S")),
        ("KX-204B", ()),
    ]


def test_groups_join_through_others_and_twice_the_same_row_is_left_to_the_gate(tmp_path, picture_bytes):
    for seed, name in enumerate("ab"):
        (tmp_path / f"{name}.jpg").write_bytes(picture_bytes(seed))
    rows = [("a", "S"), ("a", "M"), ("b", "M"), ("b", "M"), ("b", "L")]
    pd.DataFrame([{"file": f"{f}.jpg", "entity": e} for f, e in rows]).to_csv(tmp_path / "pictures.csv", index=False)
    source = opened(tmp_path)
    assert {row.entity for row in source.pictures() if not isinstance(row, Rejection)} == {"S"}
    assert [row.row for row in source.pictures() if isinstance(row, Rejection)] == [2, 5]
    assert source.fingerprint() != opened(tmp_path, "shared_pictures: refuse").fingerprint()


def test_a_table_that_shares_nothing_is_unchanged(tmp_path, picture_bytes):
    (tmp_path / "a.jpg").write_bytes(picture_bytes(0))
    (tmp_path / "pictures.csv").write_text("file,entity\na.jpg,A\n")
    merged, plain = opened(tmp_path), opened(tmp_path, "shared_pictures: refuse")
    assert list(merged.pictures()) == list(plain.pictures())
    assert list(merged.entities()) == list(plain.entities()) == []
