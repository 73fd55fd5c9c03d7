"""What a compat module says about the functions that `pyifcn.accelerate` puts in their places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Replacement(NamedTuple):
    """A function of another library, and ours with the same arguments.

    Attributes:
        where: The original's place: module and name, a class between them where it is a method.
        ours: Takes its place. The names of the arguments must be the original's.
        covers: Called with a call's arguments, tells whether ours takes it; other calls, and those
            that it cannot make sense of, go on to the original. None: ours takes all.
    """

    where: str
    ours: Callable[..., Any]
    covers: Callable[..., bool] | None = None
