"""Mask voting: who is merged and who votes, then the votes."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda

# What detections become: their shapes depend on whose convention it is.
DROPS_SOME = ("fcis", "pyifcn")


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
    there is no memory for it. A second time it waits where the votes themselves decide how much
    is returned: "fcis" drops thin masks, and the words of a `Masks` are as many as they are.
    """
    torch = sys.modules["torch"]
    given = (masks, boxes, scores, height, width)
    given += (nms_threshold, merge_threshold, binary_threshold, most, convention)
    count, classes = len(boxes), max(scores.shape[1] - 1, 0)
    kept = min(most, count)
    elections = _bytes(boxes, classes * kept, _cuda.ELECTION_BYTES)
    drawn = boxes.new_empty((count, 4), dtype=torch.int32)
    starts = boxes.new_empty((count,), dtype=torch.int64)
    sizes = boxes.new_zeros((_cuda.BALLOT_SIZES,), dtype=torch.int64)
    _cuda.mask_voting_elect(
        given,
        boxes.new_empty((classes, count), dtype=torch.int32),
        boxes.new_empty((2, classes, kept), dtype=torch.int32),
        *(elections, drawn, starts, sizes, execution),
    )
    found, results, votes, region_words, largest_region, mask_words, largest_mask = sizes.tolist()
    check_words(found, largest_region)
    check_words(count, largest_mask)

    full, side = convention == "pyifcn", masks.shape[-1]
    regions = boxes.new_empty((region_words if full else 0,), dtype=torch.uint64)
    places = boxes.new_empty((results,), dtype=torch.int32)
    # Where the words of each mask start, in all, and how many masks there are.
    ends = boxes.new_empty((results + 2,), dtype=torch.int64)
    new_boxes, new_scores = boxes.new_empty((results, 4)), boxes.new_empty((results,))
    merged = boxes.new_empty((0 if full else results, side, side))
    labels = boxes.new_empty((results,), dtype=torch.int64)
    if results > 0:
        _cuda.mask_voting_merge(
            *(given, found, largest_region, largest_mask, elections, drawn, starts),
            _bytes(boxes, votes, _cuda.VOTER_BYTES),
            boxes.new_empty((mask_words,), dtype=torch.uint64),
            *(regions, places, ends[results + 1 :], new_boxes, merged, new_scores, labels),
            execution,
        )
    if not full:
        if results > 0 and convention in DROPS_SOME:
            results = int(ends[-1])
        return new_boxes[:results], merged[:results], new_scores[:results], labels[:results]

    tight = boxes.new_empty((results, 4), dtype=torch.int32)
    source = (elections, places, regions, largest_region)
    _cuda.masks_box_merged(*source, tight, ends[: results + 1], execution)
    size, kept = ends[results:].tolist() if results > 0 else (0, 0)
    words = boxes.new_empty((size,), dtype=torch.uint64)
    _cuda.masks_fill_merged(*source, tight, ends[: results + 1], words, execution)
    arrays = tight[:kept], ends[: kept + 1], words
    return new_boxes[:kept], arrays, new_scores[:kept], labels[:kept]


def check_words(count: int, largest: int) -> None:
    """Refuses `count` masks of up to `largest` words that could not be addressed together.

    Raises:
        ValueError: They could not; then the kernels' own sum of their words may have overflowed.
    """
    if count * largest >= _cuda.MOST_MASK_WORDS:
        raise ValueError("masks would be too large to address")


def _bytes(like: Any, count: int, each: int) -> Any:
    return like.new_empty((count, each), dtype=sys.modules["torch"].uint8)
