"""Records of the sealed split: when there is one, and what a release reached on it."""

from __future__ import annotations

import datetime

from pydantic import Field

from entityclip.schemas.base import IndexKind, Record


class SealedPolicy(Record):
    """When the data have a sealed split; part of the workspace's ``entityclip.yaml``."""

    share: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the pictures that are sealed, where rows name no split; 0: none."
    )
    min_pictures: int = Field(
        default=20_000,
        ge=1,
        description="With fewer pictures nothing is sealed: training needs them more, and so small a set says too "
        "little. A workspace that has sealed pictures keeps them sealed.",
    )


class SealedLook(Record):
    """A promoted release on the sealed split, beside its figure on the test split; kept permanently in ``reports/``.

    Nightly decisions use the test split many times, so that the best figures on it are partly luck. The sealed split
    decides nothing.
    """

    model_fingerprint: str
    data_hash: str
    at: datetime.datetime
    index: IndexKind
    metric: str = Field(description="The deciding metric, in percent.")
    look: int = Field(description="Releases for which the sealed split was opened so far, this one included.")
    looks_at_test: int = Field(description="Models that the test pictures decided about so far, this one included.")
    test: float
    sealed: float
    low: float = Field(description="Lower end of the 95 % interval of ``sealed``.")
    high: float
    pictures: int = Field(description="Sealed pictures.")
    optimism: float = Field(description="test - sealed: points by which the nightly figure is too high.")
    optimism_low: float = Field(description="Ends of its 95 % interval; both sets count as independent.")
    optimism_high: float

    @property
    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.metric} of the {self.index} index is {self.sealed:.1f} [{self.low:.1f}, {self.high:.1f}] on "
            f"{self.pictures:,} sealed pictures; the test split shows {self.test:.1f}, which is {self.optimism:+.1f} "
            f"points [{self.optimism_low:+.1f}, {self.optimism_high:+.1f}]; look {self.look} at the sealed split, "
            f"after {self.looks_at_test} at the test split"
        )
