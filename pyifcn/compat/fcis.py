"""Mask voting and NMS of FCIS (github.com/msracver/FCIS), the same and fast.

Put `from pyifcn.compat.fcis import gpu_mask_voting` in the place of `from mask.mask_transform
import gpu_mask_voting`, and `py_nms_wrapper` in that of `nms.nms`'s. There is no GPU, OpenCV or
Python 2 behind them. Names, arguments, the order of what is returned and the inclusive boxes (x2 -
x1 + 1) are FCIS's, with these differences:

- Equal scores come by index, where the originals leave their order open. Scores, boxes and masks
  are computed in float32. Votes are counted in whole numbers, so that sums are exact where the
  originals round them, and the shares in a merged mask are equal to float32's precision.
- No detection at all gives empty arrays, where the originals fail; a detection whose votes are all
  0 is dropped, where they divide 0 by 0.
- The functions named `gpu` run on the CPU and make no use of `device_id`. `gpu_nms` of no rows is
  `[]`.
- An IoU that is NaN suppresses nothing. In `nms` of the original it drops the box.
- Parts of a box outside the image render nothing. The originals for the CPU fail.

Example:
    >>> import numpy as np
    >>> from pyifcn.compat.fcis import gpu_mask_voting
    >>> masks = np.ones((2, 1, 21, 21), np.float32)
    >>> boxes = np.array([[10, 10, 29, 29], [12, 10, 31, 29]], np.float32)
    >>> scores = np.array([[0.1, 0.9], [0.2, 0.8]], np.float32)
    >>> masks, boxes = gpu_mask_voting(masks, boxes, scores, 2, 100, 80, 40, 0.3, 0.5)
    >>> boxes[1].round(1)
    array([[10. , 10. , 31. , 29. ,  0.9]])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyifcn.compat._legacy_nms import (
    cpu_nms,
    cpu_nms_wrapper,
    gpu_nms,
    gpu_nms_wrapper,
    nms,
    py_nms_wrapper,
)
from pyifcn.compat._voting import Array, aggregate, vote_by_class

__all__ = [
    "cpu_mask_voting",
    "cpu_nms",
    "cpu_nms_wrapper",
    "gpu_mask_voting",
    "gpu_nms",
    "gpu_nms_wrapper",
    "mask_aggregation",
    "nms",
    "py_nms_wrapper",
]


def cpu_mask_voting(
    masks: Array,
    boxes: Array,
    scores: Array,
    num_classes: int,
    max_per_image: int,
    im_width: int,
    im_height: int,
    nms_thresh: float,
    merge_thresh: float,
    binary_thresh: float = 0.4,
) -> tuple[list[Any], list[Any]]:
    """Merges the masks of overlapping boxes, resampled from the merged box alone.

    Args:
        masks: (N, 1, M, M) soft masks, 0 to 1, floating.
        boxes: (N, 4) rows of x1, y1, x2, y2, floating.
        scores: (N, C) floating, column 0 of the background.
        num_classes: How many of the classes, the background among them.
        max_per_image: The most boxes kept in a class, and in all but for equal scores.
        im_width: The image's width in pixels.
        im_height: Its height.
        nms_thresh: IoU above which a box goes.
        merge_thresh: IoU from which on a box votes.
        binary_thresh: Of a mask's values, and of the share of the votes.

    Returns:
        (masks, boxes), lists with an entry for each class: `[]` for the background, then float64
        (n, 1, M, M), and float64 (n, 5), rows of x1, y1, x2, y2, score.

    Raises:
        TypeError: An argument has the wrong dtype or rank.
        ValueError: Sizes disagree, or a number is out of range.
    """
    thresholds = nms_thresh, merge_thresh, binary_thresh
    by_class = vote_by_class(
        *(masks, boxes, scores, num_classes, max_per_image, im_width, im_height),
        *(thresholds, "fcis_cpu"),
    )
    return [[], *by_class[0]], [[], *by_class[1]]


def gpu_mask_voting(
    masks: Array,
    boxes: Array,
    scores: Array,
    num_classes: int,
    max_per_image: int,
    im_width: int,
    im_height: int,
    nms_thresh: float,
    merge_thresh: float,
    binary_thresh: float = 0.4,
    device_id: int = 0,
) -> tuple[list[Any], list[Any]]:
    """`cpu_mask_voting` as FCIS runs it by default: resampled from the votes on the whole image.

    Masks one pixel wide or high are dropped.

    Args:
        masks: (N, 1, M, M) soft masks, 0 to 1, floating.
        boxes: (N, 4) rows of x1, y1, x2, y2, floating.
        scores: (N, C) floating, column 0 of the background.
        num_classes: How many of the classes, the background among them.
        max_per_image: The most boxes kept in a class, and in all but for equal scores.
        im_width: The image's width in pixels.
        im_height: Its height.
        nms_thresh: IoU above which a box goes.
        merge_thresh: IoU from which on a box votes.
        binary_thresh: Of a mask's values, and of the share of the votes.
        device_id: Not used.

    Returns:
        (masks, boxes), lists with an entry for each class: `[]` for the background, then float32
        (n, 1, M, M), and float64 (n, 5), rows of x1, y1, x2, y2, score.

    Raises:
        TypeError: An argument has the wrong dtype or rank.
        ValueError: Sizes disagree, or a number is out of range.
    """
    thresholds = nms_thresh, merge_thresh, binary_thresh
    by_class = vote_by_class(
        *(masks, boxes, scores, num_classes, max_per_image, im_width, im_height),
        *(thresholds, "fcis_gpu"),
    )
    return [[], *by_class[0]], [[], *by_class[1]]


def mask_aggregation(
    boxes: Array,
    masks: Sequence[Array],
    mask_weights: Array,
    im_width: int,
    im_height: int,
    binary_thresh: float = 0.4,
) -> tuple[Array, Array]:
    """One mask of several, each as large as its box.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2 on the image, rounded here, the last pixel inside.
        masks: N soft masks, (y2 - y1 + 1, x2 - x1 + 1) each.
        mask_weights: (N,), how much each counts.
        im_width: The image's width in pixels.
        im_height: Its height.
        binary_thresh: More than 0; of a mask's values, and of the sum of the weights.

    Returns:
        float64 (h, w), the sums of the weights in the box around those that reach the threshold,
        and that box, float32 (4,). Where none does, the image's middle pixel.

    Raises:
        ValueError: Sizes disagree, a box is not on the image, or the threshold is out of range.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[2, 1, 4, 2], [3, 1, 5, 2]])
        >>> masks = [np.ones((2, 3)), np.ones((2, 3))]
        >>> mask_aggregation(boxes, masks, np.array([0.7, 0.3]), 8, 4)
        (array([[0.7, 1. , 1. ],
               [0.7, 1. , 1. ]]), array([2., 1., 4., 2.], dtype=float32))
    """
    return aggregate(boxes, masks, mask_weights, im_width, im_height, binary_thresh)
