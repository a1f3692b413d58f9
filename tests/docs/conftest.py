"""A packaged release of a tiny model, for the examples in the documents."""

from served import package, released

__all__ = ["package", "released"]
