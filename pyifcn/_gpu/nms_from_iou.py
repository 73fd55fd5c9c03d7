"""NMS on a matrix of similarities."""

from __future__ import annotations

from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.nms import by_falling_score


def nms_from_iou(
    iou: Any, scores: Any, iou_threshold: float, keep: Any, groups: Any, execution: Any
) -> int:
    """Writes the kept indices to the front of `keep`, fills in `groups` and returns how many.

    That number is the one thing that the CPU waits for.
    """
    _cuda.check_nms_from_iou(iou, scores, iou_threshold, keep, groups)
    order = by_falling_score(scores[None], None, execution)
    state = order.new_zeros((1, 3))
    _cuda.suppress_from_iou(iou, iou_threshold, order, state, keep[None], groups[None], execution)
    return int(state[0, 2])
