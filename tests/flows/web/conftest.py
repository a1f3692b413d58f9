"""The review pages on a workspace whose gate quarantined texts."""

from reviewers import layout, person
from visitors import chromium

__all__ = ["chromium", "layout", "person"]
