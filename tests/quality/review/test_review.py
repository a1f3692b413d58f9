"""Texts that were quarantined go to a person, come back, and take effect."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from tiny import tiny_data

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError
from entityclip.paths import DataLayout, ReviewLayout
from entityclip.quality.review import (
    Review,
    Waiver,
    add_reviews,
    export_review,
    import_review,
    merge,
    read_reviews,
    waived,
)

FORMULA = '=HYPERLINK("http://evil.example") 「赤い」'


@pytest.fixture
def data(tmp_path: Path) -> DataLayout:
    return tiny_data(tmp_path / "data")


def rows(data: DataLayout) -> list[dict[str, Any]]:
    return list(pairs.iter_rows(data.explanations))


def quarantined(data: DataLayout, tmp_path: Path, *rules: str) -> Path:
    """A quarantine file that says that the first texts broke these rules; the last text broke two."""
    lines = [
        {"table": "explanations", "id": row["explanation_id"], "rule": rule, "value": FORMULA}
        for row, rule in zip(rows(data), rules, strict=False)
    ]
    lines += [{**lines[-1], "rule": "second_rule", "value": ""}, {"table": "pairs", "id": "x", "rule": "leak"}]
    pd.DataFrame(lines).to_csv(tmp_path / "quarantine.csv", index=False)
    return tmp_path / "quarantine.csv"


def sheet(folder: ReviewLayout) -> list[dict[str, str]]:
    with folder.sheet.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill_in(folder: ReviewLayout, *decisions: dict[str, str], separator: str = ",") -> None:
    filled = [row | decision for row, decision in zip(sheet(folder), decisions, strict=True)]
    with folder.sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(filled[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(filled)


@pytest.fixture
def handed(data: DataLayout, tmp_path: Path) -> ReviewLayout:
    """Three texts that wait; the last broke two rules."""
    folder = ReviewLayout(tmp_path / "review")
    assert export_review(quarantined(data, tmp_path, "refusal", "email", "phone"), data=data, to=folder) == 3
    return folder


DECISIONS = (
    {"decision": "accept", "minutes": "1"},
    {"decision": "Edit", "edited_text": "赤い円がある。\nIt has two lines.", "minutes": "2,5", "note": "wrong colour"},
    {"decision": "reject", "minutes": "0"},
)


# ---------------------------------------------------------------- out
def test_a_sheet_names_text_rules_and_values_and_the_page_shows_pictures(handed: ReviewLayout) -> None:
    last = sheet(handed)[-1]
    assert last["rules"] == "phone second_rule"
    assert last["text"] == "The KX-BLUE has a body like a blue disc."
    page = handed.page.read_text()
    assert page.count('<img src="data:image/jpeg') == 9
    assert "=HYPERLINK(&#34;http://evil.example&#34;) 「赤い」" in page


def test_no_cell_of_the_sheet_is_a_formula(handed: ReviewLayout) -> None:
    assert sheet(handed)[0]["values"] == f"'{FORMULA}"


def test_a_sheet_that_somebody_may_have_filled_in_is_not_overwritten(
    handed: ReviewLayout, data: DataLayout, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="would be lost"):
        export_review(tmp_path / "quarantine.csv", data=data, to=handed)


def test_what_was_decided_is_not_handed_out_again(data: DataLayout, tmp_path: Path) -> None:
    file, ids = quarantined(data, tmp_path, "a", "b"), [row["explanation_id"] for row in rows(data)]
    assert export_review(file, data=data, to=ReviewLayout(tmp_path / "one"), decided=ids[:1]) == 1
    with pytest.raises(ConfigError, match="no text in it waits"):
        export_review(file, data=data, to=ReviewLayout(tmp_path / "none"), decided=ids)


def test_a_quarantine_of_another_batch_and_any_other_file_are_refused(data: DataLayout, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("table,id,rule,value\nexplanations,nobody,refusal,x\n")
    with pytest.raises(DataError, match="another batch"):
        export_review(other, data=data, to=ReviewLayout(tmp_path / "out"))
    other.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not a quarantine file"):
        export_review(other, data=data, to=ReviewLayout(tmp_path / "out"))


# ---------------------------------------------------------------- back
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_decisions_come_back_whatever_the_spreadsheet_saves(handed: ReviewLayout, separator: str) -> None:
    fill_in(handed, *DECISIONS, separator=separator)
    reviews = import_review(handed, reviewer=" 山田 ")
    assert [r.decision for r in reviews] == ["accept", "edit", "reject"]
    assert reviews[1].edited_text == "赤い円がある。\nIt has two lines."
    assert reviews[1].minutes == 2.5
    assert {r.reviewer for r in reviews} == {"山田"}


def test_a_row_that_was_left_empty_goes_on_waiting(handed: ReviewLayout) -> None:
    fill_in(handed, DECISIONS[0], {}, {})
    assert len(import_review(handed, reviewer="Ana")) == 1


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"decision": "maybe", "minutes": "1"}, "line 2: decision"),
        ({"decision": "edit", "minutes": "1"}, "line 2: .*edited_text belongs"),
        ({"decision": "accept", "edited_text": "x", "minutes": "1"}, "line 2: .*edited_text belongs"),
        ({"decision": "accept"}, "line 2: minutes"),
        ({"decision": "accept", "minutes": "-1"}, "line 2: minutes"),
        ({"decision": "accept", "minutes": "nan"}, "line 2: minutes"),
        ({"minutes": "3"}, "line 2: decision"),
        ({"explanation_id": "another", "decision": "accept", "minutes": "1"}, "is not in the export"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_is_imported(
    handed: ReviewLayout, cells: dict[str, str], expected: str
) -> None:
    fill_in(handed, cells, *DECISIONS[1:])
    with pytest.raises(DataError, match=f"nothing was imported; .*{expected}"):
        import_review(handed, reviewer="Ana")


def test_a_sheet_of_another_form_is_refused(handed: ReviewLayout) -> None:
    first = sheet(handed)[0]["explanation_id"]
    for content, expected in {
        b"a,b\n1,2\n": "expected explanation_id, entity",
        handed.sheet.read_bytes() + f"{first},x\n".encode(): "more or fewer cells",
        "語".encode("cp932"): "CSV UTF-8",
        b"": "expected explanation_id, entity",
    }.items():
        handed.sheet.write_bytes(content)
        with pytest.raises(DataError, match=expected):
            import_review(handed, reviewer="Ana")


def test_a_reviewer_without_a_name_decides_nothing(handed: ReviewLayout) -> None:
    fill_in(handed, *DECISIONS)
    with pytest.raises(DataError, match="reviewer"):
        import_review(handed, reviewer="  ")


# ---------------------------------------------------------------- the file
def decided(handed: ReviewLayout, *, reviewer: str = "Ana") -> tuple[Review, ...]:
    fill_in(handed, *DECISIONS)
    return import_review(handed, reviewer=reviewer)


def test_the_same_decisions_again_change_nothing_and_others_want_a_word(handed: ReviewLayout, tmp_path: Path) -> None:
    file, reviews = tmp_path / "reports" / "reviews.csv", decided(handed)
    assert add_reviews(file, reviews) == 3
    before = file.read_bytes()
    assert add_reviews(file, reviews) == 0
    assert file.read_bytes() == before
    assert read_reviews(file) == reviews
    other = reviews[0].model_copy(update={"decision": "reject", "reviewer": "Ben"})
    with pytest.raises(ConfigError, match="Ana decided 'accept'"):
        add_reviews(file, [other])
    assert add_reviews(file, [other], overrule=True) == 1
    assert read_reviews(file)[0].reviewer == "Ben"


def test_a_damaged_file_of_decisions_is_an_error_and_not_an_empty_one(handed: ReviewLayout, tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    add_reviews(file, decided(handed))
    whole = file.read_text()
    file.write_text(whole.replace("accept", "acept"))
    with pytest.raises(DataError, match="row 1: decision"):
        read_reviews(file)
    file.write_text(whole + whole.split("\n", 1)[1])
    with pytest.raises(DataError, match="decided twice"):
        read_reviews(file)


# ---------------------------------------------------------------- their effect
def test_accepted_stays_edited_is_replaced_and_rejected_goes(data: DataLayout, handed: ReviewLayout) -> None:
    before, reviews = rows(data), decided(handed)
    done = merge(data, reviews)
    after = rows(data)
    assert (done.accepted, done.edited, done.rejected, done.reviewers) == (1, 1, 1, ("Ana",))
    assert len(after) == len(before) - 1
    assert after[0] == before[0] | {"reviewer": "Ana"}
    assert after[1]["text"] == "赤い円がある。\nIt has two lines."
    assert after[1]["generator"] == before[1]["generator"]
    assert after[1]["explanation_id"] != before[1]["explanation_id"]
    assert after[2:] == before[3:]
    assert {key: waiver.rules for key, waiver in waived(reviews).items()} == {before[0]["explanation_id"]: {"refusal"}}


@pytest.mark.parametrize(
    ("decision", "rules"), [("accept", "leak"), ("accept", "picture_small no_right"), ("edit", "x")]
)
def test_a_picture_is_accepted_or_rejected_and_never_against_a_right_or_the_evaluation(
    decision: str, rules: str
) -> None:
    row = {"explanation_id": "p", "entity_id": "e", "entity": "KX-1", "text": "KX-1", "table": "pairs", "minutes": 0}
    given = row | {"reviewer": "Ana", "day": "2026-11-29", "edited_text": "new" if decision == "edit" else ""}
    with pytest.raises(ValidationError, match=r"correct (the|its) row in the source"):
        Review.model_validate(given | {"decision": decision, "rules": rules})
    rejected = Review.model_validate(given | {"decision": "reject", "rules": "leak", "edited_text": ""})
    assert waived([rejected]) == {"p": Waiver(frozenset(), "Ana", "2026-11-29", rejected=True)}


def test_to_merge_twice_changes_nothing(data: DataLayout, handed: ReviewLayout) -> None:
    reviews = decided(handed)
    merge(data, reviews)
    once = rows(data)
    assert merge(data, reviews).edited == 0
    assert rows(data) == once


def test_an_edited_text_may_be_decided_once_more(data: DataLayout, handed: ReviewLayout) -> None:
    reviews = decided(handed)
    copy = DataLayout(data.root.with_name("copy"))
    tiny_data(copy.root)
    merge(copy, reviews)
    again = reviews[1].model_copy(update={"explanation_id": rows(copy)[1]["explanation_id"], "edited_text": "Better."})
    merge(data, [*reviews, again])
    assert rows(data)[1]["text"] == "Better."
