"""A writer of your own: it names the main colours of a picture, without a language model.

``examples/custom_writer.yaml`` selects it by its import path:

    PYTHONPATH=examples entityclip explain mine --config examples/custom_writer.yaml
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from PIL import Image

from entityclip.explanations import WriterAnswer, WriterCost, record
from entityclip.schemas import ExplanationRequest

COLOURS = {
    "red": (190, 50, 45),
    "yellow": (220, 180, 60),
    "green": (60, 140, 80),
    "blue": (50, 95, 180),
    "white": (240, 240, 235),
    "grey": (150, 150, 150),
    "black": (25, 25, 25),
}


class ColourWriter:
    """Describes each entity by its category and the ``colours`` most frequent colours of a picture of it."""

    sees_pictures = True

    def __init__(self, colours: int = 2) -> None:
        self._colours = colours

    @property
    def generator(self) -> str:
        """The ledger stores answers under this name. Change it whenever the texts would differ."""
        return f"colours-{self._colours}-v1"

    def prompt_version(self, request: ExplanationRequest) -> str:  # noqa: ARG002
        """There is no prompt whose changes would have to be noticed."""
        return "none"

    def expected(self, request: ExplanationRequest) -> WriterCost:  # noqa: ARG002
        """No tokens and no money."""
        return WriterCost()

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        """Answer every request; an entity without a picture gets no text."""
        for request in requests:
            english = request.model_copy(update={"language": "en"})
            texts = [self._sentence(request, request.picture)] if request.picture else []
            yield WriterAnswer(request=request, records=tuple(record(english, text, writer=self) for text in texts))

    def _sentence(self, request: ExplanationRequest, picture: bytes) -> str:
        thing = request.category or "thing"
        return f"The picture of this {thing} is mostly {' and '.join(main_colours(picture, self._colours))}."


def main_colours(picture: bytes, count: int) -> list[str]:
    """Names of the most frequent colours of a picture file."""
    small = Image.open(io.BytesIO(picture)).convert("RGB").resize((32, 32))
    pixels = [small.getpixel((x, y)) for x in range(32) for y in range(32)]
    names = [min(COLOURS, key=lambda name: _distance(COLOURS[name], pixel)) for pixel in pixels]
    return sorted(COLOURS, key=names.count, reverse=True)[:count]


def _distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
