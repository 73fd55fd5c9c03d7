"""Greedy non-maximum suppression on a matrix of similarities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, SupportsFloat, overload

from pyifcn._array import as_number, compiled, contiguous, empty, runs_directly, torch_ops, widened

if TYPE_CHECKING:
    from pyifcn._array import AnyArray


@overload
def nms_from_iou(
    iou: AnyArray,
    scores: AnyArray,
    iou_threshold: SupportsFloat,
    *,
    return_groups: Literal[False] = False,
) -> AnyArray: ...
@overload
def nms_from_iou(
    iou: AnyArray, scores: AnyArray, iou_threshold: SupportsFloat, *, return_groups: Literal[True]
) -> tuple[AnyArray, AnyArray]: ...
def nms_from_iou(
    iou: AnyArray,
    scores: AnyArray,
    iou_threshold: SupportsFloat,
    *,
    return_groups: bool = False,
) -> AnyArray | tuple[AnyArray, AnyArray]:
    """Keeps the best of things that are alike, by any measure of likeness.

    They are taken by falling score, equal scores by index; NaN scores come first. Each is kept
    unless `iou[i, j]` is more than the threshold, where i is one that was kept before and j the
    thing itself. Only the rows of the kept are read; the matrix need not be symmetric, and its
    diagonal does not matter. NaN suppresses nothing.

    Args:
        iou: (N, N) similarities, float16, bfloat16, float32 or float64. They are compared with
            the threshold as they are, without rounding either.
        scores: (N,), of any of these dtypes.
        iou_threshold: Similarity above which the one with the lower score goes.
        return_groups: Whether to tell which one suppressed which.

    Returns:
        int64 indices of those that are kept, by falling score, of the same kind and device. With
        `return_groups` also int64 (N,): for each the index of the best of the kept ones that
        suppresses it; its own if it is kept.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or the threshold is NaN.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> iou = np.array([[1, 0.8, 0.1], [0.8, 1, 0.6], [0.1, 0.6, 1]], np.float32)
        >>> scores = np.array([0.9, 0.8, 0.7], np.float32)
        >>> pyifcn.nms_from_iou(iou, scores, 0.5, return_groups=True)
        (array([0, 2]), array([0, 0, 2]))
    """
    threshold = as_number(iou_threshold, "iou_threshold")
    if runs_directly(iou, scores):
        keep, groups = run_nms_from_iou(iou, scores, threshold)
    else:
        keep, groups = torch_ops().nms_from_iou(iou, scores, threshold)
    return (keep, groups) if return_groups else keep


def run_nms_from_iou(
    iou: AnyArray, scores: AnyArray, iou_threshold: float
) -> tuple[AnyArray, AnyArray]:
    """`nms_from_iou` with groups on the compiled module."""
    iou = contiguous(iou, "iou", 2)
    scores = widened(contiguous(scores, "scores", 1, iou))
    module, execution = compiled(iou)
    keep, groups = (empty((iou.shape[0],), iou, "int64") for _ in range(2))
    count = module.nms_from_iou(iou, scores, iou_threshold, keep, groups, execution)
    return keep[:count], groups
