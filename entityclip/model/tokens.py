"""What a tower gives: tokens in the joint width."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Tokens(NamedTuple):
    """What a tower gives: every token in the joint width, the pooled position of each row, what is no padding."""

    tokens: torch.Tensor  # (B, L, D)
    at: torch.Tensor  # (B,) int64: class token, end of text, or the pooled vector put in front
    mask: torch.Tensor  # (B, L) bool: True where there is something to attend to

    def pooled(self) -> torch.Tensor:
        """(B, D): the vector that retrieval uses, not normalised."""
        rows = self.at.shape[0]  # len() is a constant to torch.export
        return self.tokens[torch.arange(rows, device=self.at.device), self.at]

    def rows(self, index: torch.Tensor) -> Tokens:
        """The rows at ``index``, in its order; rows may repeat."""
        return Tokens(self.tokens[index], self.at[index], self.mask[index])
