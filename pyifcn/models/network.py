"""What all networks share: a backbone, test settings, and images scored at several scales."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyifcn.data.images import read_image, rgb
from pyifcn.masks import Masks
from pyifcn.models.preprocess import preprocess as make_preprocess

__all__ = ["Backbone", "Instances", "Network", "TestSettings"]

Pixels: TypeAlias = npt.NDArray[np.uint8] | Tensor
Image: TypeAlias = Pixels | PIL.Image.Image | str | os.PathLike[str]

_jit: Any = torch.jit

# Larger images go through a backbone that tells its reach in tiles of about this side in pixels.
_TILE = 1024
_TOLD = ("stride", "channels")  # what a backbone says of itself
_OVERSHOOT = 0.25  # how far resizing with cubics may leave 0..1


class Backbone(Protocol):
    """What InstanceFCN needs of a backbone, an ``nn.Module``.

    Attributes:
        stride: Pixels between neighbouring features.
        channels: Channels of the features.

    It maps (B, 3, H, W) to (B, channels, ceil(H / stride), ceil(W / stride)). An attribute
    ``reach`` lets large images be computed in tiles: so many pixels away nothing changes a
    feature or its neighbours, and tiles that start at multiples of it are sampled alike.
    """

    stride: int
    channels: int

    def __call__(self, images: Tensor, /) -> Tensor:
        """Maps images to features."""


@dataclass(frozen=True)
class TestSettings:
    """How a network is used, chosen with its weights and kept beside them.

    Attributes:
        scales: Factors by which the image is resized, one a pyramid level.
        short_sides: Shorter sides to resize to instead, as in the paper; used if not empty.
        mask_threshold: Mask logits above it are inside.
        iou_threshold: Of the NMS on tight boxes among proposals.
        max_proposals: At most so many proposals an image.
        peaks: Propose only windows whose objectness is highest among their eight neighbours.
        score_threshold: ``segment`` leaves out instances with a lower score.
        mask_iou: ``segment`` leaves out a mask whose IoU with a better one is higher.
        mask_overlap: The same for the overlap over the smaller mask's area.
        min_area: ``segment`` leaves out masks of fewer pixels.

    Raises:
        ValueError: If a value is out of its range, or there is no scale.
    """

    __test__ = False  # not a test case, whatever its name says to pytest

    scales: tuple[float, ...] = ()
    short_sides: tuple[int, ...] = (119, 178, 267, 400, 600, 900)
    mask_threshold: float = 0.0
    iou_threshold: float = 0.8
    max_proposals: int = 1000
    peaks: bool = False
    score_threshold: float = 0.5
    mask_iou: float = 0.5
    mask_overlap: float = 0.8
    min_area: int = 0

    def __post_init__(self) -> None:
        if not self.scales and not self.short_sides:
            raise ValueError("scales and short_sides must not both be empty")
        for name in ("scales", "short_sides"):
            if not all(0 < value < math.inf for value in getattr(self, name)):
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("iou_threshold", "score_threshold", "mask_iou", "mask_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, got {getattr(self, name)}")
        if math.isnan(self.mask_threshold):
            raise ValueError(f"mask_threshold must be a number, got {self.mask_threshold}")
        check_positive(max_proposals=self.max_proposals)
        if self.min_area < 0:
            raise ValueError(f"min_area must not be negative, got {self.min_area}")


class Instances(NamedTuple):
    """The instances found in an image, best first.

    Attributes:
        masks: N masks of the image's size.
        scores: float32 (N,) in 0..1.
        labels: int64 (N,), categories by the data set's ids; 1 of a network that knows none.
    """

    masks: Masks
    scores: Tensor
    labels: Tensor


class Level(NamedTuple):
    """What a network says of an image at one scale.

    Attributes:
        outputs: What ``score`` gave for a batch of one.
        stride: Pixels of the image between neighbouring features.
        size: (height, width) of the rescaled image in pixels.
    """

    outputs: tuple[Tensor, ...]
    stride: float
    size: tuple[int, int]


class Network(nn.Module, ABC):
    """A backbone with a head that finds instances.

    Heads differ in ``score``, what they compute everywhere in an image, and ``predict``, what they
    make of it. Images, scales and files are handled alike for all.

    Args:
        backbone: See ``Backbone``.
        window: Side of a window in features. Heads without windows are trained on the same crops,
            in which a random instance fills a part of one.
        width: Channels inside the head.
        preprocess: What the backbone looks at: "rgb", values in 0..1, or "percentile".
        settings: How the network is used.

    Raises:
        TypeError: If the backbone has no ``stride`` or ``channels``.
        ValueError: If a size is not positive.
    """

    kind: ClassVar[str]
    """The head's name in files and for ``pyifcn.training.network``."""
    options: ClassVar[tuple[str, ...]] = ("window", "width")
    """Names of the constructor's arguments, and attributes, that a file of weights keeps."""
    categories: dict[int, str]
    """Names by the data set's ids, rising; empty where the head knows none."""

    def __init__(
        self,
        backbone: nn.Module,
        window: int,
        *,
        width: int,
        preprocess: str,
        settings: TestSettings | None,
    ) -> None:
        super().__init__()
        if not all(isinstance(getattr(backbone, name, None), int) for name in _TOLD):
            raise TypeError(
                "backbone must have the integers stride and channels, which "
                f"{type(backbone).__name__} lacks: wrap it in pyifcn.models.adapt"
            )
        check_positive(window=window, width=width)
        self.backbone = backbone
        self.window = window
        self.width = width
        self.categories = {}
        self.preprocess = make_preprocess(preprocess)
        self.settings = settings or TestSettings()

    @property
    def stride(self) -> int:
        """Pixels between neighbouring features."""
        return int(cast(Backbone, self.backbone).stride)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Scores images (B, 3, H, W), RGB in 0..1, at their own size, as ``score`` does.

        Raises:
            TypeError: If they are of another dtype or shape.
        """
        _check_batch(images)
        return self.score(self.preprocess.prepare(images))

    @abstractmethod
    def score(self, planes: Tensor) -> tuple[Tensor, ...]:
        """Scores planes (B, planes, H, W) that ``preprocess.prepare`` made.

        Returns:
            Maps (B, ..., h, w) with h = ceil(H / stride) and w = ceil(W / stride).
        """

    @abstractmethod
    def predict(
        self,
        image: Image,
        *,
        scales: Sequence[float] | None = None,
        score_threshold: float | None = None,
    ) -> Instances:
        """Finds the instances of one image.

        Args:
            image: RGB: a uint8 array (H, W, 3), a tensor (3, H, W), uint8 or float in 0..1, a PIL
                image, or the path of a file, read by ``pyifcn.data.read_image``.
            scales: Factors by which to resize; those of ``settings`` if None.
            score_threshold: Leave out lower scores; that of ``settings`` if None.

        Returns:
            Masks, scores and labels, best first, in tensors on the network's device.

        Raises:
            TypeError: If the image is of another kind.
            ValueError: If the image is empty, not in 0..1 (which a GPU is not asked) or in a file
                that cannot be read, or a scale is not positive.
        """

    def segment(
        self,
        image: Image,
        *,
        scales: Sequence[float] | None = None,
        max_proposals: int | None = None,
        score_threshold: float | None = None,
    ) -> tuple[Masks, Tensor]:
        """The masks and scores of ``predict``, at most ``max_proposals``."""
        found = self.predict(image, scales=scales, score_threshold=score_threshold)
        return found.masks[:max_proposals], found.scores[:max_proposals]

    @torch.inference_mode()
    def levels(self, image: Image, scales: Sequence[float] | None = None) -> list[Level]:
        """Scores one image at every scale.

        Args:
            image: As in ``predict``.
            scales: Factors by which to resize; those of ``settings`` if None. Those that leave no
                pixel are passed over.

        Raises:
            TypeError: If the image is of another kind.
            ValueError: As ``predict``, or if every scale is passed over.
        """
        weight = next(self.parameters())
        planes = self.preprocess.prepare(_as_tensor(image).to(weight.device, weight.dtype)[None])
        height, width = planes.shape[-2:]
        if scales is None:
            sides = self.settings.short_sides
            scales = self.settings.scales or [side / min(height, width) for side in sides]
        levels = []
        for scale in scales:
            if not scale > 0:
                raise ValueError(f"scales must be positive, got {scale}")
            if int(min(height, width) * scale) < 1:
                continue
            resized = _resize(planes, scale)
            size = resized.shape[-2], resized.shape[-1]
            levels.append(Level(self._score_in_tiles(resized), self.stride / scale, size))
        if not levels:
            raise ValueError(f"scales leave nothing of an image of {height} x {width}: {scales}")
        return levels

    def _score_threshold(self, asked: float | None) -> float:
        return self.settings.score_threshold if asked is None else asked

    def _score_in_tiles(self, planes: Tensor) -> tuple[Tensor, ...]:
        """``score`` of one image, in tiles when it is large, to bound the memory."""
        planes = planes.contiguous(memory_format=torch.channels_last)
        height, width = planes.shape[-2:]
        reach = getattr(self.backbone, "reach", None)
        if reach is None or height * width <= _TILE**2:
            return tuple(output.contiguous() for output in self.score(planes))
        size = -(-height // self.stride), -(-width // self.stride)
        wholes: list[Tensor] = []
        for rows, inner_rows, to_rows in _tiles(height, self.stride, reach):
            for columns, inner_columns, to_columns in _tiles(width, self.stride, reach):
                parts = self.score(planes[..., rows, columns])
                wholes = wholes or [part.new_empty(*part.shape[:-2], *size) for part in parts]
                for whole, part in zip(wholes, parts, strict=True):
                    whole[..., to_rows, to_columns] = part[..., inner_rows, inner_columns]
                del parts, part
                _return_free_memory()
        return tuple(wholes)


def map_branch(channels: int, width: int, maps: int) -> nn.Sequential:
    """A 1x1 convolution with ReLU and a 3x3 one, to so many maps."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, maps, 3, padding=1),
    )


