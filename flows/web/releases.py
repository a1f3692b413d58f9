"""The releases page: what is and was in service, recall by slice, decisions with reasons, and open requests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bentos.middleware.sessions import PAGES
from bentos.web.forms import read_form
from bentos.web.render import HEADERS, render, visitor_of
from entityclip.errors import EntityClipError, WorkspaceError
from entityclip.paths import Layout
from entityclip.schemas import SLICES, Approval, EvalReport, Metric, PromotionDecision
from flows.approve import resolve
from flows.web.audit import AuditLog, Reviewer
from flows.web.review_pages import reviewer_of
from flows.web.waiting import Cached
from flows.workspace.history import HistoryEntry, history_entries
from flows.workspace.locks import workspace_lock
from flows.workspace.registry import release_of
from flows.workspace.repository import Repository

HOME = f"{PAGES}/releases"
COLUMNS = 6
"""Releases whose recall is compared."""
DECISIONS = 20


class ApprovalQuestion(NamedTuple):
    """A certified release that waits for a person's answer."""

    approval: Approval
    reasons: tuple[str, ...]


class DecidedOn(NamedTuple):
    """A promotion decision and the time of its commit; '' before it is committed."""

    at: str
    decision: PromotionDecision


class ReleaseFacts(NamedTuple):
    """What the page shows."""

    entries: list[HistoryEntry]
    """Champion periods, newest first."""
    metric: str
    versions: list[str]
    recall: dict[str, list[Metric | None]]
    """Slice -> the metric of each version, in the order of ``versions``."""
    questions: list[ApprovalQuestion]
    decisions: list[DecidedOn]


class ReleaseHistory:
    """Releases of one workspace, read again when its tags or reports change."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._facts, self._audit = Cached(self._files, self._read), AuditLog(layout.audit)

    def facts(self) -> ReleaseFacts:
        """What the page shows.

        Raises:
            WorkspaceError: Git or the tags cannot be read.
        """
        return self._facts.get()

    def answer(self, version: str, *, approve: bool, who: Reviewer, comment: str) -> Approval:
        """Approve or decline a release; the same as ``entityclip approve``.

        Raises:
            Busy: A run is at work in the workspace.
            ConfigError: There is no open request for this version, or it has expired.
        """
        with workspace_lock(self.layout, wait=False):
            answered = resolve(self.layout, version, approve=approve, name=who.name, comment=comment)
        action = "approve" if approve else "decline"
        self._audit.record(who, action, version, after=answered.model_dump(mode="json"))
        return answered

    def _files(self) -> list[Path]:
        layout, git = self.layout, self.layout.root / ".git"
        folders = [layout.approval("v").parent, layout.decision("d").parent]
        return [git / "packed-refs", git / "refs" / "tags", git / "refs" / "heads" / "main", *folders]

    def _read(self) -> ReleaseFacts:
        layout = self.layout
        if not (layout.root / ".git").exists():
            return ReleaseFacts([], "", [], {}, [], [])
        entries = history_entries(layout)
        versions = list(dict.fromkeys(entry.period.version for entry in entries))[-COLUMNS:]
        reports = [self._evaluation(version) for version in versions]
        decisions = self._decisions()
        policy = decisions[0].decision.policy if decisions else None
        metric, index = (policy.metric, policy.index) if policy else ("R@1", "mixed")
        recall = {
            name: found
            for name in ("all", *SLICES)
            if any(found := [_metric(report, metric, index=index, slice_=name) for report in reports])
        }
        return ReleaseFacts(entries[::-1], metric, versions, recall, self._questions(), decisions[:DECISIONS])

    def _evaluation(self, version: str) -> EvalReport | None:
        commit = release_of(self.layout, version).commit
        kept = Repository(self.layout.root).committed(self.layout.report("evaluation"), commit=commit)
        return None if kept is None else EvalReport.model_validate_json(kept)

    def _questions(self) -> list[ApprovalQuestion]:
        known = [Approval.read(path) for path in sorted(self.layout.approval("v").parent.glob("*.json"))]
        now = datetime.now(UTC)
        found = [approval for approval in known if approval and approval.approved is None and approval.until > now]
        return [ApprovalQuestion(approval, self._reasons(approval.version)) for approval in found]

    def _reasons(self, version: str) -> tuple[str, ...]:
        commit = release_of(self.layout, version).commit
        kept = Repository(self.layout.root).committed(self.layout.report("promotion"), commit=commit)
        return PromotionDecision.model_validate_json(kept).reasons if kept else ()

    def _decisions(self) -> list[DecidedOn]:
        """Every promotion decision, newest first."""
        folder = self.layout.decision("d").parent
        log = Repository(self.layout.root).git_or_none(
            "log",
            "--diff-filter=A",
            "--name-only",
            "--format=%cI",
            "--",
            folder.relative_to(self.layout.root).as_posix(),
        )
        at, when = dict[str, str](), ""
        for line in (log or "").splitlines():
            if line.endswith(".json"):
                at[Path(line).name] = when
            elif line:
                when = line
        read = [(path.name, PromotionDecision.read(path)) for path in self.layout.decisions]
        found = [DecidedOn(at.get(name, ""), decision) for name, decision in read if decision is not None]
        return sorted(found, key=lambda one: one.at or "9", reverse=True)


def _metric(report: EvalReport | None, name: str, *, index: str, slice_: str) -> Metric | None:
    metrics = report.metrics if report else ()
    return next(
        (m for m in metrics if (m.name, m.index, m.slice) == (name, index, slice_) and m.direction == "image_to_text"),
        None,
    )


# ---------------------------------------------------------------- the page
async def page(request: Request) -> Response:
    """What is live, what was when, and what waits for an answer."""
    return await run_in_threadpool(_page, request)


def _page(request: Request, **problem: Any) -> Response:
    releases: ReleaseHistory = request.app.state.releases
    try:
        facts = releases.facts()
    except WorkspaceError as error:
        return render(request, "error.html.j2", status=503, what="no_releases", reason=str(error))
    visitor = visitor_of(request)
    may = visitor is not None and "release" in visitor.key.scopes
    common = {"problem": "", "refusal": "", "done": request.query_params.get("done", "")} | problem
    status = 422 if common["problem"] else 200
    return render(request, "releases.html.j2", status=status, facts=facts, may=may, **common)


async def answer(request: Request) -> Response:
    """Approve or decline a release that waits."""
    form = await read_form(request)
    releases: ReleaseHistory = request.app.state.releases
    fields, who = form.fields, reviewer_of(request)
    approve, comment = fields.get("answer") == "approve", " ".join(fields.get("comment", "").split())
    if fields.get("answer") not in ("approve", "decline"):
        return await run_in_threadpool(_page, request, problem="not_stored", refusal="expected approve or decline")
    try:
        await run_in_threadpool(releases.answer, fields.get("version", ""), approve=approve, who=who, comment=comment)
    except EntityClipError as error:
        return await run_in_threadpool(_page, request, problem="not_stored", refusal=str(error))
    done = "approved" if approve else "declined"
    return RedirectResponse(f"{HOME}?done={done}", status_code=303, headers=HEADERS)
