"""Records of what a workspace and its releases cost."""

from __future__ import annotations

import datetime

from pydantic import Field

from entityclip.schemas.base import Record


class Resources(Record):
    """Amounts of the five things that building releases uses up."""

    tokens: float = Field(default=0.0, description="Sent to and written by language models.")
    cpu_seconds: float = Field(
        default=0.0, description="Processor time of the main job and of the processes that it started and waited for."
    )
    gpu_seconds: float = Field(default=0.0, description="Duration of trainings, times the GPUs that they held.")
    storage_mb: float = Field(default=0.0, description="Files of the workspace, in 10^6 bytes.")
    review_minutes: float = Field(default=0.0, description="Of people who reviewed texts and pictures.")

    def since(self, before: Resources) -> Resources:
        """What was added; 0 where an amount shrank, as storage does when files are deleted."""
        pairs = ((name, getattr(before, name)) for name in type(self).model_fields)
        return Resources(**{name: max(0.0, getattr(self, name) - value) for name, value in pairs})


class CostReading(Record):
    """Totals of a workspace since its start, as they were when a run of the main job ended, like a meter reading."""

    started: datetime.datetime = Field(description="Start of the run.")
    release: str = Field(default="", description="Version of the run's model; '': it was refused, or the run failed.")
    points: float | None = Field(
        default=None, description="Points of the deciding metric that this version gained; None: not known."
    )
    totals: Resources


class ReleaseCost(Record):
    """What one release cost: everything since the release before it, refused challengers and failed runs included."""

    release: str = Field(description="Version; '': spent since the last release.")
    points: float | None = Field(
        default=None,
        description="Points of the deciding metric over the champion before it, or over chance for a first release.",
    )
    spent: Resources

    @property
    def per_point(self) -> Resources | None:
        """Amounts for each point gained; None where nothing was gained, or the gain is not known."""
        if not self.points or self.points < 0:
            return None
        amounts = self.spent.model_dump()
        return Resources(**{name: amount / self.points for name, amount in amounts.items()})


def release_costs(readings: tuple[CostReading, ...]) -> tuple[ReleaseCost, ...]:
    """The cost of each release, oldest first; at the end, with no version, what was spent since the last one.

    A version counts where it first appears: a later run that reuses its model adds to what comes next.

    Args:
        readings: Of all runs, oldest first.
    """
    found, before = dict[str, ReleaseCost](), Resources()
    for one in readings:
        if one.release and one.release not in found:
            found[one.release] = ReleaseCost(release=one.release, points=one.points, spent=one.totals.since(before))
            before = one.totals
    later = [readings[-1].totals.since(before)] if readings else []
    since = [ReleaseCost(release="", spent=spent) for spent in later if spent != Resources()]
    return (*found.values(), *since)
