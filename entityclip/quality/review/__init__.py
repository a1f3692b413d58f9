"""Review of texts in quarantine: a person accepts, edits or rejects each, under the reviewer's name.

A decision is about one text, by its id, and holds in every later run with that text. A text that was rewritten is a
new one.
"""

from entityclip.quality.review.decisions import Merged, Review, add_reviews, merge, read_reviews, waived
from entityclip.quality.review.sheet import export_review, import_review

__all__ = ["Merged", "Review", "add_reviews", "export_review", "import_review", "merge", "read_reviews", "waived"]
