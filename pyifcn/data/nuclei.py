"""Synthetic fluorescence images of cell nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyifcn.data.sample import Sample
from pyifcn.data.synthetic import Field, Synthetic, blurred, checked_range, smooth_noise
from pyifcn.masks import Masks


@dataclass
class _Nucleus:
    """One nucleus on the pixels of its own box: where, how bright, and its radial distance."""

    x: int
    y: int
    distance: Field  # 0 at the centre, 1 on the outline
    light: float


class SyntheticNuclei(Synthetic):
    """Fields of touching and clustered nuclei as a fluorescence microscope shows them.

    Nuclei are bent ellipses that gather in clusters; where two press against each other every
    pixel belongs to the nearer, so masks touch and never overlap. They vary in size, brightness
    and texture; then come haze from out-of-focus light, uneven illumination, the blur of the
    optics, debris, and the noise of photons and camera. Every sample depends on (seed, index)
    alone.

    Args:
        count: Number of samples.
        size: (height, width) in pixels.
        seed: Any int from 0 on.
        radius: Smallest and largest mean radius of the nuclei of an image, in pixels.
        coverage: Smallest and largest share of an image that its nuclei cover.
        noise: The deviation of the camera's noise, of 255 grey levels.

    Example:
        >>> nuclei = SyntheticNuclei(count=10, size=(128, 160), seed=3)
        >>> sample = nuclei[0]
        >>> sample.image.shape, sample.image.dtype, sample.masks.size
        ((128, 160, 3), dtype('uint8'), (128, 160))
        >>> int(sample.masks.to_dense().sum(0).max())
        1
    """

    def __init__(
        self,
        count: int,
        size: tuple[int, int] = (256, 256),
        seed: int = 0,
        *,
        radius: tuple[float, float] = (7.0, 13.0),
        coverage: tuple[float, float] = (0.15, 0.4),
        noise: float = 2.5,
    ) -> None:
        super().__init__(count, size, seed)
        self.radius = checked_range("radius", radius, 2, min(size) / 4)
        self.coverage = checked_range("coverage", coverage, 0, 0.7)
        if not 0 <= noise <= 255:
            raise ValueError(f"noise must be within 0..255, got {noise}")
        self.noise = noise

    def _draw(self, index: int, rng: np.random.Generator) -> Sample:
        radius = rng.uniform(*self.radius)
        nuclei = _placed(rng, self.size, radius, rng.uniform(*self.coverage))
        owner, light = _rendered(rng, nuclei, self.size, radius)
        masks = _visible(nuclei, owner)
        image = self._photographed(rng, light, radius)
        return Sample(
            image=np.repeat(image[..., None], 3, axis=2),
            masks=masks,
            labels=np.ones(len(masks), dtype=np.int64),
            crowd=np.zeros(len(masks), dtype=bool),
            image_id=index,
            file_name=f"nuclei_{index:05d}.png",
        )

    def _photographed(
        self, rng: np.random.Generator, light: Field, radius: float
    ) -> npt.NDArray[np.uint8]:
        size = self.size
        scene = blurred(light + _debris(rng, size), rng.uniform(0.6, 1.1))
        scene += rng.uniform(0.05, 0.14) * blurred(light, 1.5 * radius)
        scene += rng.uniform(0.02, 0.06) * (1 + 0.15 * smooth_noise(rng, size, 0.3 * max(size)))
        scene *= np.clip(1 + 0.12 * smooth_noise(rng, size, 0.6 * max(size)), 0.6, 1.4)
        scene *= rng.uniform(190, 250) / max(float(np.quantile(scene, 0.998)), 0.5)
        deviation = np.sqrt(self.noise**2 + 0.12 * scene)
        scene += deviation * rng.standard_normal(size)
        return np.clip(np.rint(scene), 0, 255).astype(np.uint8)


def _debris(rng: np.random.Generator, size: tuple[int, int]) -> Field:
    """A few dim specks, far smaller than a nucleus."""
    light = np.zeros(size)
    for _ in range(rng.integers(size[0] * size[1] // 12_000 + 1, endpoint=True)):
        y, x = (rng.integers(1, side - 1) for side in size)
        light[y - 1 : y + 2, x - 1 : x + 2] = rng.uniform(0.05, 0.2) * rng.random((3, 3))
    return light


def _placed(
    rng: np.random.Generator, size: tuple[int, int], radius: float, coverage: float
) -> list[_Nucleus]:
    """Nuclei until `coverage` of the image is filled, most of them beside an earlier one."""
    centres = np.zeros((0, 3))  # y, x, radius
    nuclei: list[_Nucleus] = []
    filled = 0.0
    exposure = rng.uniform(0.45, 0.8)
    gregarious = rng.uniform(0.4, 0.75)
    for _ in range(int(20 * coverage * size[0] * size[1] / radius**2) + 1):
        if filled >= coverage * size[0] * size[1]:
            break
        mean = radius * np.exp(rng.normal(0, 0.18))
        if len(centres) and rng.random() < gregarious:
            y, x, other = centres[rng.integers(len(centres))]
            angle = rng.uniform(0, 2 * np.pi)
            reach = (mean + other) * rng.uniform(0.8, 1.02)
            y, x = y + reach * np.sin(angle), x + reach * np.cos(angle)
        else:
            y, x = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        if not (-mean / 2 < y < size[0] + mean / 2 and -mean / 2 < x < size[1] + mean / 2):
            continue
        gaps = np.hypot(centres[:, 0] - y, centres[:, 1] - x) / (centres[:, 2] + mean)
        if (gaps < 0.78).any():
            continue
        centres = np.vstack([centres, [y, x, mean]])
        nuclei.append(_shaped(rng, size, y, x, mean, exposure * np.exp(rng.normal(0, 0.25))))
        filled += np.pi * mean**2
    return nuclei


def _shaped(
    rng: np.random.Generator, size: tuple[int, int], y: float, x: float, mean: float, light: float
) -> _Nucleus:
    """A bent ellipse around (y, x), on the pixels of the image that it may reach."""
    stretch = np.exp(abs(rng.normal(0, 0.14)))
    turn = rng.uniform(0, np.pi)
    waves = [(k, rng.normal(0, 0.06 / (k - 1)), rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4)]
    reach = 1.6 * stretch * mean + 2
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    bottom, right = min(size[0], int(y + reach) + 1), min(size[1], int(x + reach) + 1)
    dy, dx = np.mgrid[top:bottom, left:right] - np.array([y, x])[:, None, None]
    along = (dx * np.cos(turn) + dy * np.sin(turn)) / stretch
    across = (dy * np.cos(turn) - dx * np.sin(turn)) * stretch
    angle = np.arctan2(across, along)
    outline = 1 + sum(depth * np.cos(k * angle + phase) for k, depth, phase in waves)
    return _Nucleus(left, top, np.hypot(along, across) / (mean * outline), light)


def _rendered(
    rng: np.random.Generator, nuclei: list[_Nucleus], size: tuple[int, int], radius: float
) -> tuple[npt.NDArray[np.int64], Field]:
    """Which nucleus owns each pixel (-1: none), and the light that leaves the specimen."""
    owner = np.full(size, -1, dtype=np.int64)
    nearest = np.ones(size)
    light = np.zeros(size)
    grain = smooth_noise(rng, size, 0.22 * radius)
    chromatin = 0.12 * grain + 0.1 * smooth_noise(rng, size, 0.5 * radius)
    chromatin -= 0.25 * np.clip(smooth_noise(rng, size, 0.35 * radius) - 1.2, 0, 1)  # nucleoli
    for i, nucleus in enumerate(nuclei):
        height, width = nucleus.distance.shape
        part = np.s_[nucleus.y : nucleus.y + height, nucleus.x : nucleus.x + width]
        mine = nucleus.distance < nearest[part]
        owner[part][mine] = i
        nearest[part][mine] = nucleus.distance[mine]
        dome = np.sqrt(np.clip(1 - nucleus.distance**2.6, 0, None))
        texture = np.clip(1 + rng.uniform(0.4, 1.3) * chromatin[part], 0.5, 1.5)
        glow = nucleus.light * (0.25 + 0.75 * dome) * (dome > 0) * texture
        light[part] = np.maximum(light[part], glow)
    return owner, light


def _visible(nuclei: list[_Nucleus], owner: npt.NDArray[np.int64]) -> Masks:
    patches, corners = [], []
    for i, nucleus in enumerate(nuclei):
        height, width = nucleus.distance.shape
        patch = owner[nucleus.y : nucleus.y + height, nucleus.x : nucleus.x + width] == i
        if patch.any():
            patches.append(patch)
            corners.append((nucleus.x, nucleus.y))
    size = owner.shape[0], owner.shape[1]
    return Masks.from_patches(patches, np.array(corners).reshape(-1, 2), size)
