"""Backbones: which pretrained towers a run starts from, how to get them, and whether their files fit."""

from entityclip.model.backbones.choice import Choice, Task, best_at_hand
from entityclip.model.backbones.config import BackboneConfig
from entityclip.model.pretrained import BACKBONES, Backbone, at_hand

__all__ = ["BACKBONES", "Backbone", "BackboneConfig", "Choice", "Task", "at_hand", "best_at_hand"]
