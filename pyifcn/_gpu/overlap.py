"""Overlap of masks: torch lends memory, and sorts for NMS and matrix NMS."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.nms import by_falling_score


def masks_iou(
    boxes: Any,
    offsets: Any,
    words: Any,
    other_boxes: Any,
    other_offsets: Any,
    other_words: Any,
    kind: str,
    out: Any,
    execution: Any,
) -> None:
    """Fills in `out` (N, M), which is all zeros."""
    areas = _areas(boxes, offsets, words, execution)
    same = boxes.data_ptr() == other_boxes.data_ptr() and words.data_ptr() == other_words.data_ptr()
    other_areas = areas if same else _areas(other_boxes, other_offsets, other_words, execution)
    _cuda.masks_iou(
        boxes,
        offsets,
        words,
        other_boxes,
        other_offsets,
        other_words,
        areas,
        other_areas,
        kind,
        out,
        execution,
    )


def masks_nms(
    boxes: Any,
    offsets: Any,
    words: Any,
    scores: Any,
    idxs: Any | None,
    iou_threshold: float,
    keep: Any,
    groups: Any | None,
    execution: Any,
) -> int:
    """Writes the kept indices to the front of `keep` and returns how many.

    That number is the one thing that the CPU waits for. `groups` (N,) may be None.
    """
    order = by_falling_score(scores[None], None, execution)[0]
    if groups is None:
        groups = keep.new_empty(keep.shape)
    if iou_threshold < 0:
        return _suppress_all(order, idxs, keep, groups)
    groups.fill_(-1)
    tiles = -(-len(order) // _cuda.MASK_TILE)
    overlaps = boxes.new_empty((len(order), _cuda.MASK_TILE // 32))
    counts = order.new_zeros((tiles + 1,))
    areas = _areas(boxes, offsets, words, execution)
    _cuda.masks_suppress(
        boxes,
        offsets,
        words,
        areas,
        order,
        idxs,
        iou_threshold,
        overlaps,
        counts,
        keep,
        groups,
        execution,
    )
    return int(counts[-1])


def _suppress_all(order: Any, idxs: Any | None, keep: Any, groups: Any) -> int:
    """The best of each category suppresses all others, whether they meet or not."""
    torch = sys.modules["torch"]
    category = torch.zeros_like(order) if idxs is None else idxs[order]
    category, rank = category.sort(stable=True)  # in a category by falling score
    begins = torch.ones_like(category, dtype=torch.bool)
    torch.ne(category[1:], category[:-1], out=begins[1:])
    place = torch.arange(len(order), device=order.device)
    best = torch.where(begins, place, 0).cummax(0).values
    groups[order[rank]] = order[rank[best]]
    kept = order[groups[order] == order]
    keep[: len(kept)] = kept
    return len(kept)


def matrix_nms(
    boxes: Any,
    offsets: Any,
    words: Any,
    scores: Any,
    labels: Any,
    kernel: str,
    sigma: float,
    lowered: Any,
    execution: Any,
) -> None:
    """Fills in `lowered` (N,)."""
    order = by_falling_score(scores[None], None, execution)[0]
    most = scores.new_zeros(scores.shape)
    worst = scores.new_full(scores.shape, float(kernel == "linear"))
    areas = _areas(boxes, offsets, words, execution)
    _cuda.matrix_nms(
        boxes,
        offsets,
        words,
        areas,
        order,
        scores,
        labels,
        kernel,
        sigma,
        most,
        worst,
        lowered,
        execution,
    )


def _areas(boxes: Any, offsets: Any, words: Any, execution: Any) -> Any:
    areas = offsets.new_empty((len(boxes),))
    _cuda.masks_area(boxes, offsets, words, areas, execution)
    return areas
