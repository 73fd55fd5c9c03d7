"""The boxes around masks."""

from __future__ import annotations

from typing import Any

from pyifcn._array import as_dtype
from pyifcn.masks import Masks, as_masks


def masks_to_boxes(masks: Masks | Any) -> Any:
    """The tight boxes of masks as `torchvision.ops.masks_to_boxes` has them.

    The last pixel is inside: a mask of one pixel has x1 equal to x2. `Masks.boxes` are half-open.
    Where torchvision refuses an empty mask, its box is all zeros here.

    Args:
        masks: N masks: a `Masks`, or bool or uint8 (N, H, W).

    Returns:
        float32 (N, 4), rows of x1, y1, x2, y2, of the same kind and device.

    Raises:
        TypeError: A dense array has another dtype or rank.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> dense = np.zeros((1, 4, 6), bool)
        >>> dense[0, 1:3, 2:5] = True
        >>> pyifcn.masks_to_boxes(dense)
        array([[2., 1., 4., 2.]], dtype=float32)
    """
    masks = as_masks(masks, "masks")
    boxes = masks.boxes if masks._is_torch else masks.boxes.copy()
    boxes[:, 2:] -= as_dtype(boxes[:, 2:] > 0, "int32")
    return as_dtype(boxes, "float32")
