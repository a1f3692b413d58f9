"""Review of texts and pictures in quarantine: a person decides about each, under the reviewer's name.

A decision is about one text, or one picture with its caption, by its id, and holds in every later run that has it. A
text that was rewritten is a new one.
"""

from entityclip.quality.review.decisions import (
    Merged,
    Review,
    Waiver,
    add_reviews,
    merge,
    read_reviews,
    waived,
    withdraw_reviews,
)
from entityclip.quality.review.pending import PendingText, pending_texts, quarantine_of
from entityclip.quality.review.sheet import export_review, import_review

__all__ = [
    "Merged",
    "PendingText",
    "Review",
    "Waiver",
    "add_reviews",
    "export_review",
    "import_review",
    "merge",
    "pending_texts",
    "quarantine_of",
    "read_reviews",
    "waived",
    "withdraw_reviews",
]
