"""`Masks` in device memory as sets of pixels."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.masks import Arrays, build_alike


def masks_combine(
    op: str,
    boxes: Any,
    offsets: Any,
    words: Any,
    other_boxes: Any,
    other_offsets: Any,
    other_words: Any,
    execution: Any,
) -> Arrays:
    """Mask i with mask i, or the only one of either side with each of the other."""
    arguments = op, boxes, offsets, words, other_boxes, other_offsets, other_words
    count = len(other_boxes) if len(boxes) == 1 else len(boxes)
    return build_alike(count, boxes, lambda *to: _cuda.masks_combine(*arguments, *to, execution))


def masks_merge(boxes: Any, offsets: Any, words: Any, intersect: bool, execution: Any) -> Arrays:
    """All masks as one."""
    frame = _common(boxes) if intersect else _hull(boxes)

    def make(to_boxes: Any, to_offsets: Any, to_words: Any) -> None:
        if to_words is not None:
            to_words.view(sys.modules["torch"].int64).zero_()
        to = to_boxes, to_offsets, to_words
        _cuda.masks_merge(boxes, offsets, words, frame, intersect, *to, execution)

    return build_alike(1, boxes, make)


def _common(boxes: Any) -> Any:
    """The box that all share."""
    if len(boxes) == 0:
        return boxes.new_zeros((4,))
    return sys.modules["torch"].cat((boxes[:, :2].amax(0), boxes[:, 2:].amin(0)))


def _hull(boxes: Any) -> Any:
    """The box around all; those of empty masks do not count."""
    if len(boxes) == 0:
        return boxes.new_zeros((4,))
    low = boxes[:, :2].masked_fill(boxes[:, 2:] == 0, 2**31 - 1)
    return sys.modules["torch"].cat((low.amin(0), boxes[:, 2:].amax(0)))
