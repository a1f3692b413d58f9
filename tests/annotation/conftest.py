"""A promoted release."""

from served import package, released

__all__ = ["package", "released"]
