"""The releases page: what is and was in service, recall by slice, decisions with reasons, and open requests."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bentos.middleware.sessions import PAGES
from bentos.web.forms import read_form
from bentos.web.language import LANGUAGES, language_of
from bentos.web.render import HEADERS, render, visitor_of
from entityclip.errors import DataError, EntityClipError, WorkspaceError
from entityclip.explanations.ledger import read_release_costs
from entityclip.paths import Layout
from entityclip.reports.cost_table import CostRow, cost_rows
from entityclip.schemas import SLICES, Approval, EvalReport, Metric, PromotionDecision, PromotionPolicy
from flows.approve import resolve
from flows.web.audit import AuditLog, Reviewer
from flows.web.review_pages import problem_of, reviewer_of
from flows.web.verdicts import ShownDecision, ShownDecisions, deciding_metrics, runs_by_model
from flows.web.waiting import Cached
from flows.workspace.history import HistoryEntry, history_entries
from flows.workspace.locks import workspace_lock
from flows.workspace.registry import release_of
from flows.workspace.repository import Repository

log = logging.getLogger(__name__)
HOME = f"{PAGES}/releases"
COLUMNS = 6
"""Releases whose recall is compared."""
DECISIONS = 20
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""Content-Security-Policy of a report, which has its style and pictures inside: no script, no other file."""


class ApprovalQuestion(NamedTuple):
    """A certified release that waits for a person's answer."""

    approval: Approval
    verdict: ShownDecision
    evaluation: EvalReport | None


class ReleaseFacts(NamedTuple):
    """What the page shows."""

    entries: list[HistoryEntry]
    """Champion periods, newest first."""
    metric: str
    versions: list[str]
    recall: dict[str, list[Metric | None]]
    """Slice -> the metric of each version, in the order of ``versions``; those that wait for an answer come last."""
    questions: list[ApprovalQuestion]
    decisions: list[ShownDecision]
    approvals: dict[str, Approval]
    """Version -> the answer by which a person put it into service."""

    @property
    def current(self) -> str:
        """Version of the release in service; '' for none."""
        return self.entries[0].period.version if self.entries and self.entries[0].period.until is None else ""


