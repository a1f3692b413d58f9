"""A promoted release, and the service on it."""

from served import client, other_package, package, predictor, released, store_home

__all__ = ["client", "other_package", "package", "predictor", "released", "store_home"]
