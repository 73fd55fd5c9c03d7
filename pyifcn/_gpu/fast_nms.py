"""Fast NMS: boxes by category and score, all compared in one launch."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.nms import by_falling_score


def fast_nms(
    boxes: Any, scores: Any, idxs: Any | None, iou_threshold: float, keep: Any, execution: Any
) -> int:
    """Writes the kept indices to the front of `keep` and returns how many.

    That number is the one thing that the CPU waits for.
    """
    _cuda.check_fast_nms(boxes, scores, idxs, iou_threshold, keep)
    if len(boxes) == 0:
        return 0
    order = by_falling_score(scores[None], None, execution)[0]
    places = order if idxs is None else order[idxs[order].argsort(stable=True)]
    gone = order.new_zeros(len(order), dtype=sys.modules["torch"].int32)
    _cuda.fast_suppress(boxes, idxs, iou_threshold, places, gone, execution)
    kept = order[gone[order] == 0]
    keep[: len(kept)] = kept
    return len(kept)
