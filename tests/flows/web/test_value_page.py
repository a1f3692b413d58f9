"""The value page: other assumptions give other sums, nothing is stored, and the committed criteria stay."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext
from reviewers import Person, make_key, serving
from value_evaluation import evaluation
from visitors import new_tab, require_quiet

from bentos.middleware import keys
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.schemas import PromotionDecision
from flows.web.server import application
from flows.workspace.criteria import commit_criteria
from flows.workspace.registry import assign_champion
from flows.workspace.versions import release, version_data

DOCS = Path(__file__).parents[3] / "docs" / "value-report.md"
PAGE = "/ui/releases/value"


@pytest.fixture
def valued(
    tmp_path: Path,
    accepted: Callable[[str], DataLayout],
    checkpoint: Callable[[str], CheckpointLayout],
    decided: Callable[..., PromotionDecision],
) -> Layout:
    """A workspace with the criteria of the documentation and a champion."""
    block = re.search(r"^```yaml\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block
    (file := tmp_path / "criteria.yaml").write_text(block[1], encoding="utf-8")
    layout = Layout(tmp_path / "workspace")
    commit_criteria(layout.root, file)
    data = version_data(layout, accepted("first"), message="Data").data_hash
    made = release(
        layout, checkpoint=checkpoint("a"), reports={"evaluation": evaluation()}, decision=decided("a", data)
    )
    assign_champion(layout, made.version, message="first")
    return layout


def releaser(layout: Layout) -> Person:
    key = make_key(layout, "Ana")
    return Person(application(layout, layout.service), key)


def row(page: str, label: str) -> list[str]:
    """Words of the cells beside a label."""
    found = re.search(rf'<tr><th scope="row">{re.escape(label)}</th>(.*?)</tr>', page, re.DOTALL)
    assert found, label
    cells = re.findall(r"<td[^>]*>(.*?)</td>", found[1], re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", "", cell).split()) for cell in cells]


def test_other_assumptions_give_other_sums_and_change_nothing(valued: Layout) -> None:
    person = releaser(valued)
    before = valued.criteria.read_bytes()
    assert f'href="{PAGE}"' in person.look("/ui/releases")
    page = person.look(PAGE)
    label = "hours saved a month, target 95 %"
    saved, same = row(page, label)
    assert saved == same
    doubled = row(person.look(f"{PAGE}?workload.pictures_per_month=8,000"), label)  # 4,000 in the file
    assert doubled[0] == saved
    hours, twice = (float(cell.split(" h")[0].replace(",", "")) for cell in doubled)
    assert twice == pytest.approx(2 * hours, rel=0.01)
    idle = person.look(f"{PAGE}?workload.pictures_per_month=0&money.currency=EUR")
    assert row(idle, "payback")[1] == "never"
    assert "The same limits with your assumptions: " in idle
    assert valued.criteria.read_bytes() == before
    japanese = person.client.get(f"{PAGE}?workload.pictures_per_month=８０００", headers={"accept-language": "ja"}).text
    assert row(japanese, "月間の削減工数(目標 95%)")[1].startswith(doubled[1].split(" ")[0])


def test_an_impossible_assumption_is_named_and_stays_in_its_field(valued: Layout) -> None:
    person = releaser(valued)
    for field, typed, reason in (
        ("money.cost_per_hour", "<b>much", "money.cost_per_hour: &#39;&lt;b&gt;much&#39; is no number"),
        ("money.cost_per_hour", "1,5", "&#39;1,5&#39; is no number; expected one like 1500 or 0.5"),
        ("money.cost_per_hour", "-1", "money.cost_per_hour: "),
        ("money.cost_per_hour", "inf", "money.cost_per_hour: "),
        ("today.wrong_in_the_end", "99", "right_in_the_end and wrong_in_the_end are more than 100 percent together"),
    ):
        answer = person.client.get(PAGE, params={field: typed})
        assert answer.status_code == 422
        assert reason in answer.text
        assert f'value="{typed.replace("<b>", "&lt;b&gt;")}"' in answer.text


def test_only_those_who_decide_on_releases_see_it(valued: Layout) -> None:
    key = keys.make(valued.service.keys, name="Ben", scopes=("query", "review"))
    ben = Person(application(valued, valued.service), key)
    assert ben.client.get(PAGE).status_code == 403
    assert PAGE not in ben.look("/ui/releases")
    valued.criteria.write_text("changed")
    assert "differs from criteria.yaml as committed" in releaser(valued).client.get(PAGE).text


def test_without_criteria_it_says_so(undecided: Layout) -> None:
    person = releaser(undecided)
    assert PAGE not in person.look("/ui/releases")
    answer = person.client.get(PAGE)
    assert answer.status_code == 409
    assert "no criteria.yaml is committed" in answer.text


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width", "locale"), [("light", 1280, "en-US"), ("dark", 390, "ja-JP")])
def test_the_page_passes_axe_fits_a_phone_and_computes_in_a_browser(
    valued: Layout, chromium: Browser, scheme: str, width: int, locale: str
) -> None:
    key = make_key(valued, "Ana")
    with serving(valued) as url:
        view = {"width": width, "height": 800}
        contexts: list[BrowserContext] = []
        visitor = new_tab(chromium, url, contexts, locale=locale, color_scheme=scheme, viewport=view)
        visitor.sign_in(key)
        visitor.goto(PAGE)
        page = visitor.page
        assert not page.locator("td b").count()
        page.fill("[name='workload.pictures_per_month']", "8,000")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert page.locator("td b").count() > 4
        assert Axe().run(page).response["violations"] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        require_quiet(visitor)
        contexts[0].close()
