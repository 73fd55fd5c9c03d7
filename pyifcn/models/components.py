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
    linked = (image[1:] == image[:-1]) & (image[1:] != 0)
    pairs = np.stack([runs[:-1][linked], runs[1:][linked]], 1)
    pairs = np.unique(pairs, axis=0)
    parents = np.arange(int(starts.sum()))
    while True:
        above, below = parents[pairs[:, 0]], parents[pairs[:, 1]]
        if (above == below).all():
            break
        np.minimum.at(parents, np.maximum(above, below), np.minimum(above, below))
        while (shorter := parents[parents] != parents).any():
            parents[shorter] = parents[parents[shorter]]
    roots = parents[runs]
    roots[image == 0] = -1
    _, numbers = np.unique(np.append(-1, roots), return_inverse=True)
    return np.asarray(numbers.ravel()[1:].reshape(height, width), np.int64)
