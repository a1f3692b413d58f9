"""The value report: every number has a source, the verdict follows the criteria, and both pages can be printed."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import HOSTILE, require_harmless, visit
from value_evaluation import evaluation, metric

from entityclip.errors import ConfigError, DataError
from entityclip.paths import ValueReportLayout
from entityclip.reports import pdf
from entityclip.reports.value.criteria import TARGETS, read_criteria
from entityclip.reports.value.figures import SourceFile, TracedFigure, resolve, untraced
from entityclip.reports.value.page import ReportedRelease, ValueReport, verified, write_value_report
from entityclip.reports.value.readings import STAGE_METRIC, ReleaseEvidence
from entityclip.reports.value.words import formulas, texts
from entityclip.reports.words import Language
from entityclip.schemas import EvalReport, Improvements, OneMorePicture, ReleaseCost, Resources

DAY = datetime.date(2026, 11, 28)
SUBJECT = ReportedRelease(
    version="v1.0.0", release_commit="b" * 40, criteria_commit="a" * 40, data_commit="c" * 40, day=DAY
)
DOCS = Path(__file__).parents[3] / "docs" / "value-report.md"


@pytest.fixture
def content() -> dict[str, Any]:
    """The example of the documentation, about target precision 0.9."""
    block = re.search(r"^```yaml\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block
    found: dict[str, Any] = yaml.safe_load(block[1])
    found["decision"]["target_precision"] = 0.9
    found["success"] = {"min_recall_at_1": 70}
    found["withdrawal"] = {"min_recall_at_1": 40}
    return found


Write = Callable[..., ValueReport]


@pytest.fixture
def write(tmp_path: Path, content: dict[str, Any]) -> Write:
    """Writes the report about an evaluation, by the criteria in ``content``."""

    def made(
        report: EvalReport | None = None,
        *,
        language: Language = "en",
        subject: ReportedRelease = SUBJECT,
        **others: SourceFile,
    ) -> ValueReport:
        text = yaml.safe_dump(content, allow_unicode=True)
        found = (report or evaluation()).model_dump(mode="json")
        evidence = ReleaseEvidence(
            criteria=SourceFile(name="criteria.yaml", content=yaml.safe_load(text), commit="a" * 40),
            evaluation=SourceFile(name="reports/evaluation.json", content=found, commit="b" * 40),
            **others,
        )
        criteria = read_criteria(text, where=Path("criteria.yaml"))
        return write_value_report(ValueReportLayout(tmp_path), criteria, evidence, subject, language=language)

    return made


def by_name(report: ValueReport) -> dict[str, TracedFigure]:
    return {figure.name: figure for figure in report.figures}


# ---------------------------------------------------------------- figures
def test_figures_are_those_of_the_evaluation_and_of_hand(write: Write, content: dict[str, Any]) -> None:
    content["workload"] |= {"pictures_per_month": 1000, "unknown_share": 20, "minutes_per_suggestion": 1}
    content["today"] |= {"minutes_per_picture": 6, "wrong_in_the_end": 5}
    content["money"] |= {"cost_per_hour": 60, "cost_per_mismatch": 10, "running_cost_per_month": 200}
    found = by_name(write())
    assert (found["recall_at_1"].value, found["recall_at_1"].low, found["recall_at_1"].high) == (75, 73, 77)
    assert found["sure_at_0.9"].value == pytest.approx(50)
    assert found["automatic_at_0.9"].value == pytest.approx(42)  # 0.8 x 50 + 0.2 x 10
    assert found["by_hand_at_0.9"].value == pytest.approx(58)
    assert found["right_tags_at_0.9"].value == pytest.approx(100 * 36 / 42)
    assert found["hours_at_0.9"].value == pytest.approx(1000 * (0.58 + (0.58 - 0.36) * 6) / 60)  # helped: 0.8 x 0.45
    assert found["mismatches_saved_at_0.9"].value == pytest.approx(50 - 89)
    assert found["net_at_0.9"].value == pytest.approx(6500 - (1900 + 890) - 200)
    assert found["suggestions_hours"].value == pytest.approx(1000 * (0.8 * 0.95 * 6 - 1) / 60)
    saved = found["suggestions_hours"].value + found["tags_hours_at_0.9"].value  # type: ignore[operator]
    assert saved == pytest.approx(found["hours_saved_at_0.9"].value)
    assert found["checks_at_0.9"].value == pytest.approx(420)  # 1000 x 0.42 x 1 minute
    for name in ("automatic", "by_hand", "right_tags", "hours", "mismatches", "net"):
        figure = found[f"{name}_at_0.9"]
        assert figure.low is not None
        assert figure.low < figure.value < figure.high  # type: ignore[operator]


def test_without_sure_tags_a_target_has_no_precision_and_only_suggestions_help(write: Write) -> None:
    found = by_name(write())
    assert (found["automatic_at_0.99"].value, found["right_tags_at_0.99"].value) == (0, None)
    assert found["hours_saved_at_0.99"].value > 0  # type: ignore[operator]


def test_the_seconds_of_a_run_become_money_unless_the_training_was_reused(
    write: Write, content: dict[str, Any]
) -> None:
    content["money"] |= {"running_cost_per_month": 100, "retrainings_per_month": 2, "cost_per_machine_hour": 36}
    lines = {STAGE_METRIC % "train": 90.0, STAGE_METRIC % "evaluate": 10.0}
    whole = by_name(write(metrics=SourceFile(name="retrain.prom", content=lines)))
    assert whole["running_cost"].value == pytest.approx(102)  # 100 + 2 x 100 s x 0.01 a second
    reused = SourceFile(name="retrain.prom", content=lines | {STAGE_METRIC % "train": 0.1})
    found = by_name(write(metrics=reused))
    assert found["running_cost"].value == pytest.approx(100)
    assert "run_seconds" not in found


def test_every_figure_stands_where_it_says(write: Write, tmp_path: Path, content: dict[str, Any]) -> None:
    ledger = SourceFile(name="ledger.sqlite", content={"total(tokens_in)": 7, "total(money)": 0.5})
    report = write(ledger=ledger)
    assert report.untraced == ()
    files = {
        "criteria.yaml": content,
        "reports/evaluation.json": evaluation().model_dump(mode="json"),
        "ledger.sqlite": ledger.content,
    }
    written = json.loads((tmp_path / "value-report.json").read_text(encoding="utf-8"))
    assert written["untraced"] == []
    read = [figure for figure in written["figures"] if figure["file"]]
    assert len(read) > 30
    for figure in read:
        there = resolve(files[figure["file"]], figure["key"])
        assert figure["value"] == (there["value"] if isinstance(there, dict) else there)


def test_a_figure_that_does_not_stand_there_is_found_with_all_that_follow_from_it(write: Write) -> None:
    report = write()
    criteria = {figure.name: figure for figure in report.figures if figure.file == "criteria.yaml"}
    files = {"criteria.yaml": {}, "reports/evaluation.json": evaluation().model_dump(mode="json")}
    lost = untraced(report.figures, files)
    assert set(criteria) <= set(lost)
    assert {"net_at_0.9", "payback", "net_less.money.cost_per_hour"} <= set(lost)
    assert "recall_at_1" not in lost
    circle = [TracedFigure(name=a, value=1, formula="x", inputs=(b,)) for a, b in (("a", "b"), ("b", "a"))]
    assert untraced(circle, {}) == ["a", "b"]


def test_a_file_that_changed_meanwhile_is_named(write: Write, tmp_path: Path, content: dict[str, Any]) -> None:
    report, path = write(), tmp_path / "value-report.json"
    files = {"criteria.yaml": content, "reports/evaluation.json": evaluation().model_dump(mode="json")}
    assert verified(path, files) == report
    files["reports/evaluation.json"]["pictures"] += 1
    with pytest.raises(DataError, match="1 figures do not stand where they say, the first is pictures"):
        verified(path, files)


def test_the_gain_over_the_champion_is_shown_where_there_was_one(write: Write, tmp_path: Path) -> None:
    first = by_name(write(promotion=SourceFile(name="reports/promotion.json", content={"gain": None})))
    assert "gain" not in first
    gain = {"gain": {"points": 3.5, "low": 0.25, "high": 6.0}}
    found = by_name(write(promotion=SourceFile(name="reports/promotion.json", content=gain)))
    assert (found["gain"].value, found["gain_low"].value, found["gain"].key) == (3.5, 0.25, "/gain/points")
    assert texts("en")["gain"] in (tmp_path / "value-report.en.html").read_text(encoding="utf-8")


def test_what_one_more_picture_brings_is_shown_where_it_was_measured(write: Write, tmp_path: Path) -> None:
    write()
    assert texts("en")["unknown_longer"] in words_of(tmp_path, "en")
    rows = [
        OneMorePicture(fewest=0, most=0, products=50, gain=16.8, low=8.2, high=25.8),
        OneMorePicture(fewest=1, most=1, products=40),
        OneMorePicture(fewest=10, most=None, products=100, gain=0.1, low=-0.3, high=0.4),
    ]
    kept: dict[str, Any] = {"photograph": (), "rewrite": (), "behind": 0, "judged": 0}
    report = write(evaluation(improvements=Improvements(one_more_picture=tuple(rows), **kept)))
    assert report.untraced == ()
    assert by_name(report)["more_pictures.gain"].key == "/improvements/one_more_picture/0/gain"
    assert "each of the 50 products that have 0 training pictures adds 16.8 points [8.2, 25.8]" in words_of(
        tmp_path, "en"
    )
    report = write(evaluation(improvements=Improvements(one_more_picture=tuple(rows[2:]), **kept)), language="ja")
    assert "学習画像が 10 枚以上の製品 100 件" in words_of(tmp_path, "ja")
    assert (by_name(report)["more_pictures.most"].value, report.untraced) == (None, ())


def test_a_learning_curve_says_what_a_hundred_more_pictures_add(write: Write, tmp_path: Path) -> None:
    curve = {
        "points": [
            {"pictures": pictures, "value": value, "low": value - 3, "high": value + 3}
            for pictures, value in ((500, 60.0), (1000, 70.0), (2000, 75.0))
        ],
        "gain": {"value": 5.0, "low": 1.0, "high": 9.0},
        "per_hundred": {"value": 0.35, "low": 0.07, "high": 0.63},
    }
    report = write(learning_curve=SourceFile(name="learning_curve.json", content=curve))
    words = words_of(tmp_path, "en")
    assert "with 1,000 training pictures R@1 is 70.0 %, with 2,000 it is 75.0 %; the difference is 5.0 points" in words
    assert "100 more pictures add 0.35 points [0.07, 0.63]" in words
    assert report.untraced == ()
    write(language="ja", learning_curve=SourceFile(name="learning_curve.json", content=curve))
    assert "100 枚の追加で 0.35 ポイント" in words_of(tmp_path, "ja")


STAGES = [
    {"name": "Cloud <1>", "months": 2, "pictures_per_month": 500, "cost_once": 100, "running_cost_per_month": 40},
    {"name": "自社設備", "months": 12, "pictures_per_month": 1000, "cost_once": 3000, "running_cost_per_month": 50},
]


def test_each_stage_of_the_introduction_has_its_cost_and_its_saving(
    write: Write, content: dict[str, Any], tmp_path: Path
) -> None:
    content["workload"]["pictures_per_month"] = 1000
    assert texts("en")["stages"] not in (write(), words_of(tmp_path, "en"))[1]
    content["stages"] = [dict(stage) for stage in STAGES]
    report = write()
    found = by_name(report)
    month = found["today.cost"].value - found["cost_at_0.9"].value  # type: ignore[operator]
    assert (found["stage.0.cost"].value, found["stage.1.cost"].value) == (180, 3600)
    assert found["stage.0.saved"].value == pytest.approx(2 * month / 2)
    assert found["stage.1.balance"].value == pytest.approx(13 * month - 3780)
    low, high = found["stage.1.balance"].low, found["stage.1.balance"].high
    assert low < found["stage.1.balance"].value < high  # type: ignore[operator]
    spent = 180 - month + 3000  # before the full volume begins
    assert found["stages_payback"].value == pytest.approx(2 + spent / (month - 50))
    assert "full volume from the first month" in words_of(tmp_path, "en")
    assert report.untraced == ()
    assert "Cloud &lt;1&gt;: cost once" in words_of(tmp_path, "en")
    del content["stages"][1]["months"]
    with pytest.raises(ConfigError, match=r"stages\.1\.months is missing: How long it takes"):
        write()


def released(points: float | None) -> SourceFile:
    """A ledger in which the release has a cost."""
    spent = Resources(tokens=900, cpu_seconds=120, storage_mb=30)
    cost = ReleaseCost(release="v1.0.0", points=points, spent=spent).model_dump()
    return SourceFile(name="ledger.sqlite", content={"total(tokens_in)": 7, "release": cost})


def test_what_the_release_cost_is_shown_in_total_and_for_each_point(write: Write, tmp_path: Path) -> None:
    report = write(ledger=released(40.0))
    found = by_name(report)
    assert (found["release.cpu_seconds"].value, found["per_point.cpu_seconds"].value) == (120, 3)
    assert found["per_point.tokens"].inputs == ("release.tokens", "release.points")
    assert report.untraced == ()
    assert re.search(r"processor time of runs\s*120.s\s*3.s", words_of(tmp_path, "en"))
    for points in (None, -0.5):
        assert "per_point.tokens" not in by_name(write(ledger=released(points)))
    assert texts("en")["release_cost"] not in (write(), words_of(tmp_path, "en"))[1]


class _Numbers(HTMLParser):
    """Names of the figures that a page links to, and of the lines that it has for them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.linked: set[str] = set()
        self.lines: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a" and found.get("class") == "figure":
            self.linked.add((found["href"] or "").removeprefix("#figure-"))
        if (found.get("id") or "").startswith("figure-"):
            self.lines.add((found["id"] or "").removeprefix("figure-"))


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_number_of_the_page_leads_to_its_source(write: Write, tmp_path: Path, language: Language) -> None:
    report = write(language=language)
    numbers = _Numbers((tmp_path / f"value-report.{language}.html").read_text(encoding="utf-8"))
    assert numbers.linked <= numbers.lines == {figure.name for figure in report.figures}
    assert {
        "net_at_0.9",
        "recall_at_1",
        "today.hours",
        "running_cost",
        *(f"net_at_{t}" for t in TARGETS),
    } <= numbers.linked


