"""Synthetic images of plain shapes that touch and hide each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pyifcn.data.sample import Sample
from pyifcn.data.synthetic import Field, Synthetic, checked_range, smooth_noise
from pyifcn.masks import Masks

_FINE = 3  # samples a pixel and axis; odd, so that the middle one is the pixel's centre


class SyntheticShapes(Synthetic):
    """Discs, boxes, polygons and stars in bright colours on a mottled ground.

    Later shapes lie on earlier ones; a mask holds the pixels whose centres show its shape. A
    shape that would hide more than 70 % of another is left out. Every sample depends on
    (seed, index) alone.

    Args:
        count: Number of samples.
        size: (height, width) in pixels.
        seed: Any int from 0 on.
        shapes: Smallest and largest number of shapes tried in an image.
        radius: Smallest and largest radius of a shape in pixels; None means 1/16 and 1/5 of the
            image's shorter side.

    Attributes:
        categories: The names of the labels 1 to 4.

    Example:
        >>> sample = SyntheticShapes(count=10, size=(96, 96))[0]
        >>> sorted(set(sample.labels.tolist())) <= [1, 2, 3, 4], len(sample.masks) > 0
        (True, True)
    """

    categories = {1: "disc", 2: "box", 3: "polygon", 4: "star"}  # noqa: RUF012

    def __init__(
        self,
        count: int,
        size: tuple[int, int] = (256, 256),
        seed: int = 0,
        *,
        shapes: tuple[int, int] = (6, 16),
        radius: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(count, size, seed)
        side = min(size)
        low, high = checked_range("shapes", shapes, 0, 10_000)
        self.shapes = int(low), int(high)
        self.radius = checked_range("radius", radius or (side / 16, side / 5), 1, side)

    def _draw(self, index: int, rng: np.random.Generator) -> Sample:
        image = _ground(rng, self.size)
        owner = np.full(self.size, -1, dtype=np.int64)
        whole: list[int] = []
        parts: list[tuple[slice, slice]] = []
        labels: list[int] = []
        for _ in range(rng.integers(self.shapes[0], self.shapes[1], endpoint=True)):
            label = int(rng.integers(1, 5))
            centre = rng.uniform(0, 1, 2) * self.size
            inside, part = _shape(rng, label, centre, rng.uniform(*self.radius), self.size)
            colour = _colour(rng)
            middle = inside[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE]
            if not middle.any():
                continue
            covered = owner.copy()
            covered[part][middle] = len(whole)
            left = np.bincount(covered[covered >= 0], minlength=len(whole) + 1)
            if (left[: len(whole)] < 0.3 * np.array(whole, dtype=np.int64)).any():
                continue
            owner = covered
            whole.append(int(left[-1]))
            parts.append(part)
            labels.append(label)
            _paint(image[part], inside, colour)
        image += 3 * rng.standard_normal(image.shape)
        patches = [owner[part] == i for i, part in enumerate(parts)]
        corners = [(columns.start, rows.start) for rows, columns in parts]
        masks = Masks.from_patches(patches, np.array(corners).reshape(-1, 2), self.size)
        return Sample(
            image=np.clip(np.rint(image), 0, 255).astype(np.uint8),
            masks=masks,
            labels=np.array(labels, dtype=np.int64),
            crowd=np.zeros(len(masks), dtype=bool),
            image_id=index,
            file_name=f"shapes_{index:05d}.png",
        )


def _ground(rng: np.random.Generator, size: tuple[int, int]) -> Field:
    tone = rng.uniform(60, 150, 3)
    mottle = 14 * smooth_noise(rng, size, 40.0) + 6 * smooth_noise(rng, size, 8.0)
    return np.asarray(tone + mottle[..., None])


def _colour(rng: np.random.Generator) -> Field:
    """A saturated colour: one channel high, one low, one between."""
    return rng.permutation([rng.uniform(200, 255), rng.uniform(10, 70), rng.uniform(40, 230)])


def _shape(
    rng: np.random.Generator, label: int, centre: Field, radius: float, size: tuple[int, int]
) -> tuple[npt.NDArray[np.bool_], tuple[slice, slice]]:
    """A shape on `_FINE` times finer pixels, and the part of the image that it lies on."""
    reach = 1.5 * radius
    top, left = (max(0, int(c - reach)) for c in centre)
    bottom, right = (min(s, int(c + reach) + 1) for c, s in zip(centre, size, strict=True))
    ys = top + (np.arange((bottom - top) * _FINE) + 0.5) / _FINE
    xs = left + (np.arange((right - left) * _FINE) + 0.5) / _FINE
    dy, dx = ys[:, None] - centre[0], xs[None] - centre[1]
    turn = rng.uniform(0, 2 * np.pi)
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    part = slice(top, bottom), slice(left, right)
    if label == 1:
        return u * u + v * v < radius**2, part
    if label == 2:
        flat = rng.uniform(0.5, 1.0)
        return (abs(u) < radius) & (abs(v) < flat * radius), part
    if label == 3:
        count = int(rng.integers(3, 8))
        angles = 2 * np.pi * (np.arange(count) + rng.uniform(-0.25, 0.25, count)) / count
        radii = np.full(count, radius)
    else:
        count = 2 * int(rng.integers(4, 8))
        angles = 2 * np.pi * np.arange(count) / count
        radii = np.where(np.arange(count) % 2, rng.uniform(0.4, 0.6), 1.15) * radius
    return _inside_polygon(u, v, radii * np.cos(angles), radii * np.sin(angles)), part


def _inside_polygon(u: Field, v: Field, xs: Field, ys: Field) -> npt.NDArray[np.bool_]:
    """Even-odd rule: how many edges a ray to the right crosses."""
    inside = np.zeros(u.shape, dtype=bool)
    for x0, y0, x1, y1 in zip(xs, ys, np.roll(xs, -1), np.roll(ys, -1), strict=True):
        crosses = (y0 <= v) != (y1 <= v)
        rise = y1 - y0 if y1 != y0 else 1.0
        inside ^= crosses & (u < x0 + (v - y0) * (x1 - x0) / rise)
    return inside


def _paint(canvas: Field, inside: npt.NDArray[np.bool_], colour: Field) -> None:
    """Lay the shape on the canvas, its border mixed by the share of each pixel it covers."""
    height, width, _ = canvas.shape
    share = inside.reshape(height, _FINE, width, _FINE).mean((1, 3))[..., None]
    shade = np.linspace(1.08, 0.88, height)[:, None, None]
    canvas += share * (colour * shade - canvas)
