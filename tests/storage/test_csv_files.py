"""CSV files for people: nothing runs in a spreadsheet, and every text is read back as it was."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entityclip.storage import csv_file, read_rows, read_table, write_table

STARTS = "=+-@\t\r\n＝＋－＠"
TEXTS = st.text(st.sampled_from(STARTS + "'\"a;, 説明\0"), max_size=8) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)


@pytest.mark.slow
@settings(max_examples=300)
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_every_text_is_read_back_as_it_was_and_none_runs(tmp_path_factory: pytest.TempPathFactory, rows) -> None:
    path = tmp_path_factory.getbasetemp() / "texts.csv"
    table = pd.DataFrame(rows, columns=["a", "説明"], dtype="str")
    write_table(path, table)
    with path.open(encoding="utf-8", newline="") as stream:
        cells = [cell for row in list(csv.reader(stream, strict=True))[1:] for cell in row]
    assert not [cell for cell in cells if cell.startswith(tuple(STARTS))]
    found = read_table(path)
    assert list(found.columns) == ["a", "説明"]
    assert [tuple(row) for row in found.itertuples(index=False)] == rows


def test_figures_stay_figures_and_missing_values_become_empty_cells(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [-1.5, None], "b": pd.array([-3, None], dtype="Int64"), "c": [True, False]})
    write_table(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n-1.5,-3,True\n,,False\n"


def test_first_rows_are_read_alone_and_what_is_no_table_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_table(path, pd.DataFrame({"a": ["1", "2", "3"]}))
    assert list(read_table(path, most=2)["a"]) == ["1", "2"]
    for damaged in (b'a,b\n"1,2\n', b"a,b\n1\n", b"a,b\n1,2,3\n", b"a\n\xff\n"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"t\.csv|utf-8"):
            read_table(path)
    path.write_bytes(b"")
    assert read_table(path).empty
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")
    assert list(read_rows("a;b\n1;'=2\n", delimiter=";")) == [{"a": "1", "b": "=2"}]


def test_name_of_a_file_that_is_no_text_is_still_a_row(tmp_path: Path) -> None:
    with csv_file(tmp_path / "t.csv", ["file"]) as writer:
        writer.write([os.fsdecode(b"\xff.jpg")])
    assert list(read_table(tmp_path / "t.csv")["file"]) == ["\\udcff.jpg"]
