"""Greedy non-maximum suppression of masks."""

from __future__ import annotations

from typing import Any, SupportsFloat

from pyifcn.masks import Masks, as_masks


def mask_nms(
    masks: Masks | Any,
    scores: Any,
    iou_threshold: SupportsFloat,
    *,
    idxs: Any = None,
    return_groups: bool = False,
) -> Any:
    """Keeps the best of masks that overlap.

    Masks are taken by falling score, equal scores by index; NaN scores come first. Each is kept
    unless its intersection over union with a mask kept before, as `mask_iou` has it, is more than
    the threshold. There is never an N x N matrix: a mask is compared with those kept masks that a
    tree finds to meet its box, and only where boxes and areas do not settle it. An empty mask is
    kept, and suppresses nothing. By a negative threshold all but the best are suppressed, whether
    they meet or not.

    Args:
        masks: N masks: a `Masks`, or bool or uint8 (N, H, W).
        scores: (N,) numbers.
        iou_threshold: IoU above which the mask with the lower score goes.
        idxs: (N,) integers, the category of each mask; masks of different categories do not
            suppress each other. None: all are of one.
        return_groups: Whether to tell which mask suppressed which.

    Returns:
        int64 indices of the masks that are kept, by falling score, of the masks' kind and device.
        With `return_groups` also int64 (N,): for each mask the index of the one that suppressed
        it, the best of the kept ones that overlap it more than the threshold; its own if it is
        kept.

    Raises:
        TypeError: An argument has the wrong dtype or rank.
        ValueError: Sizes disagree, or the threshold is NaN.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> dense = np.zeros((3, 4, 6), bool)
        >>> dense[0, 1:3, 2:5] = dense[1, 1:4, 2:5] = dense[2, 3:, 4:] = True
        >>> pyifcn.mask_nms(dense, [0.8, 0.9, 0.1], iou_threshold=0.5, return_groups=True)
        (array([1, 2]), array([1, 1, 2]))
        >>> pyifcn.mask_nms(dense, [0.8, 0.9, 0.1], iou_threshold=0.5, idxs=[1, 2, 1])
        array([1, 0, 2])
    """
    masks = as_masks(masks, "masks")
    return masks.nms(scores, iou_threshold, idxs=idxs, return_groups=return_groups)
