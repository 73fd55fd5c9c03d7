"""The four heads on one trunk, trained alike and measured side by side (``pyifcn[models]``)."""

from pyifcn.comparison.entries import HEADS, VIEWS, Entry
from pyifcn.comparison.run import compare

__all__ = ["HEADS", "VIEWS", "Entry", "compare"]
