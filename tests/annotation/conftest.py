"""A promoted release, and the service on it."""

from served import client, package, predictor, released, store_home

__all__ = ["client", "package", "predictor", "released", "store_home"]
