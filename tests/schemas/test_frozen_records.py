"""Records on disk: whole or not at all, and never one of another version."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from entityclip.schemas import EvalReport, Metric, QualityReport, Release

RELEASE = Release(version="v1.0.0", commit="abc", model_fingerprint="m", data_hash="d")

WRITER = """
import sys
from pathlib import Path
from entityclip.schemas import Release
for number in range(150):
    commit = sys.argv[2] * (1 + number * 97 % 5000)
    release = Release(version=f"v1.0.{number}", commit=commit, model_fingerprint="m", data_hash="d")
    release.write(Path(sys.argv[1]))
"""


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "release.json"
    for record in (RELEASE, RELEASE.model_copy(update={"commit": "日本"})):  # the second over the first
        record.write(path)
        assert Release.read(path) == record
    assert [p.name for p in path.parent.iterdir()] == ["release.json"]


@pytest.mark.slow
def test_processes_and_threads_that_write_one_record_never_fail_and_readers_see_only_whole_ones(tmp_path: Path) -> None:
    path = tmp_path / "記録.json"
    RELEASE.write(path)
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, letter]) for letter in "ab"]

    def write(letter: str) -> None:
        for number in range(100):
            Release(version=f"v{number}", commit=letter * 300, model_fingerprint="m", data_hash="d").write(path)

    def read() -> int:
        reads = 0
        while any(writer.poll() is None for writer in writers):
            found = Release.model_validate_json(path.read_bytes())
            assert found.commit
            reads += 1
        return reads

    with ThreadPoolExecutor(4) as pool:
        readers, threads = [pool.submit(read) for _ in range(2)], [pool.submit(write, letter) for letter in "cd"]
        for thread in threads:
            thread.result()
        assert min(reader.result() for reader in readers) > 100
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [found.name for found in tmp_path.iterdir()] == ["記録.json"]


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
        validation_page=None,
    )
    portable = report.portable(tmp_path)
    assert (portable.quarantine_file, portable.validation_page) == ("work/quarantine.csv", None)
