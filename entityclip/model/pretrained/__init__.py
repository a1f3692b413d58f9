"""Pretrained weights: the table of backbones, where their files are on this machine, and their tensors' names."""

from entityclip.model.pretrained.backbone_table import BACKBONES
from entityclip.model.pretrained.lookup import at_hand, weights_path
from entityclip.model.pretrained.record import Backbone

__all__ = ["BACKBONES", "Backbone", "at_hand", "weights_path"]