class ReleaseHistory:
    """Releases of one workspace, read again when its tags or reports change or a request expires."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._facts, self._audit = Cached(self._files, self._read), AuditLog(layout.audit)

    def facts(self) -> ReleaseFacts:
        """What the page shows.

        Raises:
            WorkspaceError: Git or the tags cannot be read.
        """
        found = self._facts.get()
        if any(question.approval.until <= datetime.now(UTC) for question in found.questions):
            self._facts = Cached(self._files, self._read)  # time alone changes no file
            found = self._facts.get()
        return found

    def answer(self, version: str, *, approve: bool, who: Reviewer, comment: str) -> Approval:
        """Approve or decline a release; the same as ``entityclip approve``.

        Raises:
            Busy: A run is at work in the workspace.
            AuditError: The answer was stored, but not logged.
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
            return ReleaseFacts([], "", [], {}, [], [], {})
        entries = history_entries(layout)
        approvals = [a for path in self._approvals() if (a := Approval.read(path)) is not None]
        now = datetime.now(UTC)
        waiting = [a for a in approvals if a.approved is None and a.until > now]
        latest = list(dict.fromkeys(entry.period.version for entry in reversed(entries)))[:COLUMNS]
        versions = list(dict.fromkeys([*latest[::-1], *(approval.version for approval in waiting)]))
        evaluations = {version: self._evaluation(version) for version in versions}
        verdicts = ShownDecisions(layout, evaluations, waiting=[approval.version for approval in waiting])
        decisions = [verdicts.of(decision, at=at) for at, decision in self._decisions()]
        policy = decisions[0].decision.policy if decisions else PromotionPolicy()
        measured = [deciding_metrics(report, policy) for report in evaluations.values()]
        recall = {name: found for name in ("all", *SLICES) if any(found := [metrics.get(name) for metrics in measured])}
        questions = [
            ApprovalQuestion(approval, verdicts.of(decision), evaluations[approval.version])
            for approval in waiting
            if (decision := self._committed(approval.version)) is not None
        ]
        approved = {a.version: a for a in approvals if a.approved}
        return ReleaseFacts(entries[::-1], policy.metric, versions, recall, questions, decisions, approved)

    def report(self, model: str) -> str | None:
        """The report of the run that trained a model, HTML; None where there is none."""
        run = runs_by_model(self.layout).get(model)
        return run.report.read_text(encoding="utf-8") if run and run.report.is_file() else None

    def value_report(self, language: str) -> str | None:
        """What the release is worth, HTML, in this or the other language; None where there is no such report."""
        pages = [self.layout.value_report.page(code) for code in (language, *LANGUAGES)]
        return next((page.read_text(encoding="utf-8") for page in pages if page.is_file()), None)

    def costs(self) -> list[CostRow]:
        """What the last releases cost, the newest first; empty where the ledger cannot be read."""
        try:
            return cost_rows(read_release_costs(self.layout.ledger)[-COLUMNS:])
        except DataError as error:  # a release can be approved without them
            log.warning("costs are not shown: %s", error)
            return []

    def _approvals(self) -> list[Path]:
        return sorted(self.layout.approval("v").parent.glob("*.json"))

    def _evaluation(self, version: str) -> EvalReport | None:
        commit = release_of(self.layout, version).commit
        kept = Repository(self.layout.root).committed(self.layout.report("evaluation"), commit=commit)
        return None if kept is None else EvalReport.model_validate_json(kept)

    def _committed(self, version: str) -> PromotionDecision | None:
        commit = release_of(self.layout, version).commit
        kept = Repository(self.layout.root).committed(self.layout.report("promotion"), commit=commit)
        return PromotionDecision.model_validate_json(kept) if kept else None

    def _decisions(self) -> list[tuple[str, PromotionDecision]]:
        """The last promotion decisions, newest first, each with the time of its commit; '' before it is committed."""
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
        found = [(at.get(name, ""), decision) for name, decision in read if decision is not None]
        return sorted(found, key=lambda one: one[0] or "9", reverse=True)[:DECISIONS]


# ---------------------------------------------------------------- the page
async def page(request: Request) -> Response:
    """What is live, what was when, and what waits for an answer."""
    return await run_in_threadpool(_page, request)


def _page(request: Request, **problem: Any) -> Response:
    releases: ReleaseHistory = request.app.state.releases
    try:
        facts, canary, costs = releases.facts(), request.app.state.canaries.read(), releases.costs()
    except (WorkspaceError, DataError) as error:
        return render(request, "error.html.j2", status=503, what="no_releases", reason=str(error))
    visitor = visitor_of(request)
    may = visitor is not None and "release" in visitor.key.scopes
    common = {"problem": "", "refusal": "", "done": request.query_params.get("done", "")} | problem
    common |= {
        "facts": facts,
        "may": may,
        "valued": releases.value_report("en") is not None,
        "criteria": releases.layout.criteria.is_file(),
        "canary": canary,
        "costs": costs,
    }
    return render(request, "releases.html.j2", status=422 if common["problem"] else 200, **common)


async def report(request: Request) -> Response:
    """The report of the run that trained a model, or the value report; it runs no script and loads nothing."""
    releases: ReleaseHistory = request.app.state.releases
    if "model" in request.query_params:
        html = await run_in_threadpool(releases.report, request.query_params["model"])
    else:
        html = await run_in_threadpool(releases.value_report, language_of(request))
    if html is None:
        raise HTTPException(404)
    return HTMLResponse(html, headers=HEADERS | {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-store"})


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
        return await run_in_threadpool(_page, request, **problem_of(error))
    done = "approved" if approve else "declined"
    return RedirectResponse(f"{HOME}?done={done}", status_code=303, headers=HEADERS)
