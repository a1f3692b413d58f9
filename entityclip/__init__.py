"""EntityCLIP: find, tag and match specific things in pictures.

The names below are the ones to use from Python; each is imported on first use, so that ``import entityclip`` loads
neither PyTorch nor pandas. The client of a running service is ``bentos.client.Client``; a workspace is opened by
``flows.workspace.create.open_workspace``: both packages stand above this one, which imports neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entityclip.evaluation.evaluate import evaluate
    from entityclip.retrieval.predictor import Predictor
    from entityclip.training.trainer import fit as train

__all__ = ["Predictor", "evaluate", "train"]

_PLACES = {
    "Predictor": ("entityclip.retrieval.predictor", "Predictor"),
    "evaluate": ("entityclip.evaluation.evaluate", "evaluate"),
    "train": ("entityclip.training.trainer", "fit"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
