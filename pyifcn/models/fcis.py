"""FCIS (Li, Qi, Dai, Ji, Wei, CVPR 2017): categories and masks from the same score maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

import pyifcn
from pyifcn.masks import Masks
from pyifcn.models import boxes as box
from pyifcn.models.network import (
    Backbone,
    Image,
    Instances,
    Level,
    Network,
    TestSettings,
    check_categories,
    check_positive,
    pixels_of,
    size_of,
)

__all__ = ["FCIS"]

_SIDES = (4.0, 8.0, 16.0, 32.0)  # of the anchors, in features
_RATIOS = (0.5, 1.0, 2.0)
_MOST_RANKED = 2000  # RoIs that go into the NMS, by falling objectness
_LEAST_SIDE = 1.0  # of a RoI, in pixels
_NMS, _MERGE, _BINARY, _LEAST_SCORE = 0.3, 0.5, 0.4, 1e-3  # as in FCIS's code


class Detections(NamedTuple):
    """What the head says of N RoIs.

    Attributes:
        classes: Logits (N, 1 + C), the background first.
        masks: Logits (N, 1 + C, window, window) of each class's mask in the RoI.
        refinements: (N, 4), how the object's box differs from the RoI, as ``boxes.encode`` tells.
    """

    classes: Tensor
    masks: Tensor
    refinements: Tensor


class FCIS(Network):
    """A network whose position-sensitive maps hold an inside and an outside score for each class.

    Every RoI is assembled of K x K cells from 2 K^2 (1 + C) maps. Of a class's pair of assembled
    scores the higher one's mean over the RoI is the class's logit, and the softmax of the pair its
    mask (paper, section 3.2). A branch with anchors of its own proposes the RoIs (Ren et al. 2015),
    and 4 K^2 more maps refine their boxes; refined RoIs are assembled once more at test.

    Args:
        backbone: See ``Backbone``.
        categories: Names by the data set's ids.
        grid: K, cells along a RoI's side.
        window: Side of an assembled RoI, a multiple of ``grid``; see also ``Network``.
        width: Channels inside the head.
        preprocess: What the backbone looks at: "rgb", values in 0..1, or "percentile".
        settings: How ``predict`` uses the network; ``iou_threshold`` and ``max_proposals`` are
            those of the RoIs.

    Raises:
        ValueError: If a size is not positive, the window no multiple of the grid, or there is no
            category.

    Example:
        >>> import torch
        >>> from pyifcn.models import ResidualPyramid
        >>> model = FCIS(ResidualPyramid(), {1: "disc", 2: "box"}, width=32).eval()
        >>> [tuple(maps.shape) for maps in model(torch.rand(1, 3, 60, 81))]
        [(1, 294, 30, 41), (1, 196, 30, 41), (1, 60, 30, 41)]
    """

    kind: ClassVar[str] = "fcis"
    options: ClassVar[tuple[str, ...]] = ("categories", "grid", "window", "width")

    def __init__(
        self,
        backbone: nn.Module,
        categories: Mapping[int, str],
        grid: int = 7,
        window: int = 21,
        *,
        width: int = 512,
        preprocess: str = "rgb",
        settings: TestSettings | None = None,
    ) -> None:
        settings = settings or TestSettings(
            short_sides=(600,), iou_threshold=0.7, max_proposals=300
        )
        super().__init__(backbone, window, width=width, preprocess=preprocess, settings=settings)
        check_positive(grid=grid)
        if window % grid:
            raise ValueError(f"window must be a multiple of grid, got {window} and {grid}")
        self.grid = grid
        self.categories = check_categories(categories)
        channels = cast(Backbone, backbone).channels
        self.reduce = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True))
        self.pairs = nn.Conv2d(width, 2 * grid * grid * (1 + len(categories)), 1)
        self.refinements = nn.Conv2d(width, 4 * grid * grid, 1)
        told = nn.Conv2d(width, 5 * len(_SIDES) * len(_RATIOS), 1)
        self.rois = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True), told
        )
        nn.init.normal_(self.refinements.weight, std=1e-3)
        nn.init.normal_(told.weight, std=1e-2)

    def score(self, planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores planes (B, planes, H, W) that ``preprocess.prepare`` made.

        Returns:
            Score maps (B, (1 + C) * 2 * K*K, h, w), maps of refinements (B, 4 * K*K, h, w), and of
            each of A anchors a logit and four differences (B, A * 5, h, w).
        """
        features = self.backbone(self.preprocess(planes))
        reduced = self.reduce(features)
        return self.pairs(reduced), self.refinements(reduced), self.rois(features)

    def anchors(self, height: int, width: int) -> Tensor:
        """The anchors of so many features; see ``boxes.anchors``."""
        return box.anchors(height, width, self.stride, _SIDES, _RATIOS)

    @torch.no_grad()
    def propose_rois(self, said: Tensor, size: tuple[int, int]) -> Tensor:
        """The best RoIs of one image.

        Args:
            said: (A * 5, h, w), what ``score`` gave last.
            size: (H, W) of the image in pixels.

        Returns:
            float32 (N, 4), x1 y1 x2 y2 in pixels.
        """
        height, width = said.shape[-2:]
        told = said.float().view(-1, 5, height, width).permute(0, 2, 3, 1).reshape(-1, 5)
        scores, best = told[:, 0].topk(min(_MOST_RANKED, len(told)))
        origins = self.anchors(height, width).to(said.device).reshape(-1, 4)
        rois = box.decode(told[best, 1:], origins[best], size)
        large = (rois[:, 2:] - rois[:, :2] >= _LEAST_SIDE).all(1)
        rois, scores = rois[large], scores[large]
        return rois[pyifcn.nms(rois, scores, self.settings.iou_threshold)][
            : self.settings.max_proposals
        ]

    def detect(self, pairs: Tensor, refinements: Tensor, rois: Tensor) -> Detections:
        """Assembles RoIs.

        Args:
            pairs: What ``score`` gave first.
            refinements: What it gave second.
            rois: float32 (N, 5), rows of image, x1, y1, x2, y2 in pixels, half-open.
        """
        inclusive = rois - rois.new_tensor([0, 0, 0, 1, 1])
        scale = 1 / self.stride
        assembled = pyifcn.assemble_rois(
            pairs.float(), inclusive, self.window, grid=self.grid, spatial_scale=scale, pair=True
        )
        told = pyifcn.assemble_rois(
            refinements.float(), inclusive, self.grid, grid=self.grid, spatial_scale=scale
        )
        inside, outside = assembled.unbind(2)
        return Detections(assembled.amax(2).mean((-2, -1)), inside - outside, told.mean((-2, -1)))

    @torch.no_grad()
    def predict(
        self,
        image: Image,
        *,
        scales: Sequence[float] | None = None,
        score_threshold: float | None = None,
        voting: bool = True,
    ) -> Instances:
        """Finds the instances of one image; see ``Network.predict``.

        Args:
            image: As ``Network.predict`` has it.
            scales: Factors by which to resize; those of ``settings`` if None.
            score_threshold: Leave out lower scores; that of ``settings`` if None.
            voting: Merge the masks of overlapping RoIs by ``pyifcn.mask_voting``; else the best
                RoIs keep the masks of their own.
        """
        image = pixels_of(image)
        found = [self._look(level) for level in self.levels(image, scales)]
        size = size_of(image)
        masks, boxes, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        merge = _voted if voting else _best
        merged, scores, classes = merge(masks, boxes, scores, size)
        ids = torch.tensor([0, *self.categories], device=scores.device)
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] >= self._score_threshold(score_threshold)]
        return Instances(merged[order], scores[order], ids[classes[order]])

    def _look(self, level: Level) -> tuple[Tensor, Tensor, Tensor]:
        """Soft masks (N, m, m), boxes (N, 4) in the image, and probabilities (N, 1 + C)."""
        pairs, refinements, said = level.outputs
        rois = self.propose_rois(said[0], level.size)
        first = self.detect(pairs, refinements, nn.functional.pad(rois, (1, 0)))
        refined = box.decode(first.refinements, rois, level.size)
        refined = refined[(refined[:, 2:] - refined[:, :2] >= _LEAST_SIDE).all(1)]
        second = self.detect(pairs, refinements, nn.functional.pad(refined, (1, 0)))
        scores = torch.cat([first.classes, second.classes]).softmax(1)
        masks = torch.cat([first.masks, second.masks])
        classes = scores[:, 1:].argmax(1) + 1
        own = masks[torch.arange(len(masks), device=masks.device), classes].sigmoid()
        return own, torch.cat([rois, refined]) * (level.stride / self.stride), scores


def _voted(
    masks: Tensor, boxes: Tensor, scores: Tensor, size: tuple[int, int]
) -> tuple[Masks, Tensor, Tensor]:
    voted = pyifcn.mask_voting(
        masks,
        boxes,
        scores,
        size,
        nms_threshold=_NMS,
        merge_threshold=_MERGE,
        binary_threshold=_BINARY,
        convention="pyifcn",
    )
    return voted.masks, voted.scores, voted.labels


def _best(
    masks: Tensor, boxes: Tensor, scores: Tensor, size: tuple[int, int]
) -> tuple[Masks, Tensor, Tensor]:
    """The same boxes as ``_voted``, with masks of their own."""
    row, label = (scores[:, 1:] >= _LEAST_SCORE).nonzero().unbind(1)
    label = label + 1
    kept = pyifcn.batched_nms(boxes[row], scores[row, label], label, _NMS)[:100]
    row, label = row[kept], label[kept]
    own = Masks.from_soft(masks[row], boxes[row], size, threshold=_BINARY)
    return own, scores[row, label], label
