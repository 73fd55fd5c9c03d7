"""NMS of boxes: torch sorts, then tiles of boxes suppress each other."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda


def nms(boxes: Any, scores: Any, iou_threshold: float, keep: Any, execution: Any) -> int:
    """Writes the kept indices to the front of `keep` and returns how many.

    That number is the one thing that the CPU waits for.
    """
    _cuda.check_nms(boxes, scores, None, iou_threshold, keep)
    return _suppress_one(boxes, scores, None, iou_threshold, keep, execution)


def batched_nms(
    boxes: Any, scores: Any, idxs: Any, iou_threshold: float, keep: Any, execution: Any
) -> int:
    """As `nms`, within each category."""
    _cuda.check_nms(boxes, scores, idxs, iou_threshold, keep)
    if 0 < len(boxes) <= _cuda.MOVED_BOXES:
        moved = boxes + idxs[:, None].to(boxes.dtype) * (boxes.max() + 1)
        return _suppress_one(moved, scores, None, iou_threshold, keep, execution)
    return _suppress_one(boxes, scores, idxs, iou_threshold, keep, execution)


def _suppress_one(
    boxes: Any, scores: Any, idxs: Any | None, iou_threshold: float, keep: Any, execution: Any
) -> int:
    order = by_falling_score(scores[None])
    groups = None if idxs is None else idxs[None]
    gone = boxes.new_zeros(order.shape, dtype=sys.modules["torch"].bool)
    return int(suppress(boxes[None], order, groups, iou_threshold, gone, keep[None], execution))


def suppress(
    boxes: Any,
    order: Any,
    groups: Any | None,
    iou_threshold: float,
    gone: Any,
    keep: Any,
    execution: Any,
) -> Any:
    """Greedy NMS of B images side by side, without waiting for the GPU.

    Args:
        boxes: (B, N, 4) float32 or float64.
        order: (B, N) the boxes by falling score.
        groups: (B, N) int64, boxes of different groups leave each other alone; None: one group.
        iou_threshold: IoU above which the box with the lower score goes.
        gone: (B, N) bool, boxes that are not there; overwritten.
        keep: (B, most) receives the first boxes that are kept.
        execution: What the functions of _cuda take last.

    Returns:
        (B,) how many are kept; once there are `most`, some that follow may not be counted.
    """
    images, count = order.shape
    tiles = -(-count // _cuda.NMS_TILE)
    overlaps = order.new_empty((images, count, _cuda.NMS_TILE // 64))
    counts = order.new_zeros((images, tiles + 1))
    _cuda.suppress(boxes, order, groups, iou_threshold, gone, overlaps, counts, keep, execution)
    return counts[:, -1]


def by_falling_score(scores: Any) -> Any:
    """The order of each row's scores, stable; NaN of either sign comes first and -0 equals 0."""
    plain = sys.modules["torch"].where(scores.isnan(), float("nan"), scores + 0.0)
    return plain.sort(dim=1, descending=True, stable=True).indices