# ---------------------------------------------------------------- verdict
@pytest.mark.parametrize(
    ("success", "withdrawal", "verdict"),
    [
        ({"min_recall_at_1": 73}, {"min_recall_at_1": 40}, "go"),
        ({"min_recall_at_1": 73.1}, {"min_recall_at_1": 40}, "adjust"),  # the lower end is 73
        ({"min_recall_at_1": 90}, {"min_recall_at_1": 77}, "adjust"),  # the upper end is 77
        ({"min_recall_at_1": 90}, {"min_recall_at_1": 77.1}, "stop"),
        ({"min_recall_at_1": 70, "min_recall_at_5": 99}, {"min_recall_at_1": 40}, "adjust"),
        ({"max_by_hand": 90}, {"max_by_hand": 95}, "go"),
        ({"max_by_hand": 10}, {"max_by_hand": 20}, "stop"),
        ({"min_precision": 70}, {"min_net_per_month": 1e12}, "stop"),
        ({"max_payback_months": 1e9}, {"max_payback_months": 1e10}, "go"),
    ],
)
def test_the_verdict_follows_the_worse_end_for_go_and_the_better_end_for_stop(
    write: Write, content: dict[str, Any], success: dict[str, float], withdrawal: dict[str, float], verdict: str
) -> None:
    content["success"], content["withdrawal"] = success, withdrawal
    report = write()
    assert report.verdict == verdict
    met = [check.limit for check in report.judgement.checks if check.outcome == "met"]
    assert bool(met) == (verdict == "stop")


