"""The review pages on a workspace whose gate quarantined texts."""

from reviewers import layout, person
from undecided_release import undecided
from visitors import chromium

__all__ = ["chromium", "layout", "person", "undecided"]
