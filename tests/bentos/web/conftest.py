"""The pages of the service in a browser; the service itself is that of the folder above."""

from visitors import chromium, site, visit

__all__ = ["chromium", "site", "visit"]
