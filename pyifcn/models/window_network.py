"""Networks that score a window around every feature and show a mask in it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyifcn._array import as_numpy
from pyifcn.masks import Masks
from pyifcn.models.network import Image, Instances, Network, pixels_of, size_of

if TYPE_CHECKING:
    from pyifcn.ops.propose import Proposals

__all__ = ["WindowNetwork"]


class WindowNetwork(Network):
    """A network whose ``score`` gives maps and objectness (B, h, w), a logit for each window.

    What the maps are differs; ``masks_at`` makes masks of them. Everything else, proposals of all
    scales, their suppression and how the network is trained, is the same.
    """

    @abstractmethod
    def masks_at(self, maps: Tensor, windows: Tensor, pad_value: float) -> Tensor:
        """Mask logits of windows.

        Args:
            maps: What ``score`` gave first.
            windows: int64 (N, 3), rows of (image, y, x), the feature at a window's centre.
            pad_value: Stands outside the maps.

        Returns:
            float (N, window, window).
        """

    @abstractmethod
    def search(
        self,
        maps: list[Tensor],
        objectness: list[Tensor],
        strides: list[float],
        image_size: tuple[int, int],
        *,
        max_proposals: int | None = None,
        iou_threshold: float | None = None,
    ) -> Proposals[Tensor]:
        """Proposes instances from what ``pyramid`` gave for an image of ``image_size`` (H, W)."""

    def predict(
        self,
        image: Image,
        *,
        scales: Sequence[float] | None = None,
        score_threshold: float | None = None,
    ) -> Instances:
        """Finds the instances of one image; see ``Network.predict``."""
        masks, scores = self.segment(image, scales=scales, score_threshold=score_threshold)
        return Instances(masks, scores, torch.ones_like(scores, dtype=torch.int64))

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
            images: One as in ``predict``, or a list of them, each of its own size, or a tensor
                (B, 3, H, W).
            scales: Factors by which to resize; those of ``settings`` if None.
            max_proposals: At most so many an image; that of ``settings`` if None.
            iou_threshold: Of the NMS on tight boxes; that of ``settings`` if None.

        Returns:
            Proposals by falling score, or a list of them for a list of images.

        Raises:
            TypeError: If an image is of another kind.
            ValueError: As ``predict``.
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
        """Finds the instances of one image: what ``select`` leaves of its proposals.

        Args:
            image: As in ``predict``.
            scales: As in ``propose``.
            max_proposals: At most so many proposals to choose from; if None, all that score enough.
            score_threshold: Leave out lower scores; that of ``settings`` if None.

        Returns:
            N masks and their scores in 0..1, best first, in tensors on the network's device.
        """
        threshold = self._score_threshold(score_threshold)
        most = self.settings.max_proposals if max_proposals is None else max_proposals
        image = pixels_of(image)
        pyramid, size = self.pyramid(image, scales=scales), size_of(image)
        found = self.search(*pyramid, size, max_proposals=most)
        while max_proposals is None and 0 < len(found) == most and found.scores[-1] >= threshold:
            most *= 4
            found = self.search(*pyramid, size, max_proposals=most)
        return self.select(found, threshold)

    def select(
        self, proposals: Proposals[Tensor], score_threshold: float | None = None
    ) -> tuple[Masks, Tensor]:
        """Leaves the doubtful, the tiny and the repeated out of an image's proposals.

        Args:
            proposals: What ``propose`` found.
            score_threshold: Leave out lower scores; that of ``settings`` if None.

        Returns:
            N masks and their scores in 0..1, best first, in tensors on the proposals' device.
        """
        settings = self.settings
        threshold = settings.score_threshold if score_threshold is None else score_threshold
        likely = proposals[: int((proposals.scores >= threshold).sum())]
        large = likely[likely.masks.area >= settings.min_area]  # what is left out hides nothing
        distinct = large[_distinct(large.masks, settings.mask_iou, settings.mask_overlap)]
        return distinct.masks, distinct.scores

    @torch.inference_mode()
    def pyramid(
        self, image: Image, *, scales: Sequence[float] | None = None
    ) -> tuple[list[Tensor], list[Tensor], list[float]]:
        """Scores one image at every scale, what ``propose`` searches.

        Args:
            image: As in ``predict``.
            scales: As in ``propose``.

        Returns:
            For each level the maps (1, C, h, w), objectness (1, h, w) and the stride in pixels of
            the image.
        """
        levels = self.levels(image, scales)
        maps = [level.outputs[0] for level in levels]
        objectness = [level.outputs[1] for level in levels]
        if self.settings.peaks:
            objectness = [_only_peaks(scores) for scores in objectness]
        return maps, objectness, [level.stride for level in levels]

    def _propose(
        self,
        image: Image,
        scales: Sequence[float] | None,
        max_proposals: int | None,
        iou_threshold: float | None,
    ) -> Proposals[Tensor]:
        image = pixels_of(image)
        return self.search(
            *self.pyramid(image, scales=scales),
            size_of(image),
            max_proposals=max_proposals,
            iou_threshold=iou_threshold,
        )


def objectness_branch(channels: int, width: int) -> nn.Sequential:
    """A 3x3 convolution with ReLU and a 1x1 one, to a logit for each feature's window."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, 1, 1)
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
