"""What would raise recall, in words and as a table for a terminal."""

from __future__ import annotations

from entityclip.schemas import Improvements, OneMorePicture

_NEXT = {0: "first picture", 1: "second picture", 2: "third picture"}
"""By number of training pictures."""


def pictures_title(row: OneMorePicture) -> str:
    """How many training pictures the row's products have."""
    if row.most is None:
        return f"{row.fewest} or more pictures"
    if row.most != row.fewest:
        return f"{row.fewest} to {row.most} pictures"
    return {0: "never photographed", 1: "1 picture"}.get(row.fewest, f"{row.fewest} pictures")


def first_step(improvements: Improvements) -> str:
    """One sentence: for which products one more picture helps most; '' where no gain is sure."""
    rows = [row for row in improvements.one_more_picture if row.helped and row.gain and (row.low or 0) > 0]
    if not rows:
        return ""
    row = max(rows, key=lambda row: row.helped or 0)
    following = _NEXT.get(row.fewest, "further picture")
    of = f"{row.products:,} products" if row.products > 1 else "one product"
    return (
        f"A {following} would help most: about {row.helped:,} of {of} ({pictures_title(row)}), "
        f"whose R@1 rises by {row.gain:.1f} points on average."
    )


def improvements_text(improvements: Improvements) -> str:
    """The same tables as on the page, as plain text."""
    lines = [first_step(improvements)] if first_step(improvements) else []
    lines.append("One more picture of each product, points of R@1 in the mixed index [95 % interval]")
    lines += [
        f"  {pictures_title(row):<20}{row.products:>7,} products  {_gain(row)}"
        for row in improvements.one_more_picture
        if row.products
    ]
    lines.append(f"Explanations behind their siblings': {improvements.behind:,} of {improvements.judged:,} judged")
    lines += [
        f"  {poor.entity}: finds {poor.found} of {poor.pictures}, siblings' {poor.siblings:.0f} %; mistaken for "
        f"{poor.mistaken_for or 'no single product'}"
        for poor in improvements.rewrite
    ]
    return "\n".join(lines)


def _gain(row: OneMorePicture) -> str:
    if row.method is None:
        return "too few pictures outside of training"
    return f"{row.gain:+.1f} [{row.low:.1f}, {row.high:.1f}], helps about {row.helped:,} ({row.method})"