def check_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be positive, got {value}")


def check_categories(categories: Mapping[int, str]) -> dict[int, str]:
    """Categories by rising id: class c of a head, from 1 on, is the c-th of them.

    Raises:
        ValueError: If there are none.
    """
    if not categories:
        raise ValueError("categories must name at least one category, got none")
    return {int(label): str(categories[label]) for label in sorted(categories)}


def _return_free_memory() -> None:
    """Gives freed memory back to the system: glibc keeps what tiles of other sizes cannot use."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _tiles(length: int, stride: int, reach: int) -> Iterator[tuple[slice, slice, slice]]:
    """Tiles along an axis: their pixels, their own among their features, and those among all."""
    core = max(_TILE // reach - 2, 1) * reach
    for start in range(0, length, core):
        before = min(start, reach)
        count = -(-min(core, length - start) // stride)
        inner, target = before // stride, start // stride
        yield (
            slice(start - before, start + core + reach),
            slice(inner, inner + count),
            slice(target, target + count),
        )


def pixels_of(image: Image) -> Pixels:
    """An array or a tensor as it is, and the pixels of a path's file or of a PIL image."""
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if isinstance(image, PIL.Image.Image):
        return rgb(image)
    if not isinstance(image, (np.ndarray, Tensor)):
        raise TypeError(
            f"image must be an array, a tensor, a PIL image or a path, got {type(image).__name__}"
        )
    return image


