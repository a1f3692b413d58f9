"""A released tiny model and a server's store with it."""

from served import package, released, store_home

__all__ = ["package", "released", "store_home"]
