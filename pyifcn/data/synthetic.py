"""What the synthetic data sets share: their sequence, and smooth random fields."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from pyifcn.data.sample import Sample

Field = npt.NDArray[np.float64]


class Synthetic(Sequence[Sample]):
    """Samples that are drawn when asked for, each from (seed, index) alone."""

    def __init__(self, count: int, size: tuple[int, int], seed: int) -> None:
        if count < 0:
            raise ValueError(f"count must not be negative, got {count}")
        if len(size) != 2 or min(size) < 16:
            raise ValueError(f"size must be (height, width) of at least 16 pixels, got {size}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.size = int(size[0]), int(size[1])
        self.seed = seed
        self._indices = range(count)

    @abstractmethod
    def _draw(self, index: int, rng: np.random.Generator) -> Sample: ...

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """A sample, or the data set of a slice."""
        if isinstance(index, slice):
            part = copy.copy(self)
            part._indices = self._indices[index]
            return part
        number = self._indices[index]
        return self._draw(number, np.random.default_rng([self.seed, number]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)}, size={self.size}, seed={self.seed})"


def blurred(field: Field, sigma: float) -> Field:
    """`field` smoothed by a Gaussian of `sigma` pixels, its border repeated.

    Sums of shifted arrays, so that every platform rounds alike.
    """
    radius = int(3 * sigma + 0.5)
    if radius == 0:
        return field
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        margin = [(0, 0), (0, 0)]
        margin[axis] = (radius, radius)
        padded = np.pad(field, margin, mode="edge")
        count = field.shape[axis]
        field = np.zeros_like(field)
        for i, tap in enumerate(taps):
            field += tap * (padded[i : i + count] if axis == 0 else padded[:, i : i + count])
    return field


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], scale: float) -> Field:
    """A random field of mean about 0 and deviation about 1 that varies over `scale` pixels.

    Random values `scale` pixels apart, joined by smooth cubic steps.
    """
    rows, columns = (int(side / scale) + 3 for side in size)
    knots = rng.standard_normal((rows, columns))
    shift = rng.random(2)
    values = knots
    for axis, side in enumerate(size):
        place = np.arange(side) / scale + shift[axis]
        low = place.astype(np.int64)
        part = place - low
        part = part * part * (3 - 2 * part)
        part = part[:, None] if axis == 0 else part[None]
        values = np.take(values, low, axis) * (1 - part) + np.take(values, low + 1, axis) * part
    return values * 1.4


def checked_range(name: str, bounds: Any, low: float, high: float) -> tuple[float, float]:
    """`bounds` as (smallest, largest), both within low..high.

    Raises:
        ValueError: If they are not.
    """
    try:
        first, last = float(bounds[0]), float(bounds[1])
    except (TypeError, ValueError, IndexError):
        raise ValueError(f"{name} must be (smallest, largest), got {bounds!r}") from None
    if not low <= first <= last <= high:
        raise ValueError(f"{name} must be ordered and within {low:g}..{high:g}, got {bounds!r}")
    return first, last
