"""Duplicates of any detector, merged by a vote of their pixels instead of dropped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat

from pyifcn._array import (
    as_dtype,
    as_number,
    compiled,
    contiguous,
    contiguous_int64,
    describe,
    is_tensor,
)
from pyifcn.masks import Masks

if TYPE_CHECKING:
    from pyifcn._array import AnyArray


class MergedMasks(NamedTuple):
    """One mask for each of G groups, by falling score of the one that was kept, ties by index.

    Attributes:
        masks: G `Masks`.
        scores: (G,), those of the ones that were kept.
        indices: int64 (G,), which ones those are.
    """

    masks: Masks
    scores: Any
    indices: Any


def vote(
    masks: Masks, scores: AnyArray, groups: AnyArray, *, threshold: SupportsFloat = 0.5
) -> MergedMasks:
    """Merges the masks of each group: a pixel is inside where votes for it reach a threshold.

    A mask counts as much as its score. NMS keeps the best of several detections of an object and
    drops what the others know about its outline; this is the other half of it. Groups are what
    `nms`, `batched_nms` and `mask_nms` tell on request: for each mask the index of the one that
    suppressed it.

    Votes are whole numbers in the ratios of the scores, so the answer does not depend on the
    instruction set, a GPU, the number of threads or the order of the masks, and half of equal votes
    is just a half. In a group whose scores are all 0 each mask counts alike. A group of one is that
    mask. Memory is that of the region around one group for each thread; on a GPU, where the CPU
    waits twice, that of the bits of all regions.

    Args:
        masks: N `Masks`.
        scores: (N,), float16, bfloat16, float32 or float64, finite and at least 0.
        groups: (N,) integers; groups[i] is i for those that were kept.
        threshold: Above 0, at most 1; of all votes of the group.

    Returns:
        `MergedMasks`, of the kind of `masks` and `scores`.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, a score is negative or not finite, a group is no mask that was
            kept, or the threshold is out of range.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> dense = np.zeros((4, 8, 16), bool)
        >>> dense[0, 1:6, 2:7] = dense[1, 1:6, 3:8] = dense[2, 2:6, 3:8] = dense[3, :3, 12:] = True
        >>> masks = pyifcn.Masks.from_dense(dense)
        >>> scores = np.array([0.9, 0.8, 0.7, 0.6])
        >>> keep, groups = pyifcn.mask_nms(masks, scores, 0.5, return_groups=True)
        >>> groups
        array([0, 0, 0, 3])
        >>> merged = pyifcn.vote(masks, scores, groups)
        >>> merged.masks.boxes.tolist()
        [[3, 1, 8, 6], [12, 0, 16, 3]]
        >>> merged.scores
        array([0.9, 0.6])
    """
    if not isinstance(masks, Masks):
        raise TypeError(f"masks is {describe(masks)}, expected Masks")
    share = as_number(threshold, "threshold")
    like = masks._arrays[0]
    given = contiguous(scores, "scores", 1, like)
    if is_tensor(given):
        given = given.detach()
    if not (given.is_floating_point() if is_tensor(given) else given.dtype.kind == "f"):
        raise TypeError(
            f"scores is {describe(given)}, expected float16, bfloat16, float32 or float64"
        )
    groups = contiguous_int64(groups, "groups", 1, like)
    module, execution = compiled(like)
    arrays, indices = module.vote(
        *masks._arrays, as_dtype(given, "float64"), groups, share, execution
    )
    if is_tensor(like) and not is_tensor(indices):
        indices = sys.modules["torch"].from_numpy(indices)
    return MergedMasks(Masks._of(masks.size, *arrays, like=masks), given[indices], indices)