def size_of(image: Pixels) -> tuple[int, int]:
    """An image's height and width."""
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else image.shape[-2:]
    return height, width


def _as_tensor(image: Image) -> Tensor:
    """An RGB image as float (3, H, W) in 0..1."""
    image = pixels_of(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise TypeError(
                f"image must be uint8 (H, W, 3), got {image.dtype} {tuple(image.shape)}"
            )
        tensor = torch.tensor(image).permute(2, 0, 1)
    else:
        known = image.is_floating_point() or image.dtype == torch.uint8
        if not known or image.ndim != 3 or image.shape[0] != 3:
            raise TypeError(
                "image must be float (3, H, W) in 0..1 or uint8 (3, H, W), "
                f"got {image.dtype} {tuple(image.shape)}"
            )
        tensor = image
    if not tensor.numel():
        raise ValueError(f"image must not be empty, got {tuple(image.shape)}")
    if tensor.dtype == torch.uint8:
        return tensor.float() / 255
    _check_range(tensor)
    return tensor


def _check_range(image: Tensor) -> None:
    if image.device.type != "cpu":  # the host would wait for the device
        return
    low, high = (value.item() for value in image.aminmax())
    if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):
        raise ValueError(
            f"image must be float (3, H, W) in 0..1, got values from {low:g} to {high:g}"
        )


def _check_batch(images: Tensor) -> None:
    if _jit.is_tracing():  # which would record the comparisons
        return
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor (B, 3, H, W), got {type(images).__name__}")
    if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
        raise TypeError(
            f"images must be float (B, 3, H, W), got {images.dtype} {tuple(images.shape)}"
        )


def _resize(planes: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return planes
    return F.interpolate(
        planes,
        scale_factor=scale,
        mode="bilinear",
        align_corners=False,
        antialias=True,
        recompute_scale_factor=False,
    )
