"""The networks that presets train."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from torch import nn

from pyifcn.models import (
    FCIS,
    FCN,
    VGG16,
    DeepMask,
    InstanceFCN,
    Network,
    ResidualPyramid,
    SqueezeNet,
    SqueezeNetPyramid,
    TestSettings,
)

__all__ = ["HEADS", "network"]

HEADS = tuple(network.kind for network in (InstanceFCN, DeepMask, FCN, FCIS))

_SHAPES = TestSettings(
    scales=(0.375, 0.5, 0.75, 1.0, 1.5, 2.0),
    short_sides=(),
    peaks=True,
    score_threshold=0.55,
    mask_iou=0.3,
    mask_overlap=0.5,
)
_NUCLEI = replace(_SHAPES, mask_threshold=-0.5, min_area=30)
_PHOTOS = TestSettings(
    short_sides=(119, 178, 267, 400, 600, 900, 1350),
    mask_threshold=-0.5,
    peaks=True,
    score_threshold=0.3,
    mask_iou=0.3,
    mask_overlap=0.5,
)
_WIDTHS = {"residual": 64, "residual_large": 96, "squeezenet_pyramid": 128}
# Channels of the stages of residual backbones, and of what they give.
_RESIDUAL = {"residual": ((32, 64, 96, 128), 48), "residual_large": ((48, 96, 144, 192), 64)}
# The backbone of each preset, and how a network on it is used.
_PRESETS = {
    "paper": ("squeezenet", TestSettings()),
    "photos": ("squeezenet_pyramid", _PHOTOS),
    "nuclei": ("residual", _NUCLEI),
    "shapes": ("residual", _SHAPES),
}


def network(
    preset: str,
    backbone: str | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    *,
    head: str = "instance_fcn",
    grid: int = 5,
    width: int | None = None,
    categories: Mapping[int, str] | None = None,
) -> Network:
    """A new network with random weights, or a backbone's published ones, to train with a preset.

    Args:
        preset: "nuclei", for microscopy: a residual pyramid that looks at brightness alone;
            "shapes": the same that looks at colours; "photos": a pyramid on SqueezeNet; or
            "paper", its network on SqueezeNet or VGG-16.
        backbone: "residual", "residual_large", "squeezenet", "squeezenet_pyramid" or "vgg16"
            instead of the preset's own.
        pretrained: A file of the backbone's weights: ``.npz`` for SqueezeNet, whose pyramid then
            leaves them as they are; torchvision's ``vgg16`` state dict for VGG-16.
        head: "instance_fcn", "deep_mask", "fcn" or "fcis". SqueezeNet has stride 16 under FCIS, as
            its paper has it, and else 8.
        grid: K of InstanceFCN.
        width: Channels inside the head, if not 64 and 96 on the residual backbones, 128 on
            SqueezeNet's pyramid and 512 on others.
        categories: Names by the data set's ids, which FCN and FCIS must have.

    Raises:
        ValueError: If a name is unknown, a size not positive, a backbone has no published weights,
            or there are no categories where they are needed.

    Example:
        >>> network("nuclei").stride, network("paper").stride
        (2, 8)
    """
    if preset not in _PRESETS:
        raise ValueError(f"preset must be one of {sorted(_PRESETS)}, got {preset!r}")
    if head not in HEADS:
        raise ValueError(f"head must be one of {sorted(HEADS)}, got {head!r}")
    own, settings = _PRESETS[preset]
    chosen = backbone or own
    trunk = _trunk(chosen, pretrained, 2 if preset == "nuclei" else 3, 16 if head == "fcis" else 8)
    width = width or _WIDTHS.get(chosen, 512)
    preprocess = "percentile" if preset == "nuclei" and chosen in _RESIDUAL else "rgb"
    if chosen != own and not {chosen, own} <= _RESIDUAL.keys():
        settings = TestSettings()
    if head == "instance_fcn":
        return InstanceFCN(trunk, grid, width=width, preprocess=preprocess, settings=settings)
    if head == "deep_mask":
        return DeepMask(trunk, width=width, preprocess=preprocess, settings=settings)
    if head == "fcn":
        settings = replace(_few_scales(settings), score_threshold=0.0)  # the maps have decided
        return FCN(trunk, categories or {}, width=width, preprocess=preprocess, settings=settings)
    settings = replace(
        _few_scales(settings), iou_threshold=0.7, max_proposals=300, score_threshold=0.5
    )
    return FCIS(trunk, categories or {}, width=width, preprocess=preprocess, settings=settings)


def _few_scales(settings: TestSettings) -> TestSettings:
    """For heads without windows: one or two scales among those of training."""
    if settings.scales:
        return replace(settings, scales=(0.5, 1.0))
    return replace(settings, short_sides=(600,))


def _trunk(
    name: str, pretrained: str | os.PathLike[str] | None, channels: int, stride: Literal[8, 16]
) -> nn.Module:
    if name in _RESIDUAL:
        if pretrained is not None:
            raise ValueError(f"pretrained: the backbone {name} has no published weights")
        widths, features = _RESIDUAL[name]
        return ResidualPyramid(channels, widths, channels=features)
    if name == "squeezenet":
        return SqueezeNet.from_npz(pretrained, stride) if pretrained else SqueezeNet(stride)
    if name == "squeezenet_pyramid":
        return SqueezeNetPyramid.from_npz(pretrained) if pretrained else SqueezeNetPyramid()
    if name == "vgg16":
        return VGG16.from_torchvision(pretrained) if pretrained else VGG16()
    raise ValueError(
        "backbone must be 'residual', 'residual_large', 'squeezenet', 'squeezenet_pyramid' or "
        f"'vgg16', got {name!r}"
    )
