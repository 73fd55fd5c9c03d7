"""Soft-NMS: boxes sorted so that alike ones lie together, then one block of threads a category."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.nms import by_falling_score


def soft_nms(
    boxes: Any,
    scores: Any,
    idxs: Any | None,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: str,
    keep: Any,
    kept_scores: Any,
    execution: Any,
) -> int:
    """Writes the kept indices and their scores to the fronts of two arrays and returns how many.

    That number is the one thing that the CPU waits for.
    """
    rule = iou_threshold, sigma, min_score, method
    _cuda.check_soft_nms(boxes, scores, idxs, *rule, keep, kept_scores)
    torch = sys.modules["torch"]
    count = len(boxes)
    if count == 0:
        return 0
    places, starts = _places(boxes, scores, idxs, min_score, execution)
    cells = -(-count // _cuda.SOFT_CELL) + len(starts)
    kept = torch.full_like(scores, float("nan"))
    _cuda.soft_suppress(
        *(boxes, scores, places, starts, *rule),
        *(boxes.new_empty((count, 5)), boxes.new_empty((cells, 5)), places.new_empty(cells)),
        *(kept, execution),
    )
    gone = kept.isnan()
    order = by_falling_score(kept[None], gone[None], execution)[0]
    keep.copy_(order)
    torch.gather(kept, 0, order, out=kept_scores)
    return count - int(gone.sum())


def _places(
    boxes: Any, scores: Any, idxs: Any | None, min_score: float, execution: Any
) -> tuple[Any, Any]:
    """The boxes by category and then along a curve, and where each category starts; then N."""
    torch = sys.modules["torch"]
    count = len(boxes)
    keys = scores.new_empty(count, dtype=torch.int64)
    _cuda.curve_keys(boxes, scores, min_score, keys, execution)
    places = keys.argsort()
    if idxs is None:
        return places, torch.arange(0, 2 * count, count, device=boxes.device)
    categories, by_category = idxs[places].sort(stable=True)
    number = torch.zeros_like(categories)
    torch.cumsum(categories[1:] != categories[:-1], 0, out=number[1:])
    all_numbers = torch.arange(count + 1, device=boxes.device)
    return places[by_category], torch.searchsorted(number, all_numbers)