def test_the_page_gives_the_reason_of_the_verdict_and_the_next_step(
    write: Write, content: dict[str, Any], tmp_path: Path
) -> None:
    content["success"], content["withdrawal"] = {"min_recall_at_1": 90}, {"min_recall_at_1": 80}
    write()
    assert "right product first (R@1): 75.0 % (below 80 %)" in words_of(tmp_path, "en")
    assert texts("en")["step_stop"] in words_of(tmp_path, "en")
    content["success"], content["withdrawal"] = {"min_precision": 99, "max_by_hand": 1}, {"min_recall_at_1": 10}
    write(language="ja")
    assert "自動タグの適合率: 88.0%(基準は99%以上、未達)" in words_of(tmp_path, "ja")
    assert texts("ja")["step_recall"] in words_of(tmp_path, "ja")
    assert texts("ja")["step_no_target"] in words_of(tmp_path, "ja")
    assert texts("ja")["why_adjust_missed"] in words_of(tmp_path, "ja")


def test_another_target_is_advised_only_where_every_criterion_is_reached_at_it(
    write: Write, content: dict[str, Any], tmp_path: Path
) -> None:
    content["success"] = {"min_precision": 60, "max_by_hand": 45}
    report = write()
    assert report.verdict == "adjust"
    assert "choose target precision 80 %: every criterion is reached there" in words_of(tmp_path, "en")
    content["success"]["max_by_hand"] = 20
    write()
    assert texts("en")["step_no_target"] in words_of(tmp_path, "en")
    assert "choose target precision" not in words_of(tmp_path, "en")


