"""Mask voting and NMS of MNC (github.com/daijifeng001/MNC), the same and fast.

Put `from pyifcn.compat.mnc import gpu_mask_voting` in the place of `from transform.mask_transform
import gpu_mask_voting`, and `nms` in that of `nms.nms_wrapper`'s. What MNC's configuration says are
arguments here, with its defaults; the differences are those of `pyifcn.compat.fcis`, and:

- `nms` is that of `cfg.USE_GPU_NMS`, MNC's default; `cpu_nms` is the other.
- `cpu_mask_voting` returns (boxes, masks), `gpu_mask_voting` (masks, boxes), as MNC's do: lists of
  C - 1 classes, without the background.

Example:
    >>> import numpy as np
    >>> from pyifcn.compat.mnc import cpu_mask_voting
    >>> masks = np.ones((2, 1, 21, 21), np.float32)
    >>> boxes = np.array([[10, 10, 29, 29], [12, 10, 31, 29]], np.float32)
    >>> scores = np.array([[0.1, 0.9], [0.2, 0.8]], np.float32)
    >>> boxes, masks = cpu_mask_voting(masks, boxes, scores, 2, 100, 80, 40)
    >>> boxes[0].round(1)
    array([[10. , 10. , 31. , 29. ,  0.9]])
"""

from __future__ import annotations

from collections.abc import Sequence

from pyifcn.compat._legacy_nms import cpu_nms, gpu_nms
from pyifcn.compat._legacy_nms import gpu_nms as nms
from pyifcn.compat._legacy_nms import nms as py_cpu_nms
from pyifcn.compat._voting import Array, aggregate, vote_by_class

__all__ = [
    "cpu_mask_voting",
    "cpu_nms",
    "gpu_mask_voting",
    "gpu_nms",
    "mask_aggregation",
    "nms",
    "py_cpu_nms",
]


def cpu_mask_voting(
    masks: Array,
    boxes: Array,
    scores: Array,
    num_classes: int,
    max_per_image: int,
    im_width: int,
    im_height: int,
    *,
    nms_thresh: float = 0.3,
    merge_thresh: float = 0.5,
    binary_thresh: float = 0.4,
) -> tuple[list[Array], list[Array]]:
    """Merges the masks of overlapping boxes, rounded to whole pixels, by votes of their bits.

    Args:
        masks: (N, 1, M, M) soft masks, 0 to 1, floating.
        boxes: (N, 4) rows of x1, y1, x2, y2, floating.
        scores: (N, C) floating, column 0 of the background.
        num_classes: How many of the classes, the background among them.
        max_per_image: The most boxes kept in a class, and in all but for equal scores.
        im_width: The image's width in pixels.
        im_height: Its height.
        nms_thresh: MNC's `TEST.MASK_MERGE_NMS_THRESH`: IoU above which a box goes.
        merge_thresh: `TEST.MASK_MERGE_IOU_THRESH`: IoU from which on a box votes.
        binary_thresh: `BINARIZE_THRESH`: of a mask's values, and of the share of the votes.

    Returns:
        (boxes, masks), lists with an entry for each class but the background: float64 (n, 5),
        rows of x1, y1, x2, y2, score, and float64 (n, 1, M, M).

    Raises:
        TypeError: An argument has the wrong dtype or rank.
        ValueError: Sizes disagree, or a number is out of range.
    """
    new_masks, new_boxes = vote_by_class(
        *(masks, boxes, scores, num_classes, max_per_image, im_width, im_height),
        *((nms_thresh, merge_thresh, binary_thresh), "mnc_cpu"),
    )
    return new_boxes, new_masks


def gpu_mask_voting(
    masks: Array,
    boxes: Array,
    scores: Array,
    num_classes: int,
    max_per_image: int,
    im_width: int,
    im_height: int,
    *,
    nms_thresh: float = 0.3,
    merge_thresh: float = 0.5,
    binary_thresh: float = 0.4,
) -> tuple[list[Array], list[Array]]:
    """`cpu_mask_voting` as MNC runs it by default: boxes are not rounded, and values vote.

    Args:
        masks: (N, 1, M, M) soft masks, 0 to 1, floating.
        boxes: (N, 4) rows of x1, y1, x2, y2, floating.
        scores: (N, C) floating, column 0 of the background.
        num_classes: How many of the classes, the background among them.
        max_per_image: The most boxes kept in a class, and in all but for equal scores.
        im_width: The image's width in pixels.
        im_height: Its height.
        nms_thresh: MNC's `TEST.MASK_MERGE_NMS_THRESH`: IoU above which a box goes.
        merge_thresh: `TEST.MASK_MERGE_IOU_THRESH`: IoU from which on a box votes.
        binary_thresh: `BINARIZE_THRESH`, which the share of the votes must exceed.

    Returns:
        (masks, boxes), lists with an entry for each class but the background: float32
        (n, 1, M, M), and float64 (n, 5), rows of x1, y1, x2, y2, score.

    Raises:
        TypeError: An argument has the wrong dtype or rank.
        ValueError: Sizes disagree, or a number is out of range.
    """
    return vote_by_class(
        *(masks, boxes, scores, num_classes, max_per_image, im_width, im_height),
        *((nms_thresh, merge_thresh, binary_thresh), "mnc_gpu"),
    )


def mask_aggregation(
    boxes: Array,
    masks: Sequence[Array],
    mask_weights: Array,
    im_width: int,
    im_height: int,
    *,
    binary_thresh: float = 0.4,
) -> tuple[Array, Array]:
    """One mask of several, each as large as its box; `pyifcn.compat.fcis.mask_aggregation`."""
    return aggregate(boxes, masks, mask_weights, im_width, im_height, binary_thresh)
