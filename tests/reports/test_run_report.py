from __future__ import annotations

import io
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from entityclip.errors import DataError
from entityclip.reports.examples import Candidate, RetrievalExample
from entityclip.reports.improvements import first_step, improvements_text
from entityclip.reports.near_duplicates import SimilarPairs, SimilarPictures
from entityclip.reports.run_report import (
    LabelSummary,
    ReportContent,
    RunFacts,
    StageFact,
    recall_rows,
    slice_table,
    write_report,
)
from entityclip.schemas import (
    SLICES,
    EvalReport,
    ExplanationToRewrite,
    Improvements,
    IngestReport,
    Metric,
    OneMorePicture,
    ProductToPhotograph,
    PromotionDecision,
    PromotionPolicy,
    QualityReport,
    Release,
    ReleaseCost,
    Resources,
    RuleResult,
)

HOSTILE = '<script>alert("x")</script>'
FACTS = RunFacts(finished=datetime(2026, 1, 2, 3, 4), data_hash="4f0e.dir", model_fingerprint="9b1f0c2e")
CAPTION = {"frequent": 92.0, "few": 86.4, "one": 75.6, "none": 0.4, "all": 70.2}
EXPLANATION = {"frequent": 91.0, "few": 85.9, "one": 69.2, "none": 46.0, "all": 79.4}


def metric(index: str, name: str, value: float, queries: int = 250) -> Metric:
    low, high = max(0.0, value - 3), min(100.0, value + 3)
    return Metric(
        index=index,
        direction="image_to_text",
        slice=name,
        name="R@1",
        value=value,
        low=low,
        high=high,
        queries=queries,
    )


def evaluation(*metrics: Metric) -> EvalReport:
    return EvalReport(
        model_fingerprint="9b1f0c2e",
        evaluation_hash="51c7",
        split="test",
        pictures=1000,
        entities=300,
        metrics=metrics,
        seconds=1.0,
    )


EVALUATION = evaluation(
    *(metric("caption", s, v) for s, v in CAPTION.items()),
    *(metric("explanation", s, v) for s, v in EXPLANATION.items()),
)


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), colour).save(buffer, "PNG")
    return buffer.getvalue()


def example(*, rank: int, entity: str = "KX-204B", picture: bytes | None = None) -> RetrievalExample:
    true = Candidate(entity=entity, score=0.55, explanation="丸い赤いやかん", picture=None)
    predicted = Candidate(entity="TR-88", score=0.61, explanation="A green lamp.", picture=png("green"))
    return RetrievalExample(
        picture=picture if picture is not None else png("red"),
        predicted=true if rank == 1 else predicted,
        true=true,
        rank=rank,
        slice="none",
    )


def similar(concern: Any, *, entity: str = "KX-204B") -> SimilarPairs:
    pair = SimilarPictures(
        pictures=(png("red"), png("red")),
        files=("r1.jpg", f"{entity}.jpg"),
        entities=(entity, entity),
        splits=("train", "test"),
    )
    return SimilarPairs(concern=concern, count=1234, shown=(pair,))


def decision(*, promoted: bool) -> PromotionDecision:
    return PromotionDecision(
        promoted=promoted,
        reasons=("R@1 rose from 70.0 to 72.0.",),
        challenger="9b1f0c2e",
        champion="v1.0.0",
        data_hash="d",
        suite_hash="s",
        evaluation_hash="e",
        policy=PromotionPolicy(),
    )


def quality(quarantine: Path, *rules: RuleResult) -> QualityReport:
    return QualityReport(
        accepted_pairs=10,
        accepted_explanations=5,
        quarantined_pairs=1,
        quarantined_explanations=12,
        quarantine_file=str(quarantine),
        refused=False,
        rules=rules,
        suite_hash="77ab",
        validation_page=None,
    )


def rule(name: str, severity: Any, *, failed: int, passed: bool = True) -> RuleResult:
    return RuleResult(
        suite="pairs", rule=name, column="caption", severity=severity, passed=passed, checked=100, failed=failed
    )


