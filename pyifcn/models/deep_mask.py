"""DeepMask (Pinheiro, Collobert, Dollar, NIPS 2015) with a sliding fully connected head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pyifcn
from pyifcn.models.network import Backbone, TestSettings, check_positive
from pyifcn.models.window_network import WindowNetwork, objectness_branch
from pyifcn.ops.propose import Level, Proposals

__all__ = ["DeepMask"]

_CHUNK = 2048  # windows whose masks are computed at once


class DeepMask(WindowNetwork):
    """A network that writes each window's mask from the window's features alone.

    Fully connected layers see a window's features, averaged to cells x cells, and give a logit for
    each of its window x window pixels: the head grows with the mask, where InstanceFCN's does not
    (Dai et al. 2016, Figure 2). As in DeepMask a 1x1 convolution with ReLU comes before, and
    nothing between the two layers. Windows, objectness and suppression are InstanceFCN's.

    Args:
        backbone: See ``Backbone``.
        cells: Features along a window's side that the layers see.
        window: M, a window's side in features, a multiple of ``cells``.
        width: Channels inside the head.
        preprocess: What the backbone looks at: "rgb", values in 0..1, or "percentile".
        settings: How ``propose`` and ``segment`` use the network.

    Raises:
        ValueError: If a size is not positive or the window is no multiple of the cells.

    Example:
        >>> import torch
        >>> from pyifcn.models import ResidualPyramid
        >>> model = DeepMask(ResidualPyramid(), width=32).eval()
        >>> features, objectness = model(torch.rand(1, 3, 60, 81))
        >>> model.masks_at(features, torch.tensor([[0, 15, 20]]), 0.0).shape
        torch.Size([1, 21, 21])
    """

    kind: ClassVar[str] = "deep_mask"
    options: ClassVar[tuple[str, ...]] = ("cells", "window", "width")

    def __init__(
        self,
        backbone: nn.Module,
        cells: int = 7,
        window: int = 21,
        *,
        width: int = 512,
        preprocess: str = "rgb",
        settings: TestSettings | None = None,
    ) -> None:
        super().__init__(backbone, window, width=width, preprocess=preprocess, settings=settings)
        check_positive(cells=cells)
        if window % cells:
            raise ValueError(f"window must be a multiple of cells, got {window} and {cells}")
        self.cells = cells
        channels = cast(Backbone, backbone).channels
        self.reduce = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True))
        self.masks = nn.Sequential(
            nn.Linear(width * cells * cells, width), nn.Linear(width, window * window)
        )
        self.objectness = objectness_branch(channels, width)

    def score(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Scores planes (B, planes, H, W) that ``preprocess.prepare`` made.

        Returns:
            Features (B, width, h, w) for ``masks_at``, and objectness logits (B, h, w), with
            h = ceil(H / stride) and w = ceil(W / stride).
        """
        features = self.backbone(self.preprocess(planes))
        return self.reduce(features), self.objectness(features).squeeze(-3)

    def masks_at(self, maps: Tensor, windows: Tensor, pad_value: float) -> Tensor:
        """Mask logits of windows; see ``WindowNetwork.masks_at``."""
        step, before = self.window // self.cells, self.window // 2
        padded = F.pad(maps, (before, self.window - 1 - before) * 2)
        means = F.avg_pool2d(padded, step, 1)
        image, y, x = windows[:, :, None, None].unbind(1)
        apart = step * torch.arange(self.cells, device=maps.device)
        seen = means.permute(0, 2, 3, 1)[image, y + apart[:, None], x + apart]
        logits = self.masks(seen.permute(0, 3, 1, 2).flatten(1))
        logits = logits.view(-1, self.window, self.window)
        around = torch.arange(self.window, device=maps.device) - before
        rows, columns = y + around[:, None], x + around
        height, width = maps.shape[-2:]
        outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
        return logits.masked_fill(outside, pad_value)

    @torch.no_grad()
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
        """Proposes instances as ``pyifcn.propose`` does, which see, with masks of ``masks_at``."""
        most = self.settings.max_proposals if max_proposals is None else max_proposals
        iou = self.settings.iou_threshold if iou_threshold is None else iou_threshold
        found: Proposals[Tensor] | None = None
        for more in self._by_falling_objectness(maps, objectness, strides, image_size):
            found = more if found is None else _joined(found, more)
            order = -torch.arange(len(found), dtype=torch.float32, device=found.boxes.device)
            found = found[pyifcn.nms(found.boxes, order, iou)[:most]]
            if len(found) == most:
                break
        assert found is not None
        height, width = image_size
        edges = found.boxes.new_tensor([width, height, width, height])
        return replace(found, boxes=torch.minimum(found.boxes.clamp_min(0), edges))

    def _by_falling_objectness(
        self,
        maps: list[Tensor],
        objectness: list[Tensor],
        strides: list[float],
        image_size: tuple[int, int],
    ) -> Iterator[Proposals[Tensor]]:
        """All windows whose mask is not empty, their boxes not yet clipped, some at a time."""
        scores = torch.cat([level.flatten() for level in objectness]).float()
        windows = torch.cat([_windows_of(i, level) for i, level in enumerate(objectness)])
        order = scores.nan_to_num(-torch.inf).argsort(descending=True, stable=True)
        order = order[~scores[order].isnan()]
        sides = torch.tensor(strides, dtype=torch.float32, device=scores.device)
        levels = tuple(
            Level(stride, *level.shape[-2:])
            for stride, level in zip(sides.tolist(), objectness, strict=True)
        )
        threshold = self.settings.mask_threshold
        for first in range(0, max(len(order), 1), _CHUNK):
            chosen = order[first : first + _CHUNK]
            logits = self._masks_of_levels(maps, windows[chosen])
            kept = (logits > threshold).flatten(1).any(1)
            logits, chosen = logits[kept], chosen[kept]
            cells = _tight_boxes(logits > threshold)
            corner = windows[chosen][:, [2, 1, 2, 1]] - self.window // 2
            boxes = (corner + cells).float() * sides[windows[chosen, 0]][:, None]
            yield Proposals(
                scores[chosen].sigmoid(),
                boxes,
                logits,
                windows[chosen],
                levels,
                image_size,
                threshold,
            )

    def _masks_of_levels(self, maps: list[Tensor], windows: Tensor) -> Tensor:
        """Mask logits of windows given as rows of (level, y, x), of one image."""
        logits = maps[0].new_empty((len(windows), self.window, self.window), dtype=torch.float32)
        for level, of_level in enumerate(maps):
            here = windows[:, 0] == level
            there = windows[here] * windows.new_tensor([0, 1, 1])
            logits[here] = self.masks_at(of_level, there, -torch.inf).float()
        return logits


def _windows_of(level: int, objectness: Tensor) -> Tensor:
    """Rows of (level, y, x) of the windows of a level (1, h, w)."""
    height, width = objectness.shape[-2:]
    grid = [torch.arange(n, device=objectness.device) for n in (height, width)]
    places = torch.cartesian_prod(*grid)
    return F.pad(places, (1, 0), value=level)


def _tight_boxes(masks: Tensor) -> Tensor:
    """int64 (N, 4), half-open x1 y1 x2 y2 of masks bool (N, m, m), none of them empty."""
    corners = []
    for axis in (1, 2):
        some = masks.any(axis).byte()
        corners.append((some.argmax(1), some.shape[1] - some.flip(1).argmax(1)))
    (x1, x2), (y1, y2) = corners
    return torch.stack([x1, y1, x2, y2], 1)


def _joined(first: Proposals[Tensor], second: Proposals[Tensor]) -> Proposals[Tensor]:
    return replace(
        first,
        scores=torch.cat([first.scores, second.scores]),
        boxes=torch.cat([first.boxes, second.boxes]),
        logits=torch.cat([first.logits, second.logits]),
        windows=torch.cat([first.windows, second.windows]),
    )
