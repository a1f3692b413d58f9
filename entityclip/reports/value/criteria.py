"""The criteria of a trial: when it succeeds, when it ends, who decides, and what each sum of money assumes."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from entityclip.errors import ConfigError, faults
from entityclip.schemas import Record

Amount = Annotated[float, Field(ge=0, le=1e12, strict=True, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100, strict=True, allow_inf_nan=False)]
TARGETS = (0.8, 0.9, 0.95, 0.99)
"""Operating points: the target precisions that releases are evaluated at."""
Short = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
Unit = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8)]


class Decision(Record):
    """Who decides, until when, and about which operating point."""

    decided_by: Short = Field(description="Name and role of the person who decides.")
    until: datetime.date = Field(description="Last day of the decision, like 2027-01-29.")
    target_precision: float = Field(description="Operating point that the verdict is about: 0.8, 0.9, 0.95 or 0.99.")

    @field_validator("target_precision")
    @classmethod
    def _evaluated(cls, target: float) -> float:
        if target not in TARGETS:
            raise ValueError(f"{target:g}: releases are not evaluated there; expected one of {TARGETS}")
        return target


class CriteriaLimits(Record):
    """Limits of the figures at the operating point; those that are left out do not count."""

    min_recall_at_1: Percent | None = Field(default=None, description="R@1 of the mixed index, percent.")
    min_recall_at_5: Percent | None = Field(default=None, description="R@5 of the mixed index, percent.")
    min_precision: Percent | None = Field(default=None, description="Automatic tags that are right, percent.")
    max_by_hand: Percent | None = Field(default=None, description="Pictures that still need a person, percent.")
    min_net_per_month: Annotated[float, Field(ge=-1e12, le=1e12, strict=True, allow_inf_nan=False)] | None = Field(
        default=None, description="Saving a month less running costs, in the currency."
    )
    max_payback_months: Amount | None = Field(default=None, description="Months until the building cost is paid back.")

    @property
    def named(self) -> dict[str, float]:
        """Name -> limit, of those that count."""
        return {name: value for name, value in self.model_dump().items() if value is not None}

    @model_validator(mode="after")
    def _at_least_one(self) -> CriteriaLimits:
        if not self.named:
            raise ValueError(f"names no limit; expected at least one of {', '.join(type(self).model_fields)}")
        return self


class Today(Record):
    """How people find the product of a picture today; estimates or measurements of your own."""

    right_at_first_try: Percent = Field(description="Pictures whose product a person finds at the first try, percent.")
    right_in_the_end: Percent = Field(description="Pictures whose product a person has found in the end, percent.")
    wrong_in_the_end: Percent = Field(description="Pictures that end with a wrong product (mismatches), percent.")
    minutes_per_picture: Amount = Field(description="Minutes of a person for a picture, from start to end.")

    @model_validator(mode="after")
    def _possible(self) -> Today:
        if self.right_at_first_try > self.right_in_the_end:
            raise ValueError("right_at_first_try is more than right_in_the_end; expected at most as many")
        if self.right_in_the_end + self.wrong_in_the_end > 100:
            raise ValueError("right_in_the_end and wrong_in_the_end are more than 100 percent together")
        return self


class Workload(Record):
    """The pictures of a month."""

    pictures_per_month: Amount = Field(description="Pictures a month whose product is to be found.")
    unknown_share: Percent = Field(description="Of these, pictures of something that the catalogue lacks, percent.")
    minutes_per_suggestion: Amount = Field(
        description="Minutes of a person to look at five suggestions and to choose one, or none."
    )


class Money(Record):
    """Prices and costs."""

    currency: Unit = Field(description="Unit of each sum, like EUR or 円.")
    cost_per_hour: Amount = Field(description="An hour of a person.")
    cost_per_mismatch: Amount = Field(description="A picture that ends with a wrong product: returns, wrong parts.")
    building_cost: Amount = Field(description="Once: trial, integration, training of people.")
    running_cost_per_month: Amount = Field(
        description="Servers, licences, care, reviews and language model; without retraining."
    )
    retrainings_per_month: Amount = Field(description="Runs of the pipeline in a month.")
    cost_per_machine_hour: Amount = Field(description="An hour of the machine that runs them.")


class RolloutStage(Record):
    """A stage of the introduction, like a trial in the cloud, service in the cloud, service on premises."""

    name: Short = Field(description="Name of the stage.")
    months: Annotated[float, Field(gt=0, le=1200, strict=True)] = Field(description="How long it takes.")
    pictures_per_month: Amount = Field(description="Pictures a month in this stage.")
    cost_once: Amount = Field(description="Paid once in this stage: integration, machines, training of people.")
    running_cost_per_month: Amount = Field(description="Everything that is paid each month of this stage.")


class Criteria(Record):
    """The whole file ``criteria.yaml``; a missing assumption is an error and never filled in."""

    name: Short = Field(description="Title of the report.")
    decision: Decision = Field(description="Who decides, until when.")
    success: CriteriaLimits = Field(description="Go, where every one of these is surely reached.")
    withdrawal: CriteriaLimits = Field(description="Stop, where a figure is surely below a min_ or above a max_.")
    today: Today = Field(description="Assumptions about the work of people today.")
    workload: Workload = Field(description="Assumptions about the pictures of a month.")
    money: Money = Field(description="Assumptions about prices and costs.")
    stages: tuple[RolloutStage, ...] = Field(
        default=(), max_length=8, description="Plan of the introduction, in order; without it the report has no plan."
    )

    @model_validator(mode="after")
    def _withdrawal_is_weaker(self) -> Criteria:
        for name, limit in self.withdrawal.named.items():
            success = self.success.named.get(name)
            if success is not None and (limit > success if name.startswith("min_") else limit < success):
                raise ValueError(
                    f"withdrawal.{name} is {limit:g} and success.{name} is {success:g}: one figure could be Go and "
                    "Stop at once; expected a weaker limit under withdrawal"
                )
        return self


def read_criteria(text: str, *, where: Path) -> Criteria:
    """The criteria in ``text``.

    Args:
        text: Content of the file, YAML.
        where: Its path, for messages.

    Raises:
        ConfigError: Not YAML, an unknown key, an impossible value, or a missing one; names each one and its meaning.
    """
    try:
        return Criteria.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        missing = [found["loc"] for found in error.errors() if found["type"] == "missing"]
        if not missing:
            raise ConfigError(f"{where}: {faults(error)}") from error
        lines = "; ".join(f"{'.'.join(map(str, key))} is missing: {_meaning(key)}" for key in missing)
        others = [found for found in error.errors() if found["type"] != "missing"]
        rest = f"; {faults(error)}" if others else ""
        raise ConfigError(f"{where}: {lines}; add each one, docs/value-report.md has an example{rest}") from error


def _meaning(key: tuple[Any, ...]) -> str:
    """Description of a field of ``Criteria``, by its path."""
    model: Any = Criteria
    for part in key[:-1]:
        model = get_args(model)[0] if isinstance(part, int) else model.model_fields[part].annotation
    return str(model.model_fields[key[-1]].description)