def test_the_longest_search_leaves_just_the_saving_of_the_go_limit(
    write: Write, content: dict[str, Any], tmp_path: Path
) -> None:
    content["success"] = {"min_net_per_month": 2000}
    found = by_name(write())
    longest = found["suggestion_minutes.go"]
    assert longest.low <= longest.value < found["suggestion_minutes.zero"].value  # type: ignore[operator]
    assert "as long as a search with five suggestions takes less than" in words_of(tmp_path, "en")
    content["workload"]["minutes_per_suggestion"] = longest.value
    assert by_name(write())["net_at_0.9"].value == pytest.approx(2000)


def words_of(folder: Path, language: Language) -> str:
    """Text of the page, without tags."""
    page = (folder / f"value-report.{language}.html").read_text(encoding="utf-8")
    return re.sub(r"<[^>]*>", "", page)


def test_a_building_cost_that_is_never_earned_stops(write: Write, content: dict[str, Any], tmp_path: Path) -> None:
    content["money"]["running_cost_per_month"] = 1e11
    content["success"], content["withdrawal"] = {"max_payback_months": 12}, {"max_payback_months": 36}
    report = write()
    assert (report.verdict, by_name(report)["payback"].value) == ("stop", None)
    assert "never" in (tmp_path / "value-report.en.html").read_text(encoding="utf-8")


