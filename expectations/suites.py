"""The suites of rules: their files, their hash, and the run of one suite by Great Expectations on one scored table.

The gate fails closed. Great Expectations only logs an expectation of unknown type and drops it; here that is a failed
critical rule, as is a check that raised, and either refuses the batch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import pandas as pd

from entityclip.data.pairs import digest
from entityclip.errors import ConfigError
from entityclip.paths import attributes_beside
from entityclip.schemas import RuleResult
from entityclip.storage import atomic_path
from expectations.plugins import load_plugins, plugins

Suite = Literal["pairs", "explanations"]
COMMITTED = Path(__file__).parent
"""Project root of the context that comes with the project."""

Need = Literal["champion", "text_quality", "claims"]
"""What a rule may need besides the table, named in its ``meta.needs``: a model in service, its text-quality model, or
its limits for claims."""

_ERRORS_SHOWN = 3
EXAMPLES = 20

POSITION = "position"
"""Column with a row's position in the table. Ids cannot be used: duplicate rows share theirs."""


def copy_context(to: Path) -> None:
    """Give a new workspace its own rules: copy the committed context to ``to/gx``, unless there is one already."""
    if not (to / "gx").exists():
        with atomic_path(to / "gx") as temporary:
            shutil.copytree(COMMITTED / "gx", temporary, ignore=shutil.ignore_patterns("uncommitted"))


def suite_hash(context_root: Path) -> str:
    """Hash of all suites' rules, of the context's plugins and of its own words for attributes. Formatting, ids and
    library versions do not count.

    Raises:
        ConfigError: A suite cannot be read.
    """
    rules = {suite: _without_bookkeeping(read_suite(suite, context_root)) for suite in get_args(Suite)}
    classes = [part for path in plugins(context_root) for part in (path.name, path.read_bytes())]
    words = attributes_beside(context_root)
    own: list[str | bytes] = ["attributes", words.read_bytes()] if words.exists() else []
    return digest("suites", json.dumps(rules, sort_keys=True), *classes, *own)


def _without_bookkeeping(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_bookkeeping(v) for k, v in value.items() if k not in ("id", "great_expectations_version")}
    return [_without_bookkeeping(v) for v in value] if isinstance(value, list) else value


def suite_file(suite: Suite, context_root: Path) -> Path:
    """The suite's JSON."""
    return context_root / "gx" / "expectations" / f"{suite}.json"


def read_suite(suite: Suite, context_root: Path) -> dict[str, Any]:
    """The suite as its JSON file has it.

    Raises:
        ConfigError: The file is missing or is not a suite, two rules share a name, ``meta.max_quarantined_share`` is
            not between 0 and 1, or ``meta.needs`` names something unknown.
    """
    file = suite_file(suite, context_root)
    try:
        written: dict[str, Any] = json.loads(file.read_text())
        share = written["meta"]["max_quarantined_share"]
        names = [str(expectation["meta"]["rule"]) for expectation in written["expectations"]]
        needs = {expectation["meta"].get("needs") for expectation in written["expectations"]} - {None}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file}: not a suite ({error!r}); expected meta.max_quarantined_share, and expectations that each have "
            "meta.rule. copy_context() gives an empty workspace the project's own suites"
        ) from error
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ConfigError(f"{file}: meta.max_quarantined_share is {share!r}; expected a share between 0 and 1")
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{file}: the rules are {names}; expected at least one, each with a meta.rule of its own")
    if unknown := needs - set(get_args(Need)):
        raise ConfigError(f"{file}: meta.needs is {unknown.pop()!r}; expected {' or '.join(get_args(Need))}")
    return written


# ---------------------------------------------------------------- one suite on one table
@dataclass(frozen=True)
class Verdict:
    """Result of a suite on a table."""

    rules: tuple[RuleResult, ...]
    broken: pd.DataFrame
    """One row per table row and critical rule that it breaks: position, rule, value."""
    refusals: tuple[str, ...]
    """Why the batch as a whole cannot pass; empty when it can."""
    examples: pd.DataFrame
    """The first rows that break a rule, whatever its severity: position, rule, value; at most ``EXAMPLES`` a rule."""
    waived: frozenset[tuple[int, str]] = frozenset()
    """Position and rule of rows that broke a critical rule and pass, because a reviewer accepted them."""


def validate(
    scored: pd.DataFrame,
    *,
    suite: Suite,
    context_root: Path,
    missing: Mapping[Need, str] = MappingProxyType({}),
    waived: Collection[tuple[int, str]] = (),
    unscored: str = "",
) -> Verdict:
    """Run ``suite`` on a scored table; Great Expectations keeps the result in the context as JSON.

    Args:
        scored: The table with its scores.
        suite: Whose rules.
        context_root: Project root of the Great Expectations context.
        missing: Needs that cannot be met, with the reason: their rules are skipped with it. The columns that they
            read may then be absent.
        waived: Position and rule of rows that a reviewer accepted.
        unscored: Why the table has no scores; rules on columns that it lacks are then skipped with this reason.

    Raises:
        ConfigError: The suite cannot be read.
    """
    written = read_suite(suite, context_root)
    try:
        results = _run(scored, suite=suite, context_root=context_root)
    except Exception as error:
        # Nothing was checked, whatever the error.
        rules = [failed_check("great_expectations", error, suite=suite)]
        return _collected(rules, [], [], written=written, rows=len(scored))
    by_rule = {_name(result): result for result in results}
    rules, broken, examples, spared = [], [], [], set[tuple[int, str]]()
    for expectation in written["expectations"]:
        rule, column = expectation["meta"]["rule"], expectation["kwargs"].get("column")
        lacking = unscored if column is not None and column not in scored else ""
        if why := missing.get(expectation["meta"].get("needs")) or lacking:
            # Its result is about columns that do not exist.
            rules.append(_skipped(expectation, why=why, suite=suite))
        elif rule not in by_rule:
            unknown = LookupError(f"{expectation['type']} did not run; does Great Expectations know this type?")
            rules.append(failed_check(rule, unknown, suite=suite))
        else:
            rows = _rows(by_rule[rule])
            kept = [row for row in rows if row[:2] not in waived]
            found = _rule(by_rule[rule], suite=suite, rows=len(scored), waived=len(rows) - len(kept))
            rules.append(found)
            if found.severity == "critical" and not found.error:
                broken += kept
                spared |= {row[:2] for row in rows} & set(waived)
            examples += kept[:EXAMPLES]
    verdict = _collected(rules, broken, examples, written=written, rows=len(scored))
    return replace(verdict, waived=frozenset(spared))


