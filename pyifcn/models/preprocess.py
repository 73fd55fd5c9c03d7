"""What a network looks at: an image's own colours, or its brightness made comparable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Percentile", "Preprocess", "preprocess"]


class Preprocess(nn.Module):
    """Turns RGB images into a backbone's input, in two steps; this one leaves them as they are.

    ``prepare`` looks at whole images and returns their planes; planes may then be rescaled,
    cropped and augmented. ``forward`` turns planes into the channels that the backbone reads.

    Attributes:
        name: The name that ``preprocess`` knows it by.
        planes: Channels after ``prepare``.
        channels: Channels after ``forward``.
    """

    name = "rgb"
    planes = 3
    channels = 3

    def prepare(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) in 0..1 to planes (B, planes, H, W) in 0..1."""
        return images

    def forward(self, planes: Tensor) -> Tensor:
        """Maps planes (B, planes, H, W) to channels (B, channels, H, W)."""
        return planes


class Percentile(Preprocess):
    """Grey, bright objects on a dark ground, for microscopy.

    An image's brightness is stretched between its 0.5 and 99.7 percentiles and inverted when
    its median is bright; the square root beside it shows faint objects near bright ones.
    """

    name = "percentile"
    planes = 1
    channels = 2

    def prepare(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) in 0..1 to planes (B, 1, H, W) in 0..1."""
        grey = images.mean(-3, keepdim=True)
        ordered = grey.flatten(1).sort(dim=1).values
        last = ordered.shape[1] - 1
        low, middle, high = (
            ordered[:, round(last * part)].view(-1, 1, 1, 1) for part in (0.005, 0.5, 0.997)
        )
        span = (high - low).clamp_min(1e-3)
        stretched = ((grey - low) / span).clamp(0, 1)
        return torch.where((middle - low) / span > 0.5, 1 - stretched, stretched)

    def forward(self, planes: Tensor) -> Tensor:
        """Maps planes (B, 1, H, W) to themselves and their roots (B, 2, H, W)."""
        return torch.cat([planes, planes.clamp_min(0).sqrt()], dim=-3)


_KINDS: dict[str, type[Preprocess]] = {kind.name: kind for kind in (Preprocess, Percentile)}


def preprocess(name: str) -> Preprocess:
    """The preprocessing called ``name``, "rgb" or "percentile".

    Raises:
        ValueError: No preprocessing has that name.

    Example:
        >>> preprocess("percentile").channels
        2
    """
    if name not in _KINDS:
        raise ValueError(f"preprocess must be one of {sorted(_KINDS)}, got {name!r}")
    return _KINDS[name]()