def test_precision_without_automatic_tags_is_neither_reached_nor_missed(
    write: Write, content: dict[str, Any], tmp_path: Path
) -> None:
    content["decision"]["target_precision"] = 0.99
    content["success"], content["withdrawal"] = {"min_precision": 90}, {"min_precision": 80}
    report = write()
    assert report.verdict == "adjust"
    assert {check.outcome for check in report.judgement.checks} == {"open"}
    assert texts("en")["no_tags"] in words_of(tmp_path, "en")


def test_an_evaluation_that_lacks_what_the_report_needs_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"no open-set figures at target precision 0\.9; evaluate the release"):
        write(evaluation(open_set=()))
    with pytest.raises(DataError, match="no R@5 of the mixed index"):
        write(evaluation(metrics=(metric("R@1", 75.0),)))


# ---------------------------------------------------------------- pages
def test_both_languages_have_the_same_texts_with_the_same_gaps() -> None:
    english, japanese = texts("en"), texts("ja")
    gaps = {key: set(re.findall(r"{(\w+)}", text)) for key, text in english.items()}
    assert {key: set(re.findall(r"{(\w+)}", text)) for key, text in japanese.items()} == gaps


def test_the_japanese_appendix_has_japanese_names_and_formulas(
    write: Write, content: dict[str, Any], tmp_path: Path
) -> None:
    metrics = SourceFile(name="retrain.prom", content={STAGE_METRIC % "train": 90.0})
    content["stages"] = STAGES[:1]
    report = write(language="ja", metrics=metrics, ledger=released(40.0))
    derived = {figure.formula for figure in report.figures if figure.formula}
    assert derived <= set(formulas())
    page = (tmp_path / "value-report.ja.html").read_text(encoding="utf-8")
    for figure in report.figures:
        (line,) = re.findall(rf'<tr id="figure-{re.escape(figure.name)}"><th>(.*?)<br>', page)
        assert re.search("[ぁ-んァ-ヶ一-龠]", line), figure.name
    assert "&lt;/" not in page


