"""Greedy non-maximum suppression of boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, SupportsFloat, overload

from pyifcn._array import (
    as_number,
    compiled,
    contiguous,
    contiguous_int64,
    empty,
    runs_directly,
    torch_ops,
    widened,
)

if TYPE_CHECKING:
    from pyifcn._array import AnyArray


@overload
def nms(
    boxes: AnyArray,
    scores: AnyArray,
    iou_threshold: SupportsFloat,
    *,
    return_groups: Literal[False] = False,
) -> AnyArray: ...
@overload
def nms(
    boxes: AnyArray, scores: AnyArray, iou_threshold: SupportsFloat, *, return_groups: Literal[True]
) -> tuple[AnyArray, AnyArray]: ...
def nms(
    boxes: AnyArray,
    scores: AnyArray,
    iou_threshold: SupportsFloat,
    *,
    return_groups: bool = False,
) -> AnyArray | tuple[AnyArray, AnyArray]:
    """Keeps the best of boxes that overlap.

    Boxes are taken by falling score, equal scores by index; NaN scores come first. Each is kept
    unless its intersection over union with a box kept before is more than the threshold. The
    indices are those of `torchvision.ops.nms` on the CPU for any input: the IoU is computed in the
    boxes' own type with each operation rounded once, and compared with the threshold as a double.
    A box with NaN in it, or without area where the threshold is not negative, is kept and
    suppresses nothing. float16 and bfloat16, which torchvision refuses on the CPU, are widened to
    float32 first.

    Memory is linear in N. Time grows little faster than N: a kept box is compared only with those
    that a tree of bounds cannot rule out. A negative threshold, by which boxes that do not even
    touch suppress each other, does without the tree.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2 in any unit, float16, bfloat16, float32 or float64.
        scores: (N,) of the same dtype.
        iou_threshold: IoU above which the box with the lower score goes.
        return_groups: Whether to tell which box suppressed which.

    Returns:
        int64 indices of the boxes that are kept, by falling score, of the same kind and device.
        With `return_groups` also int64 (N,): for each box the index of the one that suppressed it,
        the best of the kept ones that overlap it more than the threshold; its own if it is kept.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or the threshold is NaN.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
        >>> scores = np.array([0.8, 0.9, 0.1], np.float32)
        >>> pyifcn.nms(boxes, scores, iou_threshold=0.5)
        array([1, 2])
        >>> pyifcn.nms(boxes, scores, iou_threshold=0.5, return_groups=True)
        (array([1, 2]), array([1, 1, 2]))
    """
    threshold = as_number(iou_threshold, "iou_threshold")
    if return_groups:
        if runs_directly(boxes, scores):
            return run_nms_groups(boxes, scores, threshold)
        return torch_ops().nms_groups(boxes, scores, threshold)
    if runs_directly(boxes, scores):
        return run_nms(boxes, scores, threshold)
    return torch_ops().nms(boxes, scores, threshold)


@overload
def batched_nms(
    boxes: AnyArray,
    scores: AnyArray,
    idxs: AnyArray,
    iou_threshold: SupportsFloat,
    *,
    return_groups: Literal[False] = False,
) -> AnyArray: ...
@overload
def batched_nms(
    boxes: AnyArray,
    scores: AnyArray,
    idxs: AnyArray,
    iou_threshold: SupportsFloat,
    *,
    return_groups: Literal[True],
) -> tuple[AnyArray, AnyArray]: ...
def batched_nms(
    boxes: AnyArray,
    scores: AnyArray,
    idxs: AnyArray,
    iou_threshold: SupportsFloat,
    *,
    return_groups: bool = False,
) -> AnyArray | tuple[AnyArray, AnyArray]:
    """`nms` within each category: boxes of different categories do not suppress each other.

    The boxes kept are those of `torchvision.ops.batched_nms` on the CPU for any input. That
    includes what it does with at most 1,000 boxes: category c is moved by c times the largest
    coordinate plus one, and all are suppressed together, so that coordinates are rounded a little
    more coarsely, and categories can meet after all where coordinates are negative. More boxes
    are suppressed in each category as they are. Boxes of equal score come by index, where
    torchvision leaves their order open.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2 in any unit, float16, bfloat16, float32 or float64.
        scores: (N,) of the same dtype.
        idxs: (N,) integers, the category of each box.
        iou_threshold: IoU above which the box with the lower score goes.
        return_groups: Whether to tell which box suppressed which.

    Returns:
        int64 indices of the boxes that are kept, by falling score, of the same kind and device.
        With `return_groups` also int64 (N,): for each box the index of the one that suppressed it,
        the best of the kept ones that overlap it more than the threshold; its own if it is kept.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or the threshold is NaN.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 1, 10, 11]], np.float32)
        >>> scores = np.array([0.8, 0.9, 0.7], np.float32)
        >>> pyifcn.batched_nms(boxes, scores, np.array([0, 1, 0]), iou_threshold=0.5)
        array([1, 0])
    """
    threshold = as_number(iou_threshold, "iou_threshold")
    if return_groups:
        if runs_directly(boxes, scores, idxs):
            return run_batched_nms_groups(boxes, scores, idxs, threshold)
        return torch_ops().batched_nms_groups(boxes, scores, idxs, threshold)
    if runs_directly(boxes, scores, idxs):
        return run_batched_nms(boxes, scores, idxs, threshold)
    return torch_ops().batched_nms(boxes, scores, idxs, threshold)


def run_nms(boxes: AnyArray, scores: AnyArray, iou_threshold: float) -> AnyArray:
    """`nms` on the compiled module."""
    boxes, scores = _boxes_and_scores(boxes, scores)
    module, execution = compiled(boxes)
    keep = empty((boxes.shape[0],), boxes, "int64")
    return keep[: module.nms(boxes, scores, iou_threshold, keep, execution)]


def run_nms_groups(
    boxes: AnyArray, scores: AnyArray, iou_threshold: float
) -> tuple[AnyArray, AnyArray]:
    """`nms` with groups on the compiled module."""
    boxes, scores = _boxes_and_scores(boxes, scores)
    module, execution = compiled(boxes)
    keep, groups = (empty((boxes.shape[0],), boxes, "int64") for _ in range(2))
    count = module.nms_groups(boxes, scores, iou_threshold, keep, groups, execution)
    return keep[:count], groups


def run_batched_nms(
    boxes: AnyArray, scores: AnyArray, idxs: AnyArray, iou_threshold: float
) -> AnyArray:
    """`batched_nms` on the compiled module."""
    boxes, scores = _boxes_and_scores(boxes, scores)
    idxs = contiguous_int64(idxs, "idxs", 1, boxes)
    module, execution = compiled(boxes)
    keep = empty((boxes.shape[0],), boxes, "int64")
    return keep[: module.batched_nms(boxes, scores, idxs, iou_threshold, keep, execution)]


def run_batched_nms_groups(
    boxes: AnyArray, scores: AnyArray, idxs: AnyArray, iou_threshold: float
) -> tuple[AnyArray, AnyArray]:
    """`batched_nms` with groups on the compiled module."""
    boxes, scores = _boxes_and_scores(boxes, scores)
    idxs = contiguous_int64(idxs, "idxs", 1, boxes)
    module, execution = compiled(boxes)
    keep, groups = (empty((boxes.shape[0],), boxes, "int64") for _ in range(2))
    count = module.batched_nms_groups(boxes, scores, idxs, iou_threshold, keep, groups, execution)
    return keep[:count], groups


def _boxes_and_scores(boxes: AnyArray, scores: AnyArray) -> tuple[AnyArray, AnyArray]:
    boxes = widened(contiguous(boxes, "boxes", 2))
    return boxes, widened(contiguous(scores, "scores", 1, boxes))
