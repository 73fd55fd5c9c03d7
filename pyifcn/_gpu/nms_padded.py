"""NMS of many images side by side, without waiting for the GPU."""

from __future__ import annotations

from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.nms import by_falling_score, suppress


def nms_padded(
    boxes: Any,
    scores: Any,
    idxs: Any | None,
    iou_threshold: float,
    score_threshold: float | None,
    indices: Any,
    counts: Any,
    execution: Any,
) -> None:
    """Fills in indices (B, max_output), padded with -1, and counts (B,)."""
    _cuda.check_nms_padded(boxes, scores, idxs, iou_threshold, score_threshold, indices, counts)
    gone = None if score_threshold is None else ~(scores.double() > score_threshold)
    order = by_falling_score(scores, gone, execution)
    indices.fill_(-1)
    counts.copy_(suppress(boxes, idxs, iou_threshold, order, gone, indices, None, execution))
