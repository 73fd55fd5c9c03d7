"""Proposals from score maps: every window's box, then NMS of all of them; and their masks."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
from pyifcn._array import widened
from pyifcn._gpu.masks import Arrays, build
from pyifcn._gpu.nms import by_falling_score, suppress


def propose(
    maps: list[Any],
    logits: list[Any],
    strides: list[float],
    image_sizes: Any,
    size: int,
    cells: str,
    mask_threshold: float,
    iou_threshold: float,
    windows: Any,
    boxes: Any,
    scores: Any,
    execution: Any,
) -> list[int]:
    """Fills in the first rows of windows (B, most, 3), boxes and scores; returns how many.

    `suppress` with all windows' tight boxes; the CPU waits once, for the counts.
    """
    torch = sys.modules["torch"]
    images, most = scores.shape
    count = sum(level.shape[2] * level.shape[3] for level in maps)
    all_boxes = boxes.new_empty((images, count, 4))
    gone = boxes.new_empty((images, count), dtype=torch.bool)
    _cuda.propose_boxes(
        maps, logits, strides, size, cells, mask_threshold, all_boxes, gone, execution
    )
    objectness = widened(torch.cat([level.flatten(1) for level in logits], 1))
    gone |= objectness.isnan()
    keep = windows.new_empty((images, most))
    order = by_falling_score(objectness, gone, execution)
    counts = suppress(all_boxes, None, iou_threshold, order, gone, keep, None, execution)
    for image, (height, width) in enumerate(image_sizes.tolist()):
        found = keep[image], counts[image : image + 1], objectness[image], all_boxes[image]
        told = windows[image], boxes[image], scores[image]
        _cuda.proposed(maps, *found, height, width, *told, execution)
    return counts.tolist()


def render(
    logits: Any,
    windows: Any,
    levels: list[tuple[float, int, int]],
    height: int,
    width: int,
    threshold: float,
    execution: Any,
) -> Arrays:
    """The arrays of a `Masks`; the CPU waits once, for the number of words."""
    rendered = logits, windows, levels, height, width, threshold
    return build(
        len(logits),
        logits,
        lambda *to: _cuda.render_boxes(*rendered, *to, execution),
        lambda *to: _cuda.render_words(*rendered, *to, execution),
    )
