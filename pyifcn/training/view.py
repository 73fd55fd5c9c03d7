"""Views of images: what a network sees in a training step, rescaled, cropped and changed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pyifcn.masks import Masks
from pyifcn.models.preprocess import Preprocess
from pyifcn.training.config import Config

__all__ = ["Scene", "layers_of", "make_scene", "make_view"]

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Scene:
    """An image prepared for a network, and its instances.

    Attributes:
        pyramid: Planes float16 (C, H, W) and their halves, quarters, ...
        layers: int32 (L, H, W); pixels of instance i are i + 1 in one layer, those of crowds -1.
            Instances that overlap stand in different layers.
        boxes: float64 (N, 4) of the instances that have pixels, crowds excluded, x1 y1 x2 y2 in
            pixels.
        labels: int64, the category of instance i at i.
    """

    pyramid: tuple[Tensor, ...]
    layers: Ints
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


def layers_of(masks: Masks, labels: Iterable[int]) -> Ints:
    """Paints masks into as few label images as keep overlapping ones apart.

    Args:
        masks: ``Masks`` of one image.
        labels: What to paint each mask with, not 0.

    Returns:
        int32 (L, H, W), L at least 1.
    """
    values = np.fromiter(labels, np.int32)
    depth = _depths(masks)
    if not depth.any():
        return np.asarray(masks.to_labels(values)[None])
    return np.stack(
        [masks[depth == k].to_labels(values[depth == k]) for k in range(depth.max() + 1)]
    )


def _depths(masks: Masks) -> npt.NDArray[np.int64]:
    """For each mask the first layer in which it meets none of the masks before it."""
    depth = np.zeros(len(masks), np.int64)
    rows = 256  # so that many masks need no table of all pairs
    for begin in range(0, len(masks), rows):
        meets = masks[begin : begin + rows].iou(masks[: begin + rows]) > 0
        for row in np.flatnonzero(meets.sum(1) > 1).tolist():
            index = begin + row
            taken = set(depth[:index][meets[row, :index]].tolist())
            depth[index] = next(k for k in range(len(taken) + 1) if k not in taken)
    return depth


def make_scene(sample: Any, preprocess: Preprocess) -> Scene:
    """Prepares a ``Sample`` for views."""
    image = torch.tensor(sample.image).permute(2, 0, 1)
    planes = preprocess.prepare(image[None].float() / 255)
    pyramid = [planes[0].half()]
    while min(pyramid[-1].shape[-2:]) >= 64 and len(pyramid) < 4:
        planes = F.avg_pool2d(planes, 2, ceil_mode=True, count_include_pad=False)
        pyramid.append(planes[0].half())
    crowd = np.asarray(sample.crowd, bool)
    numbers = np.where(crowd, -1, np.cumsum(~crowd))
    layers = layers_of(sample.masks, numbers.tolist())
    boxes = sample.masks.boxes[~crowd & (sample.masks.area > 0)].astype(np.float64)
    return Scene(tuple(pyramid), layers, boxes, np.asarray(sample.labels, np.int64)[~crowd])


def make_view(
    scene: Scene, config: Config, extent: float, rng: np.random.Generator
) -> tuple[Tensor, Ints]:
    """Draws a view of a scene.

    Args:
        scene: The image.
        config: How to look at it.
        extent: Side of a window in pixels of the view.
        rng: Source of everything random.

    Returns:
        Planes float32 (C, h, w) and layers int32 (L, h, w).
    """
    height, width = scene.layers.shape[-2:]
    if config.view == "crop":
        size, scale, centre = _draw_crop(scene, config, extent, rng)
    else:
        scale = float(rng.choice(config.short_sides)) / min(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        centre = np.array((width / 2, height / 2))
    to_source = _draw_linear_map(config, rng) / scale
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    offsets = np.stack([x + 0.5 - size[1] / 2, y + 0.5 - size[0] / 2])
    if config.elastic:
        offsets += _draw_displacement(size, config.elastic, rng)
    source = np.einsum("ij,jyx->yxi", to_source, offsets) + centre

    level = min(max(math.floor(math.log2(1 / scale) + 0.3), 0), len(scene.pyramid) - 1)
    planes = scene.pyramid[level].float()
    fine = np.array(planes.shape[:0:-1]) * 2.0**level
    planes = _sample(planes, source / fine, "bilinear")
    labels = torch.from_numpy(scene.layers).float()
    layers = _sample(labels, source / (width, height), "nearest")
    if config.intensity:
        planes = _change_intensity(planes, config.intensity, rng)
    return planes, layers.numpy().astype(np.int32)


def _draw_crop(
    scene: Scene, config: Config, extent: float, rng: np.random.Generator
) -> tuple[tuple[int, int], float, npt.NDArray[np.float64]]:
    """Size, scale and centre (x, y) of a square in which an instance fills part of a window."""
    full = np.array(scene.layers.shape[:0:-1], float)
    if len(scene.boxes):
        box = scene.boxes[rng.integers(len(scene.boxes))]
        side = max(box[2] - box[0], box[3] - box[1])
        middle = (box[:2] + box[2:]) / 2
    else:
        side, middle = extent / 2, full * rng.random(2)
    scale = float(np.clip(extent * rng.uniform(*config.crop_fill) / side, *config.crop_scale))
    half = config.crop / 2 / scale
    centre = middle + half * rng.uniform(-0.9, 0.9, 2)
    centre = np.clip(centre, np.minimum(half, full - half), np.maximum(half, full - half))
    return (config.crop, config.crop), scale, centre


def _draw_linear_map(config: Config, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A random flip, turn and stretch, from the view's offsets to the scaled image's."""
    matrix = np.eye(2)
    if rng.random() < 0.5:
        matrix = matrix @ np.diag((-1.0, 1.0))
    if config.flip == "all":
        if rng.random() < 0.5:
            matrix = matrix @ np.diag((1.0, -1.0))
        if rng.random() < 0.5:
            matrix = matrix @ np.array(((0.0, 1.0), (1.0, 0.0)))
    if rng.random() < config.rotate:
        angle = rng.uniform(0, 2 * math.pi)
        cos, sin = math.cos(angle), math.sin(angle)
        matrix = matrix @ np.array(((cos, -sin), (sin, cos)))
        stretch = math.exp(rng.uniform(-0.15, 0.15))
        matrix = np.diag((stretch, 1 / stretch)) @ matrix
    return matrix


