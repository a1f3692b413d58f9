"""``entityclip value-report``: what a release is worth, against criteria that were committed before the data."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line
from entityclip.errors import ConfigError
from flows.cli.options import Workspace

if TYPE_CHECKING:
    from entityclip.paths import ValueReportLayout
    from entityclip.reports.value.page import ValueReport


class PageLanguage(StrEnum):
    """Language of the page."""

    en = "en"
    ja = "ja"


def value_report(
    workspace: Workspace,
    criteria: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Criteria, YAML. Default: criteria.yaml of the workspace.")
    ] = None,
    commit: Annotated[
        bool, typer.Option("--commit", help="Commit the criteria, before the first run; write no report.")
    ] = False,
    release: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Release to report on. Default: the champion.")
    ] = None,
    language: Annotated[
        PageLanguage | None, typer.Option(help="Default: that of most entities in the workspace's data.")
    ] = None,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: .entityclip/value of the workspace.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf/--no-pdf", help="Print the page as PDF too; needs Chromium.")] = True,
    as_json: Json = False,
) -> None:
    """Say Go, Adjust or Stop: one page for a manager and an appendix for the engineer, as HTML and PDF.

    Criteria and assumptions stand in one file, which has to be committed before the workspace sees data:
    docs/value-report.md has an example. Beside the page, value-report.json has every figure with the file and the key
    that it comes from.

    \b
    Example:
      entityclip value-report --workspace shop-search --criteria criteria.yaml --commit
      entityclip run --workspace shop-search --source catalog --preset tiny
      entityclip value-report --workspace shop-search --language ja
    """
    from entityclip.paths import Layout, ValueReportLayout
    from entityclip.reports.pdf import print_pdf

    if commit:
        _commit(workspace, criteria, as_json)
        return
    layout = Layout(workspace.resolve())
    target = layout.value_report if to is None else ValueReportLayout(to)
    report, spoken = _write(layout.root, criteria, release=release, language=language, target=target)
    page, printed = target.page(spoken), target.pdf(spoken)
    typer.echo(f"{report.subject.version}: {report.verdict.upper()}; {len(report.figures)} figures, ", nl=False)
    typer.echo(f"{len(report.untraced)} without a source\nPage:    {page}\nFigures: {target.figures}")
    if pdf:
        try:
            print_pdf(page, printed)
        except ConfigError as error:
            raise ConfigError(f"{error}; the page is written: {page}") from error
        typer.echo(f"PDF:     {printed}")
    answer: dict[str, str | int | None] = {
        "verdict": report.verdict,
        "release": report.subject.version,
        "page": str(page),
    }
    answer |= {"pdf": str(printed) if pdf else None, "figures": str(target.figures)}
    last_line(answer | {"count": len(report.figures), "untraced": len(report.untraced)}, as_json)


def _commit(workspace: Path, criteria: Path | None, as_json: bool) -> None:
    from flows.workspace.criteria import commit_criteria

    if criteria is None:
        raise ConfigError("--commit: name the file to commit with --criteria; docs/value-report.md has an example")
    made = commit_criteria(workspace, criteria)
    typer.echo(f"Criteria committed: {made[:12]}. They are fixed from the first data on.")
    last_line({"commit": made}, as_json)


def _write(
    root: Path, file: Path | None, *, release: str | None, language: PageLanguage | None, target: ValueReportLayout
) -> tuple[ValueReport, str]:
    """Page and figures, and the language of the page."""
    from entityclip.paths import Layout
    from entityclip.reports.value.page import ReportedRelease, verified, write_value_report
    from flows.workspace.criteria import committed_criteria
    from flows.workspace.evidence import gather, main_language, reported_release, source_and_preset

    layout = Layout(root)
    committed = committed_criteria(layout, file)
    chosen = reported_release(layout, release)
    spoken = language.value if language else main_language(layout)
    source, preset = source_and_preset(layout, chosen)
    subject = ReportedRelease(
        version=chosen.version,
        workspace=layout.root.name,
        release_commit=chosen.commit,
        criteria_commit=committed.commit,
        criteria_author=committed.author,
        data_commit=committed.data_commit,
        day=datetime.now(UTC).date(),
        source=source,
        preset=preset,
    )
    evidence = gather(layout, chosen, committed)
    write_value_report(target, committed.criteria, evidence, subject, language=spoken)
    files = {source.name: source.content for source in gather(layout, chosen, committed).files}
    return verified(target.figures, files), spoken
