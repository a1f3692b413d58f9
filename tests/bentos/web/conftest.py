"""A promoted release, the service on it, and its pages in a browser."""

from served import client, other_package, package, released, store_home
from visitors import chromium, site, visit

__all__ = ["chromium", "client", "other_package", "package", "released", "site", "store_home", "visit"]
