"""VGG-16 with features of stride 8, the trunk of the InstanceFCN paper."""

import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyifcn.models.pretrained import IMAGENET_MEAN, IMAGENET_STD, Normalize, load_exact

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


class VGG16(nn.Module):
    """The convolutions of VGG-16, with features of stride 8 instead of 32.

    As in the paper (Dai et al. 2016, section 4): pool4 has stride 1, conv5_1 to conv5_3 are
    dilated by 2, pool5 and the classifier are left out. At every second position the features are
    those of the unchanged network's conv5_3. The other pooling layers round up, so that a map has
    ``ceil(H / 8)`` rows.

    Parameters are named as in torchvision's ``vgg16`` (``features.0.weight`` ...).

    Attributes:
        stride: 8.
        channels: 512.

    Example:
        >>> import torch
        >>> backbone = VGG16()
        >>> backbone(torch.zeros(1, 3, 50, 33)).shape
        torch.Size([1, 512, 7, 5])
    """

    stride = 8
    channels = 512

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for block, (channels, convolutions) in enumerate(_BLOCKS):
            dilation = 2 if block == 4 else 1
            for _ in range(convolutions):
                layers += [
                    nn.Conv2d(inputs, channels, 3, padding=dilation, dilation=dilation),
                    nn.ReLU(inplace=True),
                ]
                inputs = channels
            if block < 3:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            elif block == 3:
                layers.append(_DensePool())
        self.features = nn.Sequential(*layers)
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in 0..1 -> features (B, 512, ceil(H / 8), ceil(W / 8))."""
        return cast(Tensor, self.features(self.normalize(images)))

    @classmethod
    def from_torchvision(cls, weights: Mapping[str, Tensor] | str | PathLike[str]) -> "VGG16":
        """A VGG16 with the weights of torchvision's ``vgg16``.

        Args:
            weights: its ``state_dict()``, or a file that ``torch.save`` wrote it to. The
                classifier's entries are ignored and may be absent.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file holds no state dict, or weights are missing or of other shapes.
        """
        source = "weights" if isinstance(weights, Mapping) else str(weights)
        state = weights if isinstance(weights, Mapping) else _read_state(Path(weights))
        backbone = cls()
        load_exact(backbone, state, source)
        return backbone


class _DensePool(nn.Module):
    """2x2 maximum at stride 1, one row and column of zeros after the (non-negative) input."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(functional.pad(x, (0, 1, 0, 1)), 2, stride=1)


def _read_state(path: Path) -> Mapping[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
        raise ValueError(f"{path} is not a file of PyTorch weights") from None
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a state dict")
    return state
