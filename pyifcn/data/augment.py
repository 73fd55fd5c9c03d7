"""Augmentation: functions from `Sample` to `Sample`.

Those that begin with `random_` draw what they do from a generator:

    >>> from pyifcn.data import SyntheticNuclei
    >>> def augmented(sample, rng):
    ...     sample = random_rescale(random_rotate90(random_flip(sample, rng), rng), rng)
    ...     return random_noise(random_light(random_crop(sample, rng, (96, 96)), rng), rng)
    >>> augmented(SyntheticNuclei(1)[0], np.random.default_rng(0)).image.shape
    (96, 96, 3)

Nothing changes its input. Masks keep apart what was apart: flips and turns are exact, and where
pixels are resampled a mask's pixel takes the value of the source pixel nearest to it (half-pixel
centres), so masks that do not overlap never come to overlap. Instances without a pixel left are
dropped, and `areas` becomes None, for the annotated areas no longer hold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from pyifcn.data.sample import Sample
from pyifcn.data.synthetic import smooth_noise
from pyifcn.masks import Masks

_Image = npt.NDArray[np.uint8]
_Patches = list[npt.NDArray[np.bool_]]


def flip(sample: Sample, axis: int) -> Sample:
    """Mirror a sample: axis 0 top to bottom, axis 1 left to right."""
    if axis not in (0, 1):
        raise ValueError(f"axis must be 0 or 1, got {axis}")
    image = np.ascontiguousarray(np.flip(sample.image, axis))
    boxes = sample.masks.boxes.copy()
    low, high = (1, 3) if axis == 0 else (0, 2)
    boxes[:, [low, high]] = image.shape[axis] - boxes[:, [high, low]]
    patches = [np.flip(sample.masks.patch(i), axis) for i in range(len(boxes))]
    return _moved(sample, image, patches, boxes)


def rotate90(sample: Sample, turns: int) -> Sample:
    """Turn a sample counter-clockwise by `turns` quarters."""
    turns %= 4
    image = np.ascontiguousarray(np.rot90(sample.image, turns))
    x1, y1, x2, y2 = sample.masks.boxes.T
    height, width = sample.masks.size
    corners = {
        0: (x1, y1),
        1: (y1, width - x2),
        2: (width - x2, height - y2),
        3: (height - y2, x1),
    }[turns]
    patches = [np.rot90(sample.masks.patch(i), turns) for i in range(len(sample.masks))]
    return _moved(sample, image, patches, np.stack(corners, axis=1))


def crop(sample: Sample, box: tuple[int, int, int, int]) -> Sample:
    """Cut a sample to a half-open box x1 y1 x2 y2 inside the image."""
    x1, y1, x2, y2 = box
    height, width = sample.masks.size
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"box {box} is not a box inside the image of {height} x {width}")
    patches = [sample.masks.patch(i) for i in range(len(sample.masks))]
    corners = sample.masks.boxes[:, :2] - np.array([x1, y1], dtype=np.int32)
    return _moved(sample, sample.image[y1:y2, x1:x2].copy(), patches, corners)


def rescale(sample: Sample, size: tuple[int, int]) -> Sample:
    """Resample a sample to `size` (height, width).

    The image by linear interpolation, averaging over what a pixel covers when it shrinks.
    """
    height, width = size
    if min(size) < 1:
        raise ValueError(f"size must be positive, got {size}")
    image = Image.fromarray(sample.image).resize((width, height), Image.Resampling.BILINEAR)
    rows = _nearest(height, sample.masks.size[0])
    columns = _nearest(width, sample.masks.size[1])
    patches, corners = [], []
    for i, (x1, y1, x2, y2) in enumerate(sample.masks.boxes.tolist()):
        top, bottom = np.searchsorted(rows, [y1, y2])
        left, right = np.searchsorted(columns, [x1, x2])
        source = sample.masks.patch(i)
        patches.append(source[np.ix_(rows[top:bottom] - y1, columns[left:right] - x1)])
        corners.append((left, top))
    return _moved(sample, np.array(image), patches, np.array(corners).reshape(-1, 2))


def warp(sample: Sample, dy: npt.NDArray[np.float64], dx: npt.NDArray[np.float64]) -> Sample:
    """Show at every pixel (y, x) what was at (y + dy, x + dx), clamped to the image.

    Args:
        sample: The sample.
        dy: float64 (H, W), pixels.
        dx: float64 (H, W), pixels.
    """
    height, width = sample.masks.size
    y = np.clip(np.arange(height)[:, None] + dy, 0, height - 1)
    x = np.clip(np.arange(width)[None] + dx, 0, width - 1)
    near_y, near_x = np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)
    up, left = int(np.ceil(abs(dy).max())), int(np.ceil(abs(dx).max()))
    patches, corners = [], []
    for i, (x1, y1, x2, y2) in enumerate(sample.masks.boxes.tolist()):
        top, start = max(0, y1 - up), max(0, x1 - left)
        part = np.s_[top : y2 + up, start : x2 + left]
        row, column = near_y[part] - y1, near_x[part] - x1
        inside = (row >= 0) & (row < y2 - y1) & (column >= 0) & (column < x2 - x1)
        inside[inside] = sample.masks.patch(i)[row[inside], column[inside]]
        patches.append(inside)
        corners.append((start, top))
    image = _interpolated(sample.image, y, x)
    return _moved(sample, image, patches, np.array(corners).reshape(-1, 2))


def relight(
    sample: Sample, brightness: float = 0.0, contrast: float = 1.0, gamma: float = 1.0
) -> Sample:
    """Change the light: 255 ((v / 255) ** gamma * contrast + brightness), clipped."""
    levels = (np.arange(256) / 255) ** gamma * contrast + brightness
    table = np.clip(np.rint(255 * levels), 0, 255).astype(np.uint8)
    return replace(sample, image=table[sample.image])


def blur(sample: Sample, sigma: float) -> Sample:
    """Blur the image by a Gaussian of `sigma` pixels."""
    image = Image.fromarray(sample.image).filter(ImageFilter.GaussianBlur(sigma))
    return replace(sample, image=np.array(image))


def add_noise(sample: Sample, rng: np.random.Generator, sigma: float) -> Sample:
    """Add independent normal noise of `sigma` grey levels; grey images stay grey."""
    image = sample.image
    grey = bool((image == image[..., :1]).all())
    noise = sigma * rng.standard_normal((*image.shape[:2], 1 if grey else 3))
    return replace(sample, image=np.clip(np.rint(image + noise), 0, 255).astype(np.uint8))


def random_flip(sample: Sample, rng: np.random.Generator) -> Sample:
    """Mirror each axis with probability one half."""
    for axis in np.flatnonzero(rng.random(2) < 0.5).tolist():
        sample = flip(sample, axis)
    return sample


def random_rotate90(sample: Sample, rng: np.random.Generator) -> Sample:
    """Turn by 0, 1, 2 or 3 quarters."""
    return rotate90(sample, int(rng.integers(4)))


def random_rescale(
    sample: Sample, rng: np.random.Generator, low: float = 0.67, high: float = 1.5
) -> Sample:
    """Scale by a factor between `low` and `high`, evenly in its logarithm."""
    factor = np.exp(rng.uniform(np.log(low), np.log(high)))
    height, width = (max(1, round(side * factor)) for side in sample.masks.size)
    return rescale(sample, (height, width))


def random_crop(sample: Sample, rng: np.random.Generator, size: tuple[int, int]) -> Sample:
    """Cut to `size` (height, width), or to the image where that is smaller."""
    height, width = (min(a, b) for a, b in zip(size, sample.masks.size, strict=True))
    y = int(rng.integers(sample.masks.size[0] - height, endpoint=True))
    x = int(rng.integers(sample.masks.size[1] - width, endpoint=True))
    return crop(sample, (x, y, x + width, y + height))


def random_light(
    sample: Sample,
    rng: np.random.Generator,
    brightness: float = 0.1,
    contrast: float = 0.25,
    gamma: float = 0.25,
) -> Sample:
    """Shift by up to `brightness`, and scale and bend by up to 1 + `contrast` and 1 + `gamma`."""
    shift, scale, bend = rng.uniform(-1, 1, 3)
    return relight(sample, shift * brightness, (1 + contrast) ** scale, (1 + gamma) ** bend)


def random_blur(sample: Sample, rng: np.random.Generator, sigma: float = 1.5) -> Sample:
    """Blur by up to `sigma` pixels."""
    return blur(sample, rng.uniform(0, sigma))


def random_noise(sample: Sample, rng: np.random.Generator, sigma: float = 8.0) -> Sample:
    """Add noise of up to `sigma` grey levels."""
    return add_noise(sample, rng, rng.uniform(0, sigma))


def random_elastic(
    sample: Sample, rng: np.random.Generator, distance: float = 3.0, scale: float = 32.0
) -> Sample:
    """Push pixels by about `distance` pixels, smoothly over `scale` pixels."""
    dy, dx = (distance * smooth_noise(rng, sample.masks.size, scale) for _ in range(2))
    return warp(sample, dy, dx)


def _moved(
    sample: Sample, image: _Image, patches: _Patches, boxes: npt.NDArray[np.integer[Any]]
) -> Sample:
    """The sample with another image and its masks in other places, those left empty dropped."""
    masks = Masks.from_patches(patches, boxes, (image.shape[0], image.shape[1]))
    left = masks.area > 0
    return replace(
        sample,
        image=image,
        masks=masks[left],
        labels=sample.labels[left],
        crowd=sample.crowd[left],
        areas=None,
    )


def _nearest(count: int, source: int) -> npt.NDArray[np.int64]:
    """For each of `count` pixels the nearest of `source` pixels across the same length."""
    return (2 * np.arange(count, dtype=np.int64) + 1) * source // (2 * count)


def _interpolated(image: _Image, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> _Image:
    top, left = y.astype(np.intp), x.astype(np.intp)
    bottom = np.minimum(top + 1, image.shape[0] - 1)
    right = np.minimum(left + 1, image.shape[1] - 1)
    down, along = (y - top)[..., None], (x - left)[..., None]
    upper = image[top, left] * (1 - along) + image[top, right] * along
    lower = image[bottom, left] * (1 - along) + image[bottom, right] * along
    mixed: _Image = np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
    return mixed
