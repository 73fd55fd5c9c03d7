"""A small residual network with a top-down path, made to be trained from nothing on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ResidualPyramid"]


def conv_norm(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """A convolution padded by half its kernel, and batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _reach(blocks: Sequence[int]) -> int:
    """How far a feature and its neighbours see, rounded up to the coarsest stride."""
    stride = 2
    seen = 2 + stride + 2 * blocks[0] * stride  # the stem, the neighbours, the first stage
    for count in blocks[1:]:
        seen += 3 * stride  # into the stage; back out of it, rounded and smoothed
        stride *= 2
        seen += (2 * count - 1) * stride
    return -(-seen // stride) * stride


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first with the stride, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv_norm(inputs, outputs, 3, stride)
        self.conv2 = conv_norm(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Returns features of shape (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y = self.conv2(F.relu(self.conv1(x), inplace=True))
        return F.relu(y + self.shortcut(x), inplace=True)


class ResidualPyramid(nn.Module):
    """Residual stages at strides 2, 4, 8, ... merged from the coarsest to the finest.

    Each stage halves the resolution of the one before. On the way back every stage is brought
    to ``channels`` by a 1x1 convolution, added to the coarser result brought to its size and
    smoothed by a 3x3 convolution with a shortcut, as in feature pyramid networks (Lin et al. 2017).

    Args:
        inputs: Channels of the image.
        widths: Channels of the stages, the first at stride 2.
        blocks: Residual blocks of each stage.
        channels: Channels of the result.

    Attributes:
        stride: Image pixels between neighbouring features, 2.
        channels: Channels of the result.
        reach: A multiple of the coarsest stride, in pixels: what is farther away changes neither
            a feature nor its neighbours.

    Example:
        >>> import torch
        >>> features = ResidualPyramid(inputs=2)(torch.zeros(1, 2, 33, 48))
        >>> tuple(features.shape)
        (1, 48, 17, 24)
    """

    stride = 2

    def __init__(
        self,
        inputs: int = 3,
        widths: Sequence[int] = (32, 64, 96, 128),
        blocks: Sequence[int] = (1, 2, 2, 2),
        channels: int = 48,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.widths = tuple(widths)
        self.blocks = tuple(blocks)
        self.channels = channels
        self.stem = conv_norm(inputs, widths[0], 5, 2)
        self.stages = nn.ModuleList()
        before = widths[0]
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            first = ResidualBlock(before, width, 1 if level == 0 else 2)
            rest = [ResidualBlock(width, width) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(first, *rest))
            before = width
        self.lateral = nn.ModuleList(conv_norm(width, channels, 1) for width in widths)
        self.merge = nn.ModuleList(conv_norm(channels, channels, 3) for _ in widths[1:])
        self.reach = _reach(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, channels, ceil(H / 2), ceil(W / 2))."""
        x = F.relu(self.stem(x), inplace=True)
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        y: Tensor = F.relu(self.lateral[-1](stages.pop()), inplace=True)
        for level in reversed(range(len(stages))):
            fine = self.lateral[level](stages.pop())
            y = F.relu(fine + F.interpolate(y, size=fine.shape[-2:], mode="nearest"), inplace=True)
            y = y + F.relu(self.merge[level](y), inplace=True)
        return y
