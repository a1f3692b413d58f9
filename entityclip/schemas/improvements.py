"""What would raise recall, for the people who photograph products and write explanations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from entityclip.schemas.base import Record


class OneMorePicture(Record):
    """What one more picture of each product is worth, for the products with so many training pictures.

    All products of the row get one more, so that none wins by being the only one.
    """

    fewest: int = Field(description="Training pictures of the row's products, at least.")
    most: int | None = Field(description="At most; None for any more.")
    products: int
    method: Literal["measured", "estimated"] | None = Field(
        default=None,
        description="'measured': a picture that was not trained on joined the product's; 'estimated': from what the "
        "last picture of the product is worth; None: too few pictures for either.",
    )
    judged: int = Field(default=0, description="Products that the figures come from.")
    r1: float | None = Field(default=None, description="Their R@1 in the mixed index now, percent.")
    gain: float | None = Field(default=None, description="Points that one more picture adds.")
    low: float | None = Field(default=None, description="Lower end of the 95 % interval of 'gain'.")
    high: float | None = Field(default=None, description="Its upper end.")
    helped: int | None = Field(
        default=None, description="Of all products of the row, about so many gain 10 points and more."
    )


class ProductToPhotograph(Record):
    """A product, and the share of its pictures that is recognised in the mixed index."""

    entity_id: str
    entity: str
    train_pictures: int
    pictures: int = Field(description="Pictures that were queried.")
    r1: float = Field(description="Percent now.")
    with_one_more: float = Field(description="Percent with one more picture.")


class ExplanationToRewrite(Record):
    """A product whose explanation finds a smaller share of its pictures than those of its siblings find of theirs."""

    entity_id: str
    entity: str
    pictures: int = Field(description="Pictures of the product that its explanation was judged by.")
    found: int = Field(description="Of these, so many had it first in the explanation index.")
    siblings: float = Field(description="R@1 of its siblings in the explanation index, percent.")
    mistaken_for: str = Field(description="The product that most often came first instead.")


class Improvements(Record):
    """What one more picture of a product is worth, and which explanations fall behind."""

    one_more_picture: tuple[OneMorePicture, ...] = Field(description="By number of training pictures, rising.")
    photograph: tuple[ProductToPhotograph, ...] = Field(description="Products that gain most, measured; most first.")
    rewrite: tuple[ExplanationToRewrite, ...] = Field(description="Explanations that fall behind most; most first.")
    behind: int = Field(description="Explanations that fall behind, of which 'rewrite' has the first.")
    judged: int = Field(description="Explanations of products that pictures outside of training show.")
