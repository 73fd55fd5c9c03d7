"""The four heads on one trunk, trained alike and measured side by side (``pyifcn[models]``)."""

import pyifcn.models  # noqa: F401  first, for it says what is missing
from pyifcn.comparison.entries import HEADS, VIEWS, Entry
from pyifcn.comparison.run import compare

__all__ = ["HEADS", "VIEWS", "Entry", "compare"]