def _skipped(expectation: dict[str, Any], *, why: str, suite: Suite) -> RuleResult:
    return RuleResult(
        suite=suite,
        rule=expectation["meta"]["rule"],
        column=expectation["kwargs"].get("column"),
        severity=expectation.get("severity", "critical"),
        passed=False,
        checked=0,
        failed=0,
        skipped=why,
    )


def failed_check(rule: str, error: Exception, *, suite: Suite) -> RuleResult:
    """A check that raised: a critical rule that failed."""
    message = f"{type(error).__name__}: {error}"
    return RuleResult(
        suite=suite, rule=rule, column=None, severity="critical", passed=False, checked=0, failed=0, error=message
    )


def _run(scored: pd.DataFrame, *, suite: Suite, context_root: Path) -> list[Any]:
    """Every expectation's result."""
    import great_expectations as gx

    load_plugins(context_root)
    context = gx.get_context(mode="file", project_root_dir=str(context_root))
    frame = scored.reset_index(drop=True).rename_axis(POSITION).reset_index()
    checkpoint = context.checkpoints.get(suite)
    # Data Docs show values unescaped and load scripts from the internet; expectations/page.py replaces them.
    checkpoint.actions = [action for action in checkpoint.actions if action.type != "update_data_docs"]
    (result,) = checkpoint.run(batch_parameters={"dataframe": frame}).run_results.values()
    return list(result.results)


def _collected(
    rules: list[RuleResult],
    lines: list[tuple[int, str, str]],
    examples: list[tuple[int, str, str]],
    *,
    written: dict[str, Any],
    rows: int,
) -> Verdict:
    columns = [POSITION, "rule", "value"]
    broken = pd.DataFrame(lines, columns=columns).sort_values(POSITION, kind="stable")
    refusals = [
        *_unchecked([rule for rule in rules if rule.error]),
        *(f"{r.suite}: rule {r.rule} failed" for r in rules if not r.error and _fails_as_a_whole(r, broken)),
    ]
    bad, most = broken[POSITION].nunique(), written["meta"]["max_quarantined_share"]
    if bad > most * rows:
        often = ", ".join(f"{rule} {count:,}" for rule, count in broken["rule"].value_counts().items())
        refusals.append(f"{bad:,} of {rows:,} {written['name']} break critical rules; the limit is {most:.0%}: {often}")
    shown = pd.DataFrame(examples, columns=columns)
    return Verdict(rules=tuple(rules), broken=broken, refusals=tuple(refusals), examples=shown)


def _fails_as_a_whole(rule: RuleResult, broken: pd.DataFrame) -> bool:
    """Whether a critical rule failed without naming every row that broke it: none can then be quarantined."""
    named = int((broken["rule"] == rule.rule).sum())
    named += rule.waived
    return rule.severity == "critical" and (named < rule.failed or not (rule.passed or named or rule.skipped))


def _unchecked(failed: list[RuleResult]) -> list[str]:
    """Why rules could not be checked; many failures have one cause, so that only the first is given in full."""
    shown = failed if len(failed) <= _ERRORS_SHOWN else failed[:1]
    refusals = [f"{rule.suite}: rule {rule.rule} could not be checked: {rule.error}" for rule in shown]
    if rest := failed[len(shown) :]:
        refusals[0] += f" (and {len(rest)} others: {', '.join(rule.rule for rule in rest)})"
    return refusals


# ---------------------------------------------------------------- one expectation's result
def _rule(result: Any, *, suite: Suite, rows: int, waived: int) -> RuleResult:
    config, details = result.expectation_config, result.result
    error = _raised(result.exception_info)
    return RuleResult(
        suite=suite,
        rule=_name(result),
        column=config.kwargs.get("column"),
        severity="critical" if error else config.severity.value,
        passed=bool(result.success) and not error,
        checked=int(details.get("element_count", rows)),
        failed=int(details.get("unexpected_count", not result.success)),
        error=error,
        waived=waived,
    )


def _name(result: Any) -> str:
    return str(result.expectation_config.meta["rule"])


def _raised(info: dict[str, Any]) -> str | None:
    """The message of the first exception. A failed metric adds one level of keys."""
    infos = [info] if "raised_exception" in info else list(info.values())
    return next((str(i["exception_message"]) for i in infos if i["raised_exception"]), None)


def _rows(result: Any) -> list[tuple[int, str, str]]:
    """Position, rule and value of each row that broke it."""
    column, rule = result.expectation_config.kwargs.get("column"), _name(result)
    listed = result.result.get("unexpected_index_list") or []
    return [(int(row[POSITION]), rule, str(row.get(column, ""))) for row in listed if POSITION in row]
