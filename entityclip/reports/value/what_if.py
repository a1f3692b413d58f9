"""The same arithmetic with other assumptions than the committed ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import ValidationError

from entityclip.errors import ConfigError, faults
from entityclip.reports.value.criteria import Criteria
from entityclip.reports.value.figures import SourceFile
from entityclip.reports.value.findings import Findings, find
from entityclip.reports.value.readings import CRITERIA, ReleaseEvidence
from entityclip.reports.value.sections import ASSUMED


def what_if(evidence: ReleaseEvidence, changes: Mapping[str, float]) -> Findings:
    """Figures of a release with changed assumptions; limits, target precision and results stay.

    Args:
        evidence: The committed criteria and the results of the release.
        changes: Name of an assumption, one of ``ASSUMED``, -> its value.

    Raises:
        ConfigError: An assumption is unknown or impossible; names it.
        DataError: The release lacks a figure that the report needs.
    """
    content = {name: dict(part) if isinstance(part, dict) else part for name, part in evidence.criteria.content.items()}
    for name, value in changes.items():
        if name not in ASSUMED:
            raise ConfigError(f"{name}: no assumption of the value report; expected one of {', '.join(ASSUMED)}")
        section, field = name.split(".")
        content[section][field] = value
    try:
        criteria = Criteria.model_validate(content)
    except ValidationError as error:
        raise ConfigError(faults(error, whole="the assumptions")) from error
    return find(criteria, replace(evidence, criteria=SourceFile(name=CRITERIA, content=content)))
