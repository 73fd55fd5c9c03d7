"""SqueezeNet v1.0: 0.7 million parameters, an ImageNet trunk that a CPU can train."""

import zipfile
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pyifcn.models.pretrained import Normalize, load_exact

# Images here are RGB in 0..1; the published weights expect BGR in 0..255 minus (104, 117, 123).
_MEAN = (123 / 255, 117 / 255, 104 / 255)
_STD = (1 / 255, 1 / 255, 1 / 255)


class SqueezeNet(nn.Module):
    """SqueezeNet v1.0 (Iandola et al. 2016) up to fire9.

    Every layer is padded by half its kernel, where the original pads conv1 and the pooling layers
    not at all, so that a map has ``ceil(H / stride)`` rows and position y lies at pixel
    ``stride * y``.

    Args:
        stride: 16 as published, or 8: the last pooling layer at stride 1 and fire9 dilated by 2,
            with the stride-16 features at every second position.

    Attributes:
        stride: the argument.
        channels: 512.

    Raises:
        ValueError: ``stride`` is neither 8 nor 16.

    Example:
        >>> import torch
        >>> SqueezeNet()(torch.zeros(1, 3, 50, 33)).shape
        torch.Size([1, 512, 7, 5])
    """

    channels = 512

    def __init__(self, stride: Literal[8, 16] = 8) -> None:
        super().__init__()
        if stride not in (8, 16):
            raise ValueError(f"stride must be 8 or 16, got {stride}")
        self.stride: int = stride
        self.normalize = Normalize(_MEAN, _STD)
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2, padding=3)
        self.fire2 = _Fire(96, 16, 64)
        self.fire3 = _Fire(128, 16, 64)
        self.fire4 = _Fire(128, 32, 128)
        self.fire5 = _Fire(256, 32, 128)
        self.fire6 = _Fire(256, 48, 192)
        self.fire7 = _Fire(384, 48, 192)
        self.fire8 = _Fire(384, 64, 256)
        self.fire9 = _Fire(512, 64, 256, dilation=16 // stride)

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in 0..1 -> (B, 512, ceil(H / stride), ceil(W / stride))."""
        return self.levels(images)[1]

    def levels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of fire8, at stride 8, and of fire9; both (B, 512, ...)."""
        x = functional.relu(self.conv1(self.normalize(images)))
        x = _pool(x)
        x = self.fire4(self.fire3(self.fire2(x)))
        x = _pool(x)
        fine = self.fire8(self.fire7(self.fire6(self.fire5(x))))
        return fine, self.fire9(_pool(fine, stride=self.stride // 8))

    @classmethod
    def from_npz(cls, path: str | PathLike[str], stride: Literal[8, 16] = 8) -> "SqueezeNet":
        """A SqueezeNet with published ImageNet weights.

        Args:
            path: an ``.npz`` with ``conv1``, ``fire2/squeeze1x1``, ``fire2/expand1x1``,
                ``fire2/expand3x3`` ... ``fire9/expand3x3``, each ``.weight`` (out, in, h, w) and
                ``.bias``, for BGR input, as in Caffe. ``conv10`` is ignored.
            stride: 8 or 16.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no ``.npz``, or weights are missing or of other shapes.
        """
        try:
            with Path(path).open("rb") as file, np.load(file) as arrays:
                weights = {
                    name.replace("/", "."): torch.from_numpy(arrays[name]) for name in arrays
                }
        except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
            raise ValueError(f"{path} is not an .npz of SqueezeNet weights") from None
        backbone = cls(stride)
        load_exact(backbone, weights, str(path))
        bgr = backbone.conv1.weight.detach()
        bgr.copy_(bgr.flip(1))
        return backbone


class _Fire(nn.Module):
    """A 1x1 convolution, then 1x1 and 3x3 convolutions side by side; ReLU after each."""

    def __init__(self, inputs: int, squeezed: int, expanded: int, dilation: int = 1) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.squeeze1x1(x))
        return functional.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), 1))


def _pool(x: Tensor, stride: int = 2) -> Tensor:
    return functional.max_pool2d(x, 3, stride=stride, padding=1)
