"""Fast NMS, which drops boxes by all better ones at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsFloat

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


def fast_nms(
    boxes: AnyArray,
    scores: AnyArray,
    iou_threshold: SupportsFloat,
    *,
    idxs: AnyArray | None = None,
) -> AnyArray:
    """Keeps the boxes that no better one overlaps, be that one kept itself or not.

    A box goes if its intersection over union with any better box of its category is more than the
    threshold. `nms` asks the better ones that are kept alone; so what this keeps, `nms` keeps too.
    A box is better by score, equal ones by index; NaN scores come first. The IoU is computed and
    compared as in `nms`: a box with NaN in it, or without area where the threshold is not
    negative, is kept and suppresses nothing.

    YOLACT makes a matrix of all pairs; here memory is linear in N, and a box is compared only with
    those that a tree of bounds cannot rule out.

    Source: Bolya et al., YOLACT, ICCV 2019, section 4.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2 in any unit, float16, bfloat16, float32 or float64.
        scores: (N,) of the same dtype.
        iou_threshold: IoU above which the box with the lower score goes.
        idxs: (N,) integers, the category of each box: those of different categories leave each
            other alone. None: all are of one.

    Returns:
        int64 indices of the boxes that are kept, by falling score, of the same kind and device.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or the threshold is NaN.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> boxes = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]], np.float32)
        >>> scores = np.array([0.9, 0.8, 0.7], np.float32)
        >>> pyifcn.fast_nms(boxes, scores, 0.5), pyifcn.nms(boxes, scores, 0.5)
        (array([0]), array([0, 2]))
    """
    threshold = as_number(iou_threshold, "iou_threshold")
    arrays = (boxes, scores) if idxs is None else (boxes, scores, idxs)
    if runs_directly(*arrays):
        return run_fast_nms(boxes, scores, idxs, threshold)
    return torch_ops().fast_nms(boxes, scores, idxs, threshold)


def run_fast_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """`fast_nms` on the compiled module."""
    boxes = widened(contiguous(boxes, "boxes", 2))
    scores = widened(contiguous(scores, "scores", 1, boxes))
    if idxs is not None:
        idxs = contiguous_int64(idxs, "idxs", 1, boxes)
    module, execution = compiled(boxes)
    keep = empty((boxes.shape[0],), boxes, "int64")
    return keep[: module.fast_nms(boxes, scores, idxs, iou_threshold, keep, execution)]
