"""What a tower gives: tokens in the joint width."""

from __future__ import annotations

from typing import NamedTuple

import torch


class TowerOutput(NamedTuple):
    """What a tower gives: every token in the joint width, the pooled position of each row, what is no padding."""

    tokens: torch.Tensor  # (B, L, D)
    at: torch.Tensor  # (B,) int64: class token, end of text, or the pooled vector put in front
    mask: torch.Tensor  # (B, L) bool: True where there is something to attend to

    def pooled(self) -> torch.Tensor:
        """(B, D): the vector that retrieval uses, not normalised."""
        rows = self.at.shape[0]  # len() is a constant to torch.export
        return self.tokens[torch.arange(rows, device=self.at.device), self.at]

    def rows(self, index: torch.Tensor) -> TowerOutput:
        """The rows at ``index``, in its order; rows may repeat.

        By ``index_select``: the gradient of ``tokens[index]`` sums repeated rows on a CPU in whatever order its threads
        come, so that no two trainings would be the same.
        """
        return TowerOutput(*(part.index_select(0, index) for part in self))
