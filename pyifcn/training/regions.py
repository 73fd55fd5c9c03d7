"""Semantic segmentation: which category each feature's cell shows, and the loss of saying so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyifcn.training.distributed import mean_over_batch

__all__ = ["Regions", "region_loss", "regions"]


@dataclass(frozen=True)
class Regions:
    """What the cells of a view show.

    Attributes:
        shares: float32 (1 + C, h, w), the part of each cell of stride x stride pixels that shows
            each class, the background first. Crowds, and what lies beyond the view, are no part.
    """

    shares: npt.NDArray[np.float32]


def regions(
    layers: npt.NDArray[np.int32], classes: npt.NDArray[np.int64], count: int, stride: int
) -> Regions:
    """Finds what the cells of a view show.

    Args:
        layers: int32 (L, H, W) as in ``Scene``; where instances overlap the first layer's counts.
        classes: int64, the class of instance i + 1 at i.
        count: 1 + C.
        stride: Pixels along a side of a cell.
    """
    top = np.zeros(layers.shape[1:], np.int64)
    for layer in layers[::-1]:
        top[layer > 0] = classes[layer[layer > 0] - 1]
    seen = ~(layers < 0).any(0)
    height, width = (-(-side // stride) for side in layers.shape[-2:])
    y, x = np.nonzero(seen)
    cells = (top[y, x] * height + y // stride) * width + x // stride
    shares = np.bincount(cells, minlength=count * height * width) / np.float32(stride**2)
    return Regions(shares.reshape(count, height, width).astype(np.float32))


def region_loss(logits: Tensor, views: Sequence[Regions]) -> dict[str, Tensor]:
    """The mean cross-entropy of the pixels' classes (FCN's, at the features' resolution).

    Args:
        logits: float (B, 1 + C, h, w).
        views: What each of the B views shows, at its top left.

    Returns:
        "loss", and "accuracy", the part of the pixels with the right class.
    """
    total, right, pixels = logits.new_zeros((3,), dtype=torch.float32).unbind()
    for of_view, view in zip(logits.float(), views, strict=True):
        shares = torch.from_numpy(view.shares).to(logits.device)
        shown = of_view[:, : shares.shape[1], : shares.shape[2]]
        total = total - (shares * shown.log_softmax(0)).sum()
        with torch.no_grad():
            right = right + shares.gather(0, shown.argmax(0, keepdim=True)).sum()
            pixels = pixels + shares.sum()
    return {"loss": mean_over_batch(total, pixels), "accuracy": mean_over_batch(right, pixels)}