class Page(HTMLParser):
    """What a browser would see: balanced tags, their attributes, the text."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def written(path: Path, **parts: Any) -> Page:
    write_report(path, ReportContent(facts=parts.pop("facts", FACTS), **parts))
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


# ---------------------------------------------------------------- the table for the terminal
def test_slice_table_shows_every_slice_with_its_interval_in_aligned_columns() -> None:
    title, header, rule, *rows = slice_table(EVALUATION).splitlines()
    assert "300 entities" in title
    assert "chance 0.3" in title
    assert [row.split("  ")[0].strip() for row in rows] == [
        "10 or more pictures",
        "2 to 9 pictures",
        "1 picture",
        "never photographed",
        "all together",
    ]
    assert "0.4 [0.0, 3.4]" in rows[3]
    assert "46.0 [43.0, 49.0]" in rows[3]
    assert {len(line) for line in (header, rule, *rows)} == {len(header)}


def test_a_figure_that_was_not_measured_is_a_dash() -> None:
    last = slice_table(evaluation(metric("caption", "all", 50.0))).splitlines()[-1]
    assert last.split()[-2:] == ["-", "-"]


def test_the_best_index_of_a_slice_is_marked_ties_included() -> None:
    (row,) = recall_rows(
        evaluation(metric("caption", "one", 1.0), metric("explanation", "one", 7.0), metric("mixed", "one", 7.0))
    )
    assert [row.is_best(cell) for cell in row.cells if cell] == [False, True, True]


# ---------------------------------------------------------------- the page
def test_a_page_with_everything_needs_no_network_and_no_script(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("row,rule\n1,caption is there\n")
    queries = pd.DataFrame([("mixed", s, r) for s in SLICES for r in (1, 3, 40)], columns=["index", "slice", "rank"])
    losses = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, float("nan")], "vtc": [2.0, 1.5, 1.0]})
    page = written(
        tmp_path / "report.html",
        facts=FACTS.model_copy(update={"stages": (StageFact(name="train", seconds=61, reused=True, reason="same"),)}),
        ingest=IngestReport(source="table", pairs=9, entities=3, rejected=0, rejected_file=None, seconds=0.5),
        quality=quality(tmp_path / "q.csv", rule("caption is there", "critical", failed=1)),
        evaluation=EVALUATION,
        queries=queries,
        losses=losses,
        examples=[example(rank=1), example(rank=7)],
        costs=[ReleaseCost(release="v1.0.0", points=2, spent=Resources(tokens=84, cpu_seconds=1260))],
        similar=[similar("in two splits")],
        labels=LabelSummary(1234, 800, entities=5, words=[("丸い赤いやかん", ["apelsin", "tropicana"])]),
        decision=decision(promoted=True),
        release=Release(version="v1.1.0", commit="c0ffee", model_fingerprint="9b1f", data_hash="4f"),
        commands={"Serve the model": "bentoml serve entityclip:v1.1.0"},
    )
    names = [tag for tag, _ in page.tags]
    assert names.count("svg") == 3
    assert names.count("section") == 11
    assert not {"script", "link", "iframe", "object"} & set(names)
    assert all(a["src"].startswith("data:image/jpeg;base64,") for tag, a in page.tags if tag == "img" and a["src"])
    anchors = {a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"]}
    assert anchors == {a["id"] for tag, a in page.tags if tag == "section"}
    for expected in ("v1.1.0 is the new champion", "丸い赤いやかん", "1 min 1 s", "4f0e.dir", "bentoml serve"):
        assert expected in page.text
    assert "1,234 pairs of similar pictures in two splits" in page.text
    assert "1,234 pictures were read; 800 have text" in page.text
    assert "apelsin" in page.text


def test_parts_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    page = written(tmp_path / "r.html")
    assert [a["id"] for tag, a in page.tags if tag == "section"] == ["provenance"]
    page = written(
        tmp_path / "r.html", evaluation=evaluation(), queries=pd.DataFrame({"index": [], "slice": [], "rank": []})
    )
    assert "svg" not in [tag for tag, _ in page.tags]


def test_what_data_say_is_never_html(tmp_path: Path) -> None:
    (tmp_path / "rejected.csv").write_text(f"file,row,reason\n{HOSTILE},1,{HOSTILE}\n".replace('"', "'"))
    page = written(
        tmp_path / "r.html",
        ingest=IngestReport(
            source=HOSTILE,
            pairs=1,
            entities=1,
            rejected=1,
            rejected_file=str(tmp_path / "rejected.csv"),
            seconds=1,
        ),
        similar=[similar("of two entities", entity=HOSTILE)],
        examples=[example(rank=2, entity=HOSTILE), example(rank=1, entity="\ud800 lone \x00 </style>")],
        commands={HOSTILE: HOSTILE},
        evaluation=evaluation(metric(HOSTILE, f"category={HOSTILE}", 1.0)),
    )
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.text.count("<script>") >= 6


def test_bytes_that_are_no_picture_leave_a_note_in_its_place(tmp_path: Path) -> None:
    page = written(tmp_path / "r.html", examples=[example(rank=1, picture=b"<svg onload=alert(1)>")])
    assert "img" not in [tag for tag, _ in page.tags]
    assert "picture cannot be shown" in page.text


def test_rules_that_failed_stand_first_and_long_files_are_quoted_from_their_start(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("row,rule\n" + "".join(f"row-{i},r\n" for i in range(13)))
    rules = (
        rule("fine", "critical", failed=0),
        rule("hint", "info", failed=9),
        rule("broke", "warning", failed=0, passed=False),
    )
    page = written(tmp_path / "r.html", quality=quality(tmp_path / "q.csv", *rules))
    assert page.text.index("broke") < page.text.index("hint") < page.text.index("fine")
    assert "row-9" in page.text
    assert "row-10" not in page.text
    assert str(tmp_path / "q.csv") in page.text


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00\x00,\x81"])
def test_a_quarantine_file_that_is_gone_or_garbled_is_only_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "q.csv").write_bytes(content)
    assert str(tmp_path / "q.csv") in written(tmp_path / "r.html", quality=quality(tmp_path / "q.csv")).text


def test_a_refused_challenger_says_that_the_champion_stays(tmp_path: Path) -> None:
    page = written(tmp_path / "r.html", decision=decision(promoted=False))
    assert "The champion stays: v1.0.0" in page.text
    assert "not promoted" in page.text


def test_a_frame_without_its_columns_is_refused_and_the_old_page_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.html"
    written(path)
    before = path.read_bytes()
    with pytest.raises(DataError, match="queries: no column slice, rank; it has index"):
        write_report(path, ReportContent(facts=FACTS, queries=pd.DataFrame({"index": []})))
    with pytest.raises(DataError, match="losses: no column loss, step"):
        write_report(path, ReportContent(facts=FACTS, losses=pd.DataFrame({"lr": []})))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        written(tmp_path / name, evaluation=EVALUATION, examples=[example(rank=3)])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_refused_batch_is_the_headline(tmp_path: Path) -> None:
    refused = quality(tmp_path / "q.csv").model_copy(
        update={"refused": True, "refusal": "40 % of the rows <broke> rules"}
    )
    page = written(tmp_path / "r.html", quality=refused)
    assert "The batch was refused; the model in service is unchanged" in page.text
    assert "40 % of the rows <broke> rules" in page.text


# ---------------------------------------------------------------- what would help
def improvements(entity: str = "KX-204B", *, low: float = 4.0) -> Improvements:
    figures = {"method": "measured", "judged": 50, "r1": 70.4, "gain": 8.2, "low": low, "high": 12.0, "helped": 21}
    poor = {"entity_id": "e1", "entity": entity, "pictures": 5, "found": 1, "siblings": 84.0, "mistaken_for": "TR-88"}
    about = {"entity_id": "e1", "entity": entity, "train_pictures": 2, "pictures": 5, "r1": 20.0}
    return Improvements(
        one_more_picture=(
            OneMorePicture(fewest=1, most=1, products=50),
            OneMorePicture(fewest=2, most=2, products=100, **figures),
            OneMorePicture(fewest=3, most=9, products=0),
        ),
        photograph=(ProductToPhotograph(**about, with_one_more=75.0),),
        rewrite=(ExplanationToRewrite(**poor),),
        behind=12,
        judged=280,
    )


def test_the_page_says_what_a_third_picture_is_worth_and_which_explanations_to_rewrite(tmp_path: Path) -> None:
    judged = EVALUATION.model_copy(update={"improvements": improvements(HOSTILE)})
    page = written(tmp_path / "report.html", evaluation=judged, explanations={"e1": "A round red kettle."})
    text = " ".join(page.text.split())
    assert "A third picture would help most: about 21 of 100 products (2 pictures)" in text
    assert "+8.2 [4.0, 12.0]" in text
    assert "too few pictures outside of training" in text
    assert "3 to 9 pictures" not in text  # there is no such product
    assert f"{HOSTILE}A round red kettle.1 of 584 %TR-88" in text
    assert "12 of 280 explanations" in text
    assert "script" not in {tag for tag, _ in page.tags}


def test_no_page_without_improvements_mentions_them(tmp_path: Path) -> None:
    assert "What would help" not in written(tmp_path / "report.html", evaluation=EVALUATION).text


def test_a_gain_that_may_be_none_is_not_recommended() -> None:
    assert first_step(improvements(low=-1.0)) == ""
    assert "+8.2 [-1.0, 12.0], helps about 21 (measured)" in improvements_text(improvements(low=-1.0))


def test_improvements_survive_the_report_file(tmp_path: Path) -> None:
    judged = EVALUATION.model_copy(update={"improvements": improvements()})
    judged.write(tmp_path / "evaluation.json")
    assert EvalReport.read(tmp_path / "evaluation.json") == judged
