"""SqueezeNet's features of several strides, merged: for photographs, of which there are few."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyifcn.models.residual import conv_norm
from pyifcn.models.squeezenet import SqueezeNet

__all__ = ["SqueezeNetPyramid"]


class SqueezeNetPyramid(nn.Module):
    """SqueezeNet's features at strides 8, 16 and a new stage at 32, merged to the finest.

    As in feature pyramid networks (Lin et al. 2017): each is brought to ``channels`` by a 1x1
    convolution, added to the coarser result brought to its size and smoothed by a 3x3
    convolution with a shortcut. What is new is normalised by batches, SqueezeNet's layers are not.

    Args:
        channels: Channels of the result.
        frozen: SqueezeNet's own weights stay as they are in training.

    Attributes:
        stride: Image pixels between neighbouring features, 8.
        channels: The argument.
        frozen: The argument.

    Example:
        >>> import torch
        >>> tuple(SqueezeNetPyramid(channels=32)(torch.zeros(1, 3, 50, 33)).shape)
        (1, 32, 7, 5)
    """

    stride = 8

    def __init__(self, channels: int = 128, frozen: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.frozen = frozen
        self.trunk = SqueezeNet(16).requires_grad_(not frozen)
        self.coarse = conv_norm(512, channels, 3, 2)
        self.smooth = nn.ModuleList(conv_norm(channels, channels, 3) for _ in range(3))
        self.lateral = nn.ModuleList(conv_norm(512, channels, 1) for _ in range(2))
        self.last = conv_norm(channels, channels, 3)

    @classmethod
    def from_npz(
        cls, path: str | os.PathLike[str], channels: int = 128, frozen: bool = True
    ) -> SqueezeNetPyramid:
        """A pyramid on published ImageNet weights; see ``SqueezeNet.from_npz``.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no ``.npz``, or weights are missing or of other shapes.
        """
        backbone = cls(channels, frozen)
        backbone.trunk.load_state_dict(SqueezeNet.from_npz(path, 16).state_dict())
        return backbone

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in 0..1 -> (B, channels, ceil(H / 8), ceil(W / 8))."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            fine, middle = self.trunk.levels(images)
        y: Tensor = F.relu(self.coarse(middle), inplace=True)
        y = y + F.relu(self.smooth[0](y), inplace=True)
        for features, lateral, smooth in zip(
            (middle, fine), self.lateral, self.smooth[1:], strict=True
        ):
            near = lateral(features)
            y = F.relu(near + F.interpolate(y, size=near.shape[-2:], mode="nearest"), inplace=True)
            y = y + F.relu(smooth(y), inplace=True)
        return y + F.relu(self.last(y), inplace=True)
