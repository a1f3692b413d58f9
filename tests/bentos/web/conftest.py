"""The pages of the service in a browser; the service itself is that of the folder above."""

from hostile_site import site, visit
from visitors import chromium

__all__ = ["chromium", "site", "visit"]
