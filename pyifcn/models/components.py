"""Connected components of a label image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def components(image: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Numbers the connected regions of equal labels.

    Two pixels are connected where they touch by an edge and carry the same label; the regions are
    found from runs of pixels along the rows, joined to those of the row above.

    Args:
        image: integers (H, W); 0 is background.

    Returns:
        int64 (H, W): 0 for background, 1, 2, ... for the regions, by their first pixel.

    Example:
        >>> components(np.array([[1, 0, 2], [1, 2, 2]])).tolist()
        [[1, 0, 2], [1, 2, 2]]
    """
    height, width = image.shape
    starts = np.ones((height, width), bool)
    starts[:, 1:] = image[:, 1:] != image[:, :-1]
    runs = starts.ravel().cumsum().reshape(height, width) - 1
    # Two runs meet along a stretch of columns; its first is where one of them starts.
    meet = (image[1:] == image[:-1]) & (image[1:] != 0) & (starts[1:] | starts[:-1])
    parents = _joined(int(starts.sum()), runs[:-1][meet], runs[1:][meet])
    roots = (parents == np.arange(len(parents))) & (image[starts] != 0)
    numbers = np.where(roots, roots.cumsum(), 0)
    return np.asarray(numbers[parents][runs], np.int64)


def _joined(
    count: int, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """For each of ``count`` items the lowest that pairs join it to, directly or through others."""
    parents = np.arange(count)
    while True:
        low = np.minimum(parents[first], parents[second])
        high = np.maximum(parents[first], parents[second])
        if (low == high).all():
            return parents
        np.minimum.at(parents, high, low)
        while ((shorter := parents[parents]) != parents).any():
            parents = shorter
