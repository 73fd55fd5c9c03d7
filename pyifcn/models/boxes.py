"""Anchor boxes, and boxes told by how they differ from others (Ren et al. 2015, section 3.1.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_LARGEST = math.log(1000 / 16)  # of the logarithms of sides, so that none overflows


def anchors(
    height: int, width: int, stride: int, sides: Sequence[float], ratios: Sequence[float]
) -> Tensor:
    """Boxes of several shapes around every feature.

    Args:
        height: Of the features.
        width: Of the features.
        stride: Pixels between features.
        sides: In features; roots of the areas.
        ratios: Height over width.

    Returns:
        float32 (len(sides) * len(ratios), height, width, 4), x1 y1 x2 y2 in pixels.
    """
    shapes = torch.tensor([(s / r**0.5, s * r**0.5) for s in sides for r in ratios])
    half = shapes[:, None, None] * stride / 2
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = (torch.stack([x, y], -1) + 0.5) * stride
    return torch.cat([centres - half, centres + half], -1)


def encode(boxes: Tensor, origins: Tensor) -> Tensor:
    """How boxes (..., 4) differ from ``origins``: shifts by sides, logarithms of sides."""
    sides, from_sides = boxes[..., 2:] - boxes[..., :2], origins[..., 2:] - origins[..., :2]
    shifts = (boxes[..., 2:] + boxes[..., :2] - origins[..., 2:] - origins[..., :2]) / 2
    return torch.cat([shifts / from_sides, (sides / from_sides).log()], -1)


def decode(differences: Tensor, origins: Tensor, size: tuple[int, int]) -> Tensor:
    """The boxes that ``encode`` told of, clipped to an image of ``size`` (H, W)."""
    sides = origins[..., 2:] - origins[..., :2]
    centres = (origins[..., 2:] + origins[..., :2]) / 2 + differences[..., :2] * sides
    half = sides * differences[..., 2:].clamp(max=_LARGEST).exp() / 2
    edges = origins.new_tensor([size[1], size[0], size[1], size[0]])
    return torch.minimum(torch.cat([centres - half, centres + half], -1).clamp_min(0), edges)


def iou(boxes: Tensor, box: Tensor) -> Tensor:
    """Intersection over union of boxes (N, 4) with one (4,): (N,)."""
    sides = torch.minimum(boxes[:, 2:], box[2:]) - torch.maximum(boxes[:, :2], box[:2])
    common = sides.clamp_min(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return common / (areas - common).clamp_min(1e-6)


def best_match(boxes: Tensor, objects: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each box its highest IoU with an object and which that is; for each object its best box.

    Memory is that of the boxes, whatever the number of objects.

    Args:
        boxes: float (N, 4).
        objects: float (M, 4).

    Returns:
        float (N,), 0 if there are no objects; int64 (N,); and int64 (M,).
    """
    highest, owner = boxes.new_zeros(len(boxes)), boxes.new_zeros(len(boxes), dtype=torch.int64)
    closest = boxes.new_zeros(len(objects), dtype=torch.int64)
    for index, box in enumerate(objects if len(boxes) else []):
        overlap = iou(boxes, box)
        closest[index] = overlap.argmax()
        owner = owner.masked_fill(overlap > highest, index)
        highest = torch.maximum(highest, overlap)
    return highest, owner, closest
