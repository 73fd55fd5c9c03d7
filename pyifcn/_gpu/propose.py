"""Proposals from score maps: every window's box, then NMS of all of them."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
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
    objectness = torch.cat([level.flatten(1).double() for level in logits], 1)
    gone |= objectness.isnan()
    keep = windows.new_zeros((images, most))
    order = by_falling_score(objectness, gone, execution)
    counts = suppress(all_boxes, None, iou_threshold, order, gone, keep, None, execution)
    windows.copy_(torch.cat([_centres(i, level) for i, level in enumerate(maps)])[keep])
    scores.copy_(objectness.gather(1, keep).sigmoid())
    torch.gather(all_boxes, 1, keep[..., None].expand(-1, -1, 4), out=boxes)
    for image, (height, width) in enumerate(image_sizes.tolist()):
        boxes[image, :, 0::2].clamp_(0, width)
        boxes[image, :, 1::2].clamp_(0, height)
    return counts.tolist()


def propose_logits(
    maps: list[Any], windows: Any, image: int, cells: str, out: Any, execution: Any
) -> None:
    """The logits of one image's windows (N, 3): level, y, x. -inf outside the maps."""
    torch = sys.modules["torch"]
    for level, level_maps in enumerate(maps):
        here = windows[:, 0] == level
        centres = windows.clone()
        centres[:, 0] = torch.where(here, image, -1)  # an image that is not there
        assembled = torch.empty_like(out)
        _cuda.assemble(level_maps, centres, cells, float("-inf"), assembled, execution)
        out.copy_(torch.where(here[:, None, None], assembled, out))


def _centres(level: int, maps: Any) -> Any:
    """(H W, 3) rows of (level, y, x): every window of a level."""
    torch = sys.modules["torch"]
    ys, xs = (torch.arange(side, device=maps.device) for side in maps.shape[2:])
    grid = torch.meshgrid(torch.full_like(ys[:1], level), ys, xs, indexing="ij")
    return torch.stack(grid, -1).view(-1, 3)
