"""Merging groups of masks by vote: torch sorts them, kernels count."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.mask_voting import check_words
from pyifcn._gpu.masks import Arrays, build
from pyifcn._runtime import cpu


def vote(
    boxes: Any,
    offsets: Any,
    words: Any,
    scores: Any,
    groups: Any,
    threshold: float,
    execution: Any,
) -> tuple[Arrays, Any]:
    """The arrays of the merged masks, and their representatives.

    The CPU waits twice: for the number of groups, the size of the regions around them and whether
    all arguments are right, and for the words of the merged masks, which the votes decide.
    """
    torch = sys.modules["torch"]
    _cuda.check_vote(boxes, scores, groups, threshold)
    masks, count = (boxes, offsets, words), len(boxes)
    if count == 0:
        return (boxes.clone(), offsets.clone(), words.clone()), groups.clone()
    order, members, starts, wrong = _by_group(scores, groups)
    elections = boxes.new_empty((count, _cuda.ELECTION_BYTES), dtype=torch.uint8)
    voters = boxes.new_empty((count, _cuda.VOTER_BYTES), dtype=torch.uint8)
    sizes = boxes.new_zeros((_cuda.BALLOT_SIZES + 1,), dtype=torch.int64)
    _cuda.vote_groups(
        *(*masks, scores, members, starts, threshold, elections, voters, sizes, execution)
    )
    sizes[-1] = wrong
    found, _, _, region_words, largest, *_, any_wrong = sizes.tolist()
    if any_wrong:  # the CPU says what it is
        host = [array.cpu() for array in (*masks, scores, groups)]
        cpu.vote(*host, threshold, 1)
    check_words(found, largest)
    regions = boxes.new_empty((region_words,), dtype=torch.uint64)
    _cuda.vote_tally(*masks, elections, found, largest, voters, regions, execution)
    source = (elections, torch.arange(found, device=boxes.device, dtype=torch.int32), regions)
    merged = build(
        found,
        boxes,
        lambda *to: _cuda.masks_box_merged(*source, largest, *to, execution),
        lambda *to: _cuda.masks_fill_merged(*source, largest, *to, execution),
    )
    return merged, order[:found].clone()


def _by_group(scores: Any, groups: Any) -> tuple[Any, Any, Any, Any]:
    """The groups in the order of the result.

    Returns:
        (N,) the masks, first those that were kept, the best first, ties by index; (N,) the masks
        by group, rising in each; (N + 1,) where each group starts there; whether a score or a
        group is none that is allowed.
    """
    torch = sys.modules["torch"]
    count = len(groups)
    indices = torch.arange(count + 1, device=groups.device)
    inside = groups.clamp(0, count - 1)
    kept = groups == indices[:-1]
    wrong = (inside != groups) | ~kept[inside] | ~((scores >= 0) & scores.isfinite())
    order = torch.where(kept, scores + 0.0, -1.0).sort(descending=True, stable=True).indices
    places = torch.empty_like(order)
    places[order] = indices[:-1]
    by_place = places[inside].sort(stable=True)
    starts = torch.searchsorted(by_place.values, indices)
    return order, by_place.indices, starts, wrong.any()