def _draw_displacement(
    size: tuple[int, int], largest: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    knots = [2 + math.ceil(side / 40) for side in size]
    coarse = rng.uniform(-1, 1, (1, 2, *knots)) * largest * rng.random()
    smooth = F.interpolate(torch.from_numpy(coarse), size, mode="bicubic", align_corners=True)
    return smooth[0].numpy()


def _sample(planes: Tensor, where: npt.NDArray[np.float64], mode: str) -> Tensor:
    """Values of planes (C, H, W) at ``where`` (h, w, 2), x and y in 0..1; 0 outside."""
    grid = torch.from_numpy((where * 2 - 1).astype(np.float32))[None]
    return F.grid_sample(planes[None], grid, mode, "zeros", align_corners=False)[0]


def _change_intensity(planes: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    gamma = math.exp(0.4 * strength * rng.uniform(-1, 1))
    gain = math.exp(strength * rng.uniform(-0.8, 0.25))
    planes = planes.clamp(0, 1) ** gamma * gain
    if rng.random() < 0.3:
        planes = planes + 0.15 * strength * rng.uniform(-0.5, 1)
    if rng.random() < 0.25:
        planes = _blur(planes, strength * rng.uniform(0.4, 1.2))
    if rng.random() < 0.3:
        noise = rng.standard_normal(planes.shape, np.float32)
        planes = planes + torch.from_numpy(noise) * (0.06 * strength * rng.random())
    return planes.clamp(0, 1)


def _blur(planes: Tensor, sigma: float) -> Tensor:
    taps = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-(taps**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(len(planes), 1, 1, 7)
    padded = F.pad(planes[None], (3, 3, 3, 3), mode="replicate")
    rows = F.conv2d(padded, kernel, groups=len(planes))
    return F.conv2d(rows, kernel.transpose(2, 3), groups=len(planes))[0]
