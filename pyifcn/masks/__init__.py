"""`Masks`: the binary masks of one image, kept as bits inside their tight boxes."""

from __future__ import annotations

from typing import Any

from pyifcn.masks.coco import CocoMixin
from pyifcn.masks.contours import ContoursMixin
from pyifcn.masks.formats import FormatsMixin
from pyifcn.masks.geometry import GeometryMixin
from pyifcn.masks.labels import LabelsMixin
from pyifcn.masks.overlap import OverlapMixin
from pyifcn.masks.sets import SetsMixin

__all__ = ["Masks", "as_masks"]


class Masks(
    FormatsMixin,
    CocoMixin,
    LabelsMixin,
    ContoursMixin,
    OverlapMixin,
    SetsMixin,
    GeometryMixin,
):
    """N binary masks of one image.

    Mask i occupies the rows y1..y2 of its tight half-open box. A row is the 64-bit words of the
    image's own 64-pixel grid that cover the box, so pixel (y, x) is bit `x % 64` of word
    `x // 64 - x1 // 64` of row `y - y1`, and the words of two masks always line up. Bits outside
    the box are zero.

    The arrays are NumPy's or torch's. Results are of the same kind: a method of masks in torch
    tensors gives tensors. A `Masks` never changes.

    Args:
        size: (height, width) of the image in pixels.
        boxes: int32 (N, 4), x1 y1 x2 y2 half-open, tight; an empty mask has 0 0 0 0.
        offsets: int64 (N + 1,), the first word of each mask, and the number of words.
        words: uint64 (offsets[-1],).

    Raises:
        TypeError: If an array has the wrong dtype or rank, or they are not all of one library on
            one device.
        ValueError: If the arrays disagree, or a box lies outside the image.

    Example:
        >>> import numpy as np
        >>> dense = np.zeros((2, 4, 6), bool)
        >>> dense[0, 1:3, 2:5] = dense[1, 1:4, 2:5] = True
        >>> masks = Masks.from_dense(dense)
        >>> masks
        Masks(2, size=(4, 6), 96 bytes)
        >>> masks.area.tolist(), masks.boxes.tolist()
        ([6, 9], [[2, 1, 5, 3], [2, 1, 5, 4]])
        >>> masks.iou(masks).round(2).tolist()
        [[1.0, 0.67], [0.67, 1.0]]
    """


# It is known by the name that users write, to pickle too.
Masks.__module__ = "pyifcn.masks"


def as_masks(value: Masks | Any, name: str) -> Masks:
    """`value` itself if it is a `Masks`, else `Masks.from_dense` of it."""
    return value if isinstance(value, Masks) else Masks._from_dense(value, name)
