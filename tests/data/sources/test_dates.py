"""Days as Japanese and Western tables spell them; what could be two days is refused."""

import datetime

import pytest

from entityclip.data.sources.dates import calendar_day

DAY = datetime.date(2026, 11, 3)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-03",
        "2026-11-03T10:20:30+09:00",
        "2026-11-03 00:00:00",
        "2026/11/3",
        "2026.11.03",
        "20261103",
        "2026年11月3日",
        "２０２６年１１月３日",
        "令和8年11月3日",
        "R8.11.3",
        " 2026-11-03 ",
    ],
)
def test_a_day_is_read_as_tables_spell_it(text):
    assert calendar_day(text) == DAY


def test_the_first_year_of_an_era_and_the_era_before():
    assert calendar_day("令和元年5月1日") == datetime.date(2019, 5, 1)
    assert calendar_day("平成31年4月30日") == datetime.date(2019, 4, 30)


@pytest.mark.parametrize("text", ["03/11/2026", "11/3/26", "26/11/3", "3 Nov 2026", "soon", "", "2026-13-01", "46329"])
def test_what_may_be_another_day_is_refused_with_what_is_expected(text):
    with pytest.raises(ValueError, match=r"expected 2026-11-23|no such day"):
        calendar_day(text)
