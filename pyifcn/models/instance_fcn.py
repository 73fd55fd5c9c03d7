"""InstanceFCN (Dai, He, Li, Ren, Sun, ECCV 2016) on any backbone."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pyifcn
from pyifcn._array import as_numpy
from pyifcn.masks import Masks
from pyifcn.models.preprocess import preprocess as make_preprocess

if TYPE_CHECKING:
    from pyifcn.ops.propose import Proposals

__all__ = ["Backbone", "InstanceFCN", "TestSettings"]

Image: TypeAlias = npt.NDArray[np.uint8] | Tensor

# Larger images go through a backbone that tells its reach in tiles of about this side in pixels.
_TILE = 1024


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


class InstanceFCN(nn.Module):
    """A fully convolutional network that scores every window and paints parts of instances.

    Two branches stand on a backbone's features (paper, section 3.3): a 1x1 convolution with ReLU
    and a 3x3 one give grid x grid instance-sensitive score maps; a 3x3 convolution with ReLU and
    a 1x1 one give objectness, a score of the window centred at each feature.

    Args:
        backbone: See ``Backbone``.
        grid: K, cells along a window's side.
        window: M, a window's side in features.
        width: Channels inside the branches.
        preprocess: What the backbone looks at: "rgb", values in 0..1, or "percentile".
        settings: How ``propose`` and ``segment`` use the network.

    Raises:
        ValueError: If a size is not positive or the window is smaller than the grid.

    Example:
        >>> from pyifcn.models import ResidualPyramid
        >>> model = InstanceFCN(ResidualPyramid(), width=32).eval()
        >>> score_maps, objectness = model(torch.rand(1, 3, 60, 81))
        >>> tuple(score_maps.shape), tuple(objectness.shape)
        ((1, 25, 30, 41), (1, 30, 41))
    """

    def __init__(
        self,
        backbone: nn.Module,
        grid: int = 5,
        window: int = 21,
        *,
        width: int = 512,
        preprocess: str = "rgb",
        settings: TestSettings | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("grid", grid), ("window", window), ("width", width)):
            if value < 1:
                raise ValueError(f"{name} must be positive, got {value}")
        if window < grid:
            raise ValueError(f"window must be at least grid, got {window} and {grid}")
        self.backbone = backbone
        self.grid = grid
        self.window = window
        self.width = width
        self.preprocess = make_preprocess(preprocess)
        self.settings = settings or TestSettings()
        channels = cast(Backbone, backbone).channels
        self.masks = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, grid * grid, 3, padding=1),
        )
        self.objectness = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 1, 1),
        )

    @property
    def stride(self) -> int:
        """Pixels between neighbouring features."""
        return int(cast(Backbone, self.backbone).stride)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores images at their own size.

        Args:
            images: float (B, 3, H, W) RGB in 0..1.

        Returns:
            Logits: score maps (B, K*K, h, w) and objectness (B, h, w), with
            h = ceil(H / stride) and w = ceil(W / stride).
        """
        return self.score(self.preprocess.prepare(images))

    def score(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """The same for planes (B, planes, H, W) that ``preprocess.prepare`` made."""
        features = self.backbone(self.preprocess(planes))
        return self.masks(features), self.objectness(features).squeeze(-3)

    def propose(
        self,
        images: Image | Sequence[Image],
        *,
        scales: Sequence[float] | None = None,
        max_proposals: int | None = None,
        iou_threshold: float | None = None,
    ) -> Proposals[Tensor] | list[Proposals[Tensor]]:
        """Proposes instances from a pyramid of rescaled images (paper, section 3.4).

        Args:
            images: uint8 arrays (H, W, 3) or float tensors (3, H, W) in 0..1, RGB: one, or a
                list, each of its own size, or a tensor (B, 3, H, W).
            scales: Factors by which to resize; those of ``settings`` if None.
            max_proposals: At most so many an image; that of ``settings`` if None.
            iou_threshold: Of the NMS on tight boxes; that of ``settings`` if None.

        Returns:
            Proposals by falling score, or a list of them for a list of images.

        Raises:
            TypeError: If an image is of another kind.
            ValueError: If an image is empty or a scale not positive.
        """
        if isinstance(images, (list, tuple)) or (isinstance(images, Tensor) and images.ndim == 4):
            return [self._propose(im, scales, max_proposals, iou_threshold) for im in images]
        return self._propose(cast(Image, images), scales, max_proposals, iou_threshold)

    def segment(
        self,
        image: Image,
        *,
        scales: Sequence[float] | None = None,
        max_proposals: int | None = None,
        score_threshold: float | None = None,
    ) -> tuple[Masks, Tensor]:
        """Finds the instances of one image: proposals without the doubtful and the repeated.

        Args:
            image: uint8 (H, W, 3) or float (3, H, W) in 0..1, RGB.
            scales: As in ``propose``.
            max_proposals: At most so many proposals to choose from; if None, all that score enough.
            score_threshold: Leave out lower scores; that of ``settings`` if None.

        Returns:
            N masks and their scores in 0..1, best first, in tensors on the network's device.
        """
        threshold = self._score_threshold(score_threshold)
        most = self.settings.max_proposals if max_proposals is None else max_proposals
        pyramid, size = self.pyramid(image, scales=scales), _size(image)
        found = self.search(*pyramid, size, max_proposals=most)
        while max_proposals is None and 0 < len(found) == most and found.scores[-1] >= threshold:
            most *= 4
            found = self.search(*pyramid, size, max_proposals=most)
        return self.select(found, threshold)

    def select(
        self, proposals: Proposals[Tensor], score_threshold: float | None = None
    ) -> tuple[Masks, Tensor]:
        """Leaves the doubtful and the repeated out of an image's proposals.

        Args:
            proposals: What ``propose`` found.
            score_threshold: Leave out lower scores; that of ``settings`` if None.

        Returns:
            N masks and their scores in 0..1, best first, in tensors on the proposals' device.
        """
        settings = self.settings
        threshold = settings.score_threshold if score_threshold is None else score_threshold
        likely = proposals[: int((proposals.scores >= threshold).sum())]
        distinct = likely[_distinct(likely.masks, settings.mask_iou, settings.mask_overlap)]
        return distinct.masks, distinct.scores

    @torch.inference_mode()
    def pyramid(
        self, image: Image, *, scales: Sequence[float] | None = None
    ) -> tuple[list[Tensor], list[Tensor], list[float]]:
        """Scores one image at every scale, what ``propose`` searches.

        Args:
            image: uint8 (H, W, 3) or float (3, H, W) in 0..1, RGB.
            scales: As in ``propose``.

        Returns:
            For each level score maps (1, K*K, h, w), objectness (1, h, w) and the stride in
            pixels of the image.
        """
        weight = next(self.parameters())
        planes = self.preprocess.prepare(_as_tensor(image).to(weight.device, weight.dtype)[None])
        height, width = planes.shape[-2:]
        if scales is None:
            sides = self.settings.short_sides
            scales = self.settings.scales or [side / min(height, width) for side in sides]
        score_maps, objectness, strides = [], [], []
        for scale in scales:
            if not scale > 0:
                raise ValueError(f"scales must be positive, got {scale}")
            if int(min(height, width) * scale) < 1:
                continue
            maps, scores = self._score_in_tiles(_resize(planes, scale))
            score_maps.append(maps)
            objectness.append(_only_peaks(scores) if self.settings.peaks else scores)
            strides.append(self.stride / scale)
        return score_maps, objectness, strides

    def search(
        self,
        score_maps: list[Tensor],
        objectness: list[Tensor],
        strides: list[float],
        image_size: tuple[int, int],
        *,
        max_proposals: int | None = None,
        iou_threshold: float | None = None,
    ) -> Proposals[Tensor]:
        """Proposes instances from what ``pyramid`` gave for an image of ``image_size`` (H, W)."""
        settings = self.settings
        return pyifcn.propose(
            score_maps,
            objectness,
            strides=strides,
            image_size=image_size,
            size=self.window,
            mask_threshold=settings.mask_threshold,
            iou_threshold=settings.iou_threshold if iou_threshold is None else iou_threshold,
            max_proposals=settings.max_proposals if max_proposals is None else max_proposals,
        )[0]

    def _score_threshold(self, asked: float | None) -> float:
        return self.settings.score_threshold if asked is None else asked

    def _propose(
        self,
        image: Image,
        scales: Sequence[float] | None,
        max_proposals: int | None,
        iou_threshold: float | None,
    ) -> Proposals[Tensor]:
        levels = self.pyramid(image, scales=scales)
        size = image.shape[:2] if isinstance(image, np.ndarray) else image.shape[-2:]
        return self.search(
            *levels,
            (size[0], size[1]),
            max_proposals=max_proposals,
            iou_threshold=iou_threshold,
        )

    def _score_in_tiles(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """``score`` of one image, in tiles when it is large, to bound the memory."""
        planes = planes.contiguous(memory_format=torch.channels_last)
        height, width = planes.shape[-2:]
        reach = getattr(self.backbone, "reach", None)
        if reach is None or height * width <= _TILE**2:
            score_maps, objectness = self.score(planes)
            return score_maps.contiguous(), objectness
        size = -(-height // self.stride), -(-width // self.stride)
        score_maps = planes.new_empty(1, self.grid**2, *size)
        objectness = planes.new_empty(1, *size)
        for rows, inner_rows, to_rows in _tiles(height, self.stride, reach):
            for columns, inner_columns, to_columns in _tiles(width, self.stride, reach):
                maps, scores = self.score(planes[..., rows, columns])
                score_maps[..., to_rows, to_columns] = maps[..., inner_rows, inner_columns]
                objectness[..., to_rows, to_columns] = scores[..., inner_rows, inner_columns]
                del maps, scores
                _return_free_memory()
        return score_maps, objectness


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


def _size(image: Image) -> tuple[int, int]:
    """An image's height and width."""
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else image.shape[-2:]
    return height, width


def _as_tensor(image: Any) -> Tensor:
    """An RGB image as float (3, H, W) in 0..1."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise TypeError(
                f"image must be uint8 (H, W, 3), got {image.dtype} {tuple(image.shape)}"
            )
        tensor = torch.tensor(image).permute(2, 0, 1).float() / 255
    elif isinstance(image, Tensor):
        if not image.is_floating_point() or image.ndim != 3 or image.shape[0] != 3:
            raise TypeError(
                f"image must be float (3, H, W), got {image.dtype} {tuple(image.shape)}"
            )
        tensor = image
    else:
        raise TypeError(f"image must be an array or a tensor, got {type(image).__name__}")
    if not tensor.numel():
        raise ValueError(f"image must not be empty, got {tuple(image.shape)}")
    return tensor


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


def _only_peaks(objectness: Tensor) -> Tensor:
    """Objectness (1, h, w) where it is highest among its eight neighbours, else NaN: no window."""
    highest = F.max_pool2d(objectness, 3, 1, 1)
    return objectness.masked_fill(objectness < highest, torch.nan)


def _distinct(masks: Masks, iou: float, overlap: float) -> npt.NDArray[np.int64]:
    """Indices of masks, best first, that do not repeat a better one that is kept."""
    if not len(masks):
        return np.zeros(0, np.int64)
    repeats = (masks.iou(masks) > iou) | (masks.iou(masks, kind="iomin") > overlap)
    repeats = as_numpy(repeats, "repeats")
    kept = np.ones(len(masks), bool)
    for index in range(len(masks)):
        if kept[index]:
            kept[index + 1 :] &= ~repeats[index, index + 1 :]
    return np.flatnonzero(kept)
