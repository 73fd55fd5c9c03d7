"""Mask voting: who is merged and who votes, then the votes."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.masks import Arrays


def mask_voting(
    masks: Any,
    boxes: Any,
    scores: Any,
    height: int,
    width: int,
    nms_threshold: float,
    merge_threshold: float,
    binary_threshold: float,
    most: int,
    convention: str,
    execution: Any,
) -> tuple[Any, Any, Any, Any]:
    """Boxes, masks, scores and labels; in "pyifcn" the masks are the arrays of a `Masks`.

    The CPU waits for the number of detections and the size of what is rendered, without which
    there is no memory for it. It waits a second time only where the votes decide how much there
    is: "fcis" drops thin masks, "pyifcn" empty ones, and a `Masks` has the words that it has.
    """
    torch = sys.modules["torch"]
    thresholds = (nms_threshold, merge_threshold, binary_threshold)
    given = (masks, boxes, scores, height, width, *thresholds, most, convention)
    total, classes = len(boxes), max(scores.shape[1] - 1, 0)
    kept = min(most, total)
    elections = _bytes(boxes, classes * kept, _cuda.ELECTION_BYTES)
    rendered = (  # their boxes, and where their words start
        boxes.new_empty((total, 4), dtype=torch.int32),
        boxes.new_empty((total,), dtype=torch.int64),
    )
    sizes = boxes.new_zeros((_cuda.BALLOT_SIZES,), dtype=torch.int64)
    keys = boxes.new_empty((classes, total), dtype=torch.int32)
    best = boxes.new_empty((2, classes, kept), dtype=torch.int32)
    _cuda.mask_voting_elect(given, keys, best, elections, *rendered, sizes, execution)

    results = _results(boxes, min(most, len(elections), 1000))  # while the GPU works
    found, count, votes, region_words, largest_region, mask_words, largest_mask = sizes.tolist()
    check_words(found, largest_region)
    check_words(total, largest_mask)
    if count > len(results[0]):
        results = _results(boxes, count)
    places, ends, new_boxes, new_scores, labels = results
    full, side = convention == "pyifcn", masks.shape[-1]
    merged = boxes.new_empty((0 if full else count, side, side))
    regions = boxes.new_empty((region_words if full else 0,), dtype=torch.uint64)
    if count > 0:
        _cuda.mask_voting_merge(
            *(given, found, count, largest_region, largest_mask, elections, *rendered),
            _bytes(boxes, votes, _cuda.VOTER_BYTES),
            boxes.new_empty((mask_words,), dtype=torch.uint64),
            *(regions, places, ends, new_boxes, merged, new_scores, labels, execution),
        )
    if full:
        merged = _as_masks(count, elections, places, regions, largest_region, ends, execution)
        count = len(merged[0])
    elif convention == "fcis" and count > 0:
        count = int(ends[count + 1])
        merged = merged[:count]
    return new_boxes[:count], merged, new_scores[:count], labels[:count]


def _results(like: Any, most: int) -> tuple[Any, Any, Any, Any, Any]:
    """Room for up to `most` results: places, ends, boxes, scores and labels.

    `ends` is for where the words of each mask start, in all, and for how many masks there are.
    """
    torch = sys.modules["torch"]
    return (
        like.new_empty((most,), dtype=torch.int32),
        like.new_empty((most + 2,), dtype=torch.int64),
        like.new_empty((most, 4)),
        like.new_empty((most,)),
        like.new_empty((most,), dtype=torch.int64),
    )


def _as_masks(
    count: int,
    elections: Any,
    places: Any,
    regions: Any,
    largest: int,
    ends: Any,
    execution: Any,
) -> Arrays:
    """The merged masks, of which there are at most `count`."""
    torch = sys.modules["torch"]
    boxes = places.new_empty((count, 4))
    if count == 0:
        return boxes, ends.new_zeros((1,)), regions
    source = (elections, places[:count], regions, largest)
    _cuda.masks_box_merged(*source, boxes, ends[: count + 1], execution)
    size, kept = ends[count : count + 2].tolist()
    words = places.new_empty((size,), dtype=torch.uint64)
    _cuda.masks_fill_merged(*source, boxes, ends[: count + 1], words, execution)
    return boxes[:kept], ends[: kept + 1], words


def check_words(count: int, largest: int) -> None:
    """Refuses `count` masks of up to `largest` words that could not be addressed together.

    Raises:
        ValueError: They could not; then the kernels' own sum of their words may have overflowed.
    """
    if count * largest >= _cuda.MOST_MASK_WORDS:
        raise ValueError("masks would be too large to address")


def _bytes(like: Any, count: int, each: int) -> Any:
    return like.new_empty((count, each), dtype=sys.modules["torch"].uint8)
