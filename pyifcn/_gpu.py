"""The functions of _cpu for CUDA tensors.

Most are those of _cuda. Around the kernels of NMS and proposing, torch sorts, gathers and lends
memory.
"""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
from pyifcn._cuda import (
    assemble,
    assemble_backward,
    assemble_dense,
    ps_roi,
    ps_roi_backward,
)

__all__ = [
    "assemble",
    "assemble_backward",
    "assemble_dense",
    "batched_nms",
    "nms",
    "propose",
    "propose_logits",
    "ps_roi",
    "ps_roi_backward",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise RuntimeError(f"{name} has no CUDA kernel yet; move the tensors to the CPU")


def nms(boxes: Any, scores: Any, iou_threshold: float, keep: Any, execution: Any) -> int:
    """Writes the kept indices to the front of `keep` and returns how many.

    That number is the one thing that the CPU waits for.
    """
    _cuda.check_nms(boxes, scores, None, iou_threshold, keep)
    return _suppress_one(boxes, scores, None, iou_threshold, keep, execution)


def batched_nms(
    boxes: Any, scores: Any, idxs: Any, iou_threshold: float, keep: Any, execution: Any
) -> int:
    """As `nms`, within each category."""
    _cuda.check_nms(boxes, scores, idxs, iou_threshold, keep)
    if 0 < len(boxes) <= _cuda.MOVED_BOXES:
        moved = boxes + idxs[:, None].to(boxes.dtype) * (boxes.max() + 1)
        return _suppress_one(moved, scores, None, iou_threshold, keep, execution)
    return _suppress_one(boxes, scores, idxs, iou_threshold, keep, execution)


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

    `_suppress` with all windows' tight boxes; the CPU waits once, for the counts.
    """
    torch = _torch()
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
    order = _by_falling_score(objectness)
    counts = _suppress(all_boxes, order, None, iou_threshold, gone, keep, execution)
    windows.copy_(torch.cat([_centres(i, level) for i, level in enumerate(maps)])[keep])
    scores.copy_(objectness.gather(1, keep).sigmoid())
    torch.gather(all_boxes, 1, keep[..., None].expand(-1, -1, 4), out=boxes)
    for image, (height, width) in enumerate(image_sizes.tolist()):
        boxes[image, :, 0::2].clamp_(0, width)
        boxes[image, :, 1::2].clamp_(0, height)
    return counts.clamp(max=most).tolist()


def propose_logits(
    maps: list[Any], windows: Any, image: int, cells: str, out: Any, execution: Any
) -> None:
    """The logits of one image's windows (N, 3): level, y, x. -inf outside the maps."""
    torch = _torch()
    for level, level_maps in enumerate(maps):
        here = windows[:, 0] == level
        centres = windows.clone()
        centres[:, 0] = torch.where(here, image, -1)  # an image that is not there
        assembled = torch.empty_like(out)
        assemble(level_maps, centres, cells, float("-inf"), assembled, execution)
        out.copy_(torch.where(here[:, None, None], assembled, out))


def _suppress_one(
    boxes: Any, scores: Any, idxs: Any | None, iou_threshold: float, keep: Any, execution: Any
) -> int:
    order = _by_falling_score(scores[None])
    groups = None if idxs is None else idxs[None]
    gone = boxes.new_zeros(order.shape, dtype=_torch().bool)
    return int(_suppress(boxes[None], order, groups, iou_threshold, gone, keep[None], execution))


def _suppress(
    boxes: Any,
    order: Any,
    groups: Any | None,
    iou_threshold: float,
    gone: Any,
    keep: Any,
    execution: Any,
) -> Any:
    """Greedy NMS of B images side by side, without waiting for the GPU.

    Args:
        boxes: (B, N, 4) float32 or float64.
        order: (B, N) the boxes by falling score.
        groups: (B, N) int64, boxes of different groups leave each other alone; None: one group.
        iou_threshold: IoU above which the box with the lower score goes.
        gone: (B, N) bool, boxes that are not there; overwritten.
        keep: (B, most) receives the first boxes that are kept.
        execution: What the functions of _cuda take last.

    Returns:
        (B,) how many are kept; once there are `most`, some that follow may not be counted.
    """
    images, count = order.shape
    tiles = -(-count // _cuda.NMS_TILE)
    overlaps = order.new_empty((images, count, _cuda.NMS_TILE // 64))
    counts = order.new_zeros((images, tiles + 1))
    _cuda.suppress(boxes, order, groups, iou_threshold, gone, overlaps, counts, keep, execution)
    return counts[:, -1]


def _torch() -> Any:
    return sys.modules["torch"]


def _by_falling_score(scores: Any) -> Any:
    """The order of each row's scores, stable; NaN of either sign comes first and -0 equals 0."""
    plain = _torch().where(scores.isnan(), float("nan"), scores + 0.0)
    return plain.sort(dim=1, descending=True, stable=True).indices


def _centres(level: int, maps: Any) -> Any:
    """(H W, 3) rows of (level, y, x): every window of a level."""
    torch = _torch()
    ys, xs = (torch.arange(side, device=maps.device) for side in maps.shape[2:])
    grid = torch.meshgrid(torch.full_like(ys[:1], level), ys, xs, indexing="ij")
    return torch.stack(grid, -1).view(-1, 3)
