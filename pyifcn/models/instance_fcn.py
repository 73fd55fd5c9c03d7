"""InstanceFCN (Dai, He, Li, Ren, Sun, ECCV 2016) on any backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from torch import Tensor, nn

import pyifcn
from pyifcn.models.network import Backbone, TestSettings, check_positive, map_branch
from pyifcn.models.window_network import WindowNetwork, objectness_branch

if TYPE_CHECKING:
    from pyifcn.ops.propose import Proposals

__all__ = ["InstanceFCN"]


class InstanceFCN(WindowNetwork):
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
        >>> import torch
        >>> from pyifcn.models import ResidualPyramid
        >>> model = InstanceFCN(ResidualPyramid(), width=32).eval()
        >>> score_maps, objectness = model(torch.rand(1, 3, 60, 81))
        >>> tuple(score_maps.shape), tuple(objectness.shape)
        ((1, 25, 30, 41), (1, 30, 41))
    """

    kind: ClassVar[str] = "instance_fcn"
    options: ClassVar[tuple[str, ...]] = ("grid", "window", "width")

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
        super().__init__(backbone, window, width=width, preprocess=preprocess, settings=settings)
        check_positive(grid=grid)
        if window < grid:
            raise ValueError(f"window must be at least grid, got {window} and {grid}")
        self.grid = grid
        channels = cast(Backbone, backbone).channels
        self.masks = map_branch(channels, width, grid * grid)
        self.objectness = objectness_branch(channels, width)

    def score(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Scores planes (B, planes, H, W) that ``preprocess.prepare`` made.

        Returns:
            Logits: score maps (B, K*K, h, w) and objectness (B, h, w), with
            h = ceil(H / stride) and w = ceil(W / stride).
        """
        features = self.backbone(self.preprocess(planes))
        return self.masks(features), self.objectness(features).squeeze(-3)

    def masks_at(self, maps: Tensor, windows: Tensor, pad_value: float) -> Tensor:
        """Mask logits of windows, assembled; see ``WindowNetwork.masks_at``."""
        return pyifcn.assemble(maps, windows, self.window, pad_value=pad_value)

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
        settings = self.settings
        return pyifcn.propose(
            maps,
            objectness,
            strides=strides,
            image_size=image_size,
            size=self.window,
            mask_threshold=settings.mask_threshold,
            iou_threshold=settings.iou_threshold if iou_threshold is None else iou_threshold,
            max_proposals=settings.max_proposals if max_proposals is None else max_proposals,
        )[0]
