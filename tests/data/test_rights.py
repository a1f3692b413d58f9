"""Which rows may be used: what decides, and that nothing of the others reaches a writer."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from entityclip.data import pairs
from entityclip.data.rights import DEFAULT_RIGHTS, Rights, read_rights
from entityclip.errors import ConfigError
from entityclip.explanations import Requests, SourceWriter, explain
from entityclip.paths import DataLayout


@pytest.mark.parametrize(
    ("licence", "consent", "missing"),
    [
        ("MIT", "", ""),
        ("", "", ""),
        (None, None, ""),
        ("CC BY 4.0", "yes", ""),
        ("The Unlicense", "同意あり", ""),
        ("nowhere", "none of the pictures shows persons", ""),
        ("All Rights Reserved.", "yes", "licence: All Rights Reserved."),
        ("本画像の無断転載を禁じます", "", "licence: 本画像の無断転載を禁じます"),
        ("MIT", " Withdrawn 2026-01-01", "consent:  Withdrawn 2026-01-01"),
        ("MIT", "ＮＯ", "consent: ＮＯ"),
        ("MIT", "撤回済み", "consent: 撤回済み"),
    ],
)
def test_licence_and_consent_decide(licence: str | None, consent: str | None, missing: str) -> None:
    assert DEFAULT_RIGHTS.missing(licence=licence, consent=consent) == missing


def test_missing_rights_are_refused_where_the_suite_requires_them() -> None:
    assert Rights(refused_licences=("",)).missing(licence=None, consent="yes") == "licence: (none)"


# ---------------------------------------------------------------- the suite's JSON
def test_the_suite_of_a_workspace_decides_what_is_refused(tmp_path: Path) -> None:
    suite = tmp_path / "pairs.json"
    assert read_rights(suite) == DEFAULT_RIGHTS
    suite.write_text(json.dumps({"meta": {"rights": {"refused_licences": ["cc*-nc*"]}}}))
    assert read_rights(suite).missing(licence="CC-BY-NC-4.0", consent="") == "licence: CC-BY-NC-4.0"


@pytest.mark.parametrize("content", ["{", "[]", '{"meta": {"rights": {"licence": []}}}', '{"meta": {"rights": "no"}}'])
def test_rights_that_cannot_be_read_are_an_error(tmp_path: Path, content: str) -> None:
    suite = tmp_path / "pairs.json"
    suite.write_text(content)
    with pytest.raises(ConfigError, match=r"pairs\.json"):
        read_rights(suite)


# ---------------------------------------------------------------- what a writer gets to know
NO = "withdrawn"


@pytest.fixture
def staging(tmp_path: Path) -> DataLayout:
    """Entity -> the rights of its own row, of its pictures (caption = the rights), of its texts (the same)."""
    rows: dict[str, tuple[str, list[str], list[str]]] = {
        "free": ("", ["ok"], ["ok"]),
        "mixed": ("", [NO, "ok 2", "ok 1"], [NO, "ok"]),
        "pictures refused": ("", [NO], []),
        "text refused": ("", [], [NO]),
        "master refused": (NO, [], []),
        "master refused, picture free": (NO, ["ok"], []),
        "unseen": ("", [], []),
    }
    data = DataLayout(tmp_path / "staging")
    pairs.start(data)
    entities = [{"entity_id": name, "entity": name, "consent": own} for name, (own, _, _) in rows.items()]
    pictures = [
        {"entity_id": n, "caption": c, "consent": c, "image_sha256": c}
        for n, (_, some, _) in rows.items()
        for c in some
    ]
    texts = [{"entity_id": n, "text": t, "consent": t, "row": 1} for n, (_, _, some) in rows.items() for t in some]
    pairs.write_rows(data.pairs, pairs.PAIRS, pictures, name="train")
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, texts, name="source_provided")
    pairs.finish(data)
    return data


def test_a_writer_gets_to_know_nothing_of_rows_without_the_right(staging: DataLayout) -> None:
    known = {r.entity: (r.caption, r.source_provided, r.pictures_sha256) for r in Requests(staging, pictures=3)}
    assert known == {
        "free": ("ok", ("ok",), ("ok",)),
        "mixed": ("ok 1", ("ok",), ("ok 1", "ok 2")),
        "master refused, picture free": ("ok", (), ("ok",)),
        "unseen": ("unseen", (), ()),
    }


def test_a_text_without_the_right_becomes_no_explanation(staging: DataLayout, tmp_path: Path) -> None:
    explain(staging, writer=SourceWriter(), ledger=tmp_path / "ledger.sqlite")
    assert list(pairs.read_frame(staging.explanations)["text"]) == ["ok", "ok"]


def test_data_of_a_version_without_consent_are_still_read(staging: DataLayout) -> None:
    for path in (
        p for folder in (staging.pairs, staging.entities, staging.source_provided) for p in pairs.shards(folder)
    ):
        pq.write_table(pq.read_table(path).drop_columns("consent"), path)
    assert len({request.entity for request in Requests(staging, pictures=1)}) == 7
