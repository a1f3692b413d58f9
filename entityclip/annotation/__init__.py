"""Bulk annotation: tags for many pictures in the formats of annotation tools, and people's corrections back."""

from entityclip.annotation.annotate import Summary, annotate
from entityclip.annotation.export import FORMATS, Format, export
from entityclip.annotation.picture_files import PictureFile, picture_files

__all__ = ["FORMATS", "Format", "PictureFile", "Summary", "annotate", "export", "picture_files"]
