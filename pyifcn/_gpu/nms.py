"""NMS of boxes: ordered by score, they suppress each other in one launch."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda


def nms(boxes: Any, scores: Any, iou_threshold: float, keep: Any, execution: Any) -> int:
    """Writes the kept indices to the front of `keep` and returns how many.

    That number is the one thing that the CPU waits for.
    """
    _cuda.check_nms(boxes, scores, None, iou_threshold, keep)
    return _suppress_one(boxes, scores, None, iou_threshold, keep, None, execution)


def nms_groups(
    boxes: Any, scores: Any, iou_threshold: float, keep: Any, groups: Any, execution: Any
) -> int:
    """As `nms`; fills in `groups` too."""
    _cuda.check_nms(boxes, scores, None, iou_threshold, keep)
    return _suppress_one(boxes, scores, None, iou_threshold, keep, groups, execution)


def batched_nms(
    boxes: Any, scores: Any, idxs: Any, iou_threshold: float, keep: Any, execution: Any
) -> int:
    """As `nms`, within each category."""
    return batched_nms_groups(boxes, scores, idxs, iou_threshold, keep, None, execution)


def batched_nms_groups(
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: float,
    keep: Any,
    groups: Any | None,
    execution: Any,
) -> int:
    """As `nms_groups`, within each category."""
    _cuda.check_nms(boxes, scores, idxs, iou_threshold, keep)
    if 0 < len(boxes) <= _cuda.MOVED_BOXES:
        moved = boxes + idxs[:, None].to(boxes.dtype) * (boxes.max() + 1)
        return _suppress_one(moved, scores, None, iou_threshold, keep, groups, execution)
    return _suppress_one(boxes, scores, idxs, iou_threshold, keep, groups, execution)


def _suppress_one(
    boxes: Any,
    scores: Any,
    idxs: Any | None,
    iou_threshold: float,
    keep: Any,
    groups: Any | None,
    execution: Any,
) -> int:
    order = by_falling_score(scores[None], None, execution)
    idxs, groups = (None if array is None else array[None] for array in (idxs, groups))
    return int(
        suppress(boxes[None], idxs, iou_threshold, order, None, keep[None], groups, execution)
    )


def suppress(
    boxes: Any,
    idxs: Any | None,
    iou_threshold: float,
    order: Any,
    gone: Any | None,
    keep: Any,
    groups: Any | None,
    execution: Any,
) -> Any:
    """Greedy NMS of B images side by side, without waiting for the GPU.

    Args:
        boxes: (B, N, 4) float32 or float64.
        idxs: (B, N) int64, boxes of different categories leave each other alone; None: all are of
            one.
        iou_threshold: IoU above which the box with the lower score goes.
        order: (B, N) the boxes as `by_falling_score` gives them.
        gone: (B, N) bool, boxes that are not there and that the order has last; None: all are.
        keep: (B, most) receives the first boxes that are kept.
        groups: (B, N) receives for each box the first of the kept ones that suppresses it, itself
            if it is kept; then `most` is N and none is gone. None: nobody asks.
        execution: What the functions of _cuda take last.

    Returns:
        (B,) how many are kept, `most` where there would be more.
    """
    state = order.new_zeros((len(order), 3))
    _cuda.suppress(boxes, idxs, iou_threshold, order, gone, state, keep, groups, execution)
    return state[:, 2]


def by_falling_score(scores: Any, gone: Any | None, execution: Any) -> Any:
    """The order of each row's scores, stable; NaN comes first, -0 equals 0, and `gone` comes last.

    Args:
        scores: (B, N) float32 or float64.
        gone: (B, N) bool, or None.
        execution: What the functions of _cuda take last.
    """
    torch = sys.modules["torch"]
    if scores.shape[1] <= _cuda.FEW_SCORES:
        order = scores.new_empty(scores.shape, dtype=torch.int64)
        _cuda.order_few(scores, gone, order, execution)
        return order
    keys = scores.new_empty(
        scores.shape, dtype=torch.int32 if scores.dtype == torch.float32 else torch.int64
    )
    _cuda.score_keys(scores, gone, keys, execution)
    return keys.sort(dim=1, stable=True).indices
