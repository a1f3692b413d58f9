"""Texts that the gate set aside go to a person and come back: accepted, edited or rejected, with the reviewer's name.

A decision is about one text, by its id. It holds in every later run in which that text comes up again; a text that
was written anew is another one.
"""

from entityclip.quality.review.decisions import Merged, Review, add_reviews, merge, read_reviews, waived
from entityclip.quality.review.sheet import hand_out, take_back

__all__ = ["Merged", "Review", "add_reviews", "hand_out", "merge", "read_reviews", "take_back", "waived"]