def test_drawn_pictures_are_no_evidence_about_real_products(write: Write, tmp_path: Path) -> None:
    warning = re.sub(r"<[^>]*>", "", texts("en")["tested_drawn"])
    write()
    assert warning not in words_of(tmp_path, "en")
    write(subject=SUBJECT.model_copy(update={"source": "catalog", "preset": "tiny"}))
    assert warning in words_of(tmp_path, "en")
    assert "Trained with the preset tiny " in words_of(tmp_path, "en")
    write(subject=SUBJECT.model_copy(update={"source": "grocery", "workspace": "shop-search"}))
    assert re.sub(r"<[^>]*>", "", texts("en")["tested_public"]) in words_of(tmp_path, "en")
    assert "Workspace shop-search · data: a public set of grocery photographs" in words_of(tmp_path, "en")


def pages_of(file: Path, program: Callable[..., Path]) -> list[str]:
    """Text of each printed page."""
    pdftotext = program("pdftotext", package="poppler-utils")
    command = [str(pdftotext), "-layout", str(file), "-"]
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout.split("\f")


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_printed_report_is_one_page_for_a_manager_and_an_appendix(
    write: Write, tmp_path: Path, content: dict[str, Any], program: Callable[..., Path], language: Language
) -> None:
    program("chromium", package="chromium")
    content["name"], content["decision"]["decided_by"] = "補修部品の画像検索" * 8, "山田花子、アフターサービス部" * 5
    content["money"]["currency"] = "千ルピア・税抜"
    every = {"min_recall_at_5": 1, "min_precision": 1, "max_by_hand": 100, "min_net_per_month": 0}
    content["success"] |= every | {"max_payback_months": 99}
    write(language=language)
    layout = ValueReportLayout(tmp_path)
    pdf.print_pdf(layout.page(language), layout.pdf(language))
    first, second, *_ = pages_of(layout.pdf(language), program)
    words = texts(language)
    assert words["report"] in first
    assert words["unknown"] in first  # the last section for the manager
    assert "山田花子" in first
    assert "千ルピア・税抜" in first
    assert words["appendix"] in second
    assert words["sensitivity"] in second


@pytest.mark.slow
def test_hostile_names_are_shown_as_text(
    write: Write, content: dict[str, Any], tmp_path: Path, program: Callable[..., Path]
) -> None:
    pieces = [HOSTILE[start : start + 80] for start in range(0, len(HOSTILE), 80)]
    content["money"]["currency"] = "<b>{{7*7"
    content["decision"]["decided_by"] = "{0}<img src=x onerror=1>{{ 7 * 7 }}"
    for name in (pieces[0], "</style></title><script>document.title='pwned'</script>{{ 7 * 7 }}"):
        content["name"] = name
        write()
        page = tmp_path / "value-report.en.html"
        require_harmless(visit(program("chromium", package="chromium"), page, profile=tmp_path / "profile"))


def test_a_machine_without_a_browser_is_given_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "BROWSERS", ("no-such-browser",))
    with pytest.raises(ConfigError, match=r"apt install chromium fonts-noto-cjk.*--no-pdf"):
        pdf.print_pdf(tmp_path / "page.html", tmp_path / "page.pdf")
    assert not (tmp_path / "page.pdf").exists()
