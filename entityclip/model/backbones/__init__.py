"""Backbones: pretrained towers by name, which of them are on this machine, and which one a run starts from."""

from entityclip.model.backbones.choice import Choice, Task, best_at_hand
from entityclip.model.backbones.config import BackboneConfig
from entityclip.model.backbones.lookup import at_hand, weights_path
from entityclip.model.backbones.table import BACKBONES, Backbone

__all__ = ["BACKBONES", "Backbone", "BackboneConfig", "Choice", "Task", "at_hand", "best_at_hand", "weights_path"]
