"""FCN (Long, Shelhamer, Darrell, CVPR 2015): one score map a category, and no instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyifcn.masks import Masks
from pyifcn.models.components import components
from pyifcn.models.network import (
    Backbone,
    Image,
    Instances,
    Network,
    TestSettings,
    check_categories,
    map_branch,
    pixels_of,
    size_of,
)

__all__ = ["FCN"]


class FCN(Network):
    """A network that says of every pixel which category it shows.

    A 1x1 convolution with ReLU and a 3x3 one, as in InstanceFCN's mask branch, give one score map
    for the background and one for each category; a softmax over them is a pixel's probabilities.
    The maps know categories but not instances: ``predict`` takes connected regions for them, so
    that objects of one category that touch become one.

    Args:
        backbone: See ``Backbone``.
        categories: Names by the data set's ids.
        window: See ``Network``.
        width: Channels inside the head.
        preprocess: What the backbone looks at: "rgb", values in 0..1, or "percentile".
        settings: How ``predict`` uses the network; probabilities are averaged over its scales.

    Raises:
        ValueError: If a size is not positive or there is no category.

    Example:
        >>> import torch
        >>> from pyifcn.models import ResidualPyramid
        >>> model = FCN(ResidualPyramid(), {1: "nucleus"}, width=32).eval()
        >>> (logits,) = model(torch.rand(1, 3, 60, 81))
        >>> tuple(logits.shape)
        (1, 2, 30, 41)
    """

    kind: ClassVar[str] = "fcn"
    options: ClassVar[tuple[str, ...]] = ("categories", "window", "width")

    def __init__(
        self,
        backbone: nn.Module,
        categories: Mapping[int, str],
        window: int = 21,
        *,
        width: int = 512,
        preprocess: str = "rgb",
        settings: TestSettings | None = None,
    ) -> None:
        super().__init__(backbone, window, width=width, preprocess=preprocess, settings=settings)
        self.categories = check_categories(categories)
        channels = cast(Backbone, backbone).channels
        self.classes = map_branch(channels, width, 1 + len(self.categories))

    def score(self, planes: Tensor) -> tuple[Tensor]:
        """Scores planes (B, planes, H, W) that ``preprocess.prepare`` made.

        Returns:
            Logits (B, 1 + C, h, w), the background first, then the categories by rising id.
        """
        return (self.classes(self.backbone(self.preprocess(planes))),)

    @torch.no_grad()
    def probabilities(self, image: Image, *, scales: Sequence[float] | None = None) -> Tensor:
        """What each pixel shows, averaged over the scales.

        Args:
            image: As in ``predict``.
            scales: As in ``predict``.

        Returns:
            float32 (1 + C, H, W), at each pixel with the sum 1.
        """
        return torch.stack(list(self._planes(image, scales)))

    def _planes(self, image: Image, scales: Sequence[float] | None) -> Iterator[Tensor]:
        """``probabilities``, one class after the other."""
        image = pixels_of(image)
        levels = [
            (outputs[0].float().softmax(1), size) for outputs, _, size in self.levels(image, scales)
        ]
        whole = size_of(image)
        for c in range(1 + len(self.categories)):
            planes = []
            for shown, (height, width) in levels:
                fine = F.interpolate(
                    shown[:, c : c + 1], scale_factor=self.stride, mode="bilinear"
                )[..., :height, :width]
                planes.append(F.interpolate(fine, whole, mode="bilinear")[0, 0])
            yield torch.stack(planes).mean(0)

    @torch.no_grad()
    def predict(
        self,
        image: Image,
        *,
        scales: Sequence[float] | None = None,
        score_threshold: float | None = None,
    ) -> Instances:
        """Finds the connected regions of each category; see ``Network.predict``.

        A region's score is the mean probability of its category over its pixels.
        """
        planes = self._planes(image, scales)
        values = next(planes)
        classes = torch.zeros_like(values, dtype=torch.int64)
        for c, plane in enumerate(planes, 1):
            classes = classes.masked_fill(plane > values, c)
            values = torch.maximum(values, plane)
        regions = components(classes.cpu().numpy()).ravel()
        counts = np.bincount(regions)[1:]
        sums = np.bincount(regions, values.cpu().numpy().ravel())[1:]
        _, first = np.unique(regions, return_index=True)
        labels = np.array([0, *self.categories])[classes.cpu().numpy().ravel()[first]]
        labels = labels[regions[first] > 0]
        scores = (sums / np.maximum(counts, 1)).astype(np.float32)
        masks, _ = Masks.from_labels(regions.reshape(classes.shape))
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= self._score_threshold(score_threshold)]
        return Instances(
            masks[order].to(values.device),
            torch.from_numpy(scores[order]).to(values.device),
            torch.from_numpy(labels[order].astype(np.int64)).to(values.device),
        )
