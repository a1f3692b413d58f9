"""Records on disk: whole or not at all, and never one of another version."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from entityclip.records import EvalReport, Metric, QualityReport, Release

RELEASE = Release(version="v1.0.0", commit="abc", model_fingerprint="m", data_hash="d")


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "release.json"
    for record in (RELEASE, RELEASE.model_copy(update={"commit": "日本"})):  # the second over the first
        record.write(path)
        assert Release.read(path) == record
    assert [p.name for p in path.parent.iterdir()] == ["release.json"]


def test_a_write_that_was_killed_leaves_the_older_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "release.json"
    RELEASE.write(path)

    def half(self: Path, text: str, **_: object) -> None:
        self.write_bytes(text.encode()[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(KeyboardInterrupt):
        RELEASE.model_copy(update={"commit": "newer"}).write(path)
    assert Release.read(path) == RELEASE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": "v1.0.0"}',
        RELEASE.model_dump_json().replace("commit", "revision"),
        RELEASE.model_dump_json()[:-1] + ', "new": 1}',
    ],
)
def test_what_is_no_record_of_this_version_reads_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "release.json").write_text(text)
    assert Release.read(tmp_path / "release.json") is None
    assert Release.read(tmp_path / "missing.json") is None


def test_a_record_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RELEASE.commit = "other"  # type: ignore[misc]


def test_a_figure_is_found_by_all_its_coordinates() -> None:
    figure = Metric(
        index="mixed", direction="image_to_text", slice="all", name="R@1", value=50, low=40, high=60, queries=9
    )
    others = [figure.model_copy(update={k: "other"}) for k in ("index", "direction", "slice", "name")]
    metrics = tuple(m.model_copy(update={"value": 1.0}) for m in others)
    report = EvalReport(
        model_fingerprint="m",
        evaluation_hash="e",
        split="test",
        pictures=1,
        entities=1,
        metrics=(*metrics, figure),
        seconds=0,
    )
    assert report.value("R@1", index="mixed") == 50
    assert report.value("R@7", index="mixed") is None


def test_a_quality_report_is_committed_without_the_machines_paths(tmp_path: Path) -> None:
    report = QualityReport(
        accepted_pairs=1,
        accepted_explanations=1,
        quarantined_pairs=0,
        quarantined_explanations=0,
        quarantine_file=str(tmp_path / "work" / "quarantine.csv"),
        refused=False,
        rules=(),
        suite_hash="s",
        data_docs=None,
    )
    portable = report.portable(tmp_path)
    assert (portable.quarantine_file, portable.data_docs) == ("work/quarantine.csv", None)
