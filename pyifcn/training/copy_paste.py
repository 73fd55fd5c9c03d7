"""Copy-paste augmentation (Ghiasi et al. 2021): instances of one view on top of another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["View", "copy_paste"]


class View(NamedTuple):
    """What a network sees of an image, and the instances in it.

    Attributes:
        planes: float32 (C, h, w).
        layers: int32 (L, h, w); pixels of instance i are i + 1 in one layer, those of crowds -1.
        labels: int64, the category of instance i at i.
    """

    planes: Tensor
    layers: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int64]


def copy_paste(source: View, target: View, rng: np.random.Generator) -> View:
    """Copies every other instance of ``source``, at random, to where it is in ``target``.

    They hide what was there. What a larger source shows beyond the target's right and lower edges
    is cut off.
    """
    seen = np.unique(source.layers[source.layers > 0])
    number = np.zeros(len(source.labels) + 1, np.int32)
    chosen = seen[rng.random(len(seen)) < 0.5]
    number[chosen] = len(target.labels) + chosen
    height, width = target.layers.shape[-2:]
    pasted = number[np.maximum(_fitted(source.layers, height, width), 0)]
    hidden = (pasted > 0).any(0)

    depth = max(len(pasted), len(target.layers))
    layers = np.zeros((depth, height, width), np.int32)
    layers[: len(target.layers)] = np.where(hidden, 0, target.layers)
    layers[: len(pasted)] += pasted
    rows, columns = np.nonzero(hidden)
    planes = target.planes.clone()
    planes[:, rows, columns] = source.planes[:, rows, columns]
    return View(planes, layers, np.concatenate([target.labels, source.labels]))


def _fitted(layers: npt.NDArray[np.int32], height: int, width: int) -> npt.NDArray[np.int32]:
    """Layers cut, or filled with nothing, on the right and below."""
    layers = layers[:, :height, :width]
    missing = [(0, full - got) for full, got in zip((height, width), layers.shape[1:], strict=True)]
    return np.pad(layers, [(0, 0), *missing])
