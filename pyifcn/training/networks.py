"""The networks that presets train."""

from __future__ import annotations

import os

from pyifcn.models import VGG16, InstanceFCN, ResidualPyramid, SqueezeNet, TestSettings

__all__ = ["network"]

_NUCLEI = TestSettings(
    scales=(0.375, 0.5, 0.75, 1.0, 1.5, 2.0),
    short_sides=(),
    peaks=True,
    score_threshold=0.55,
    mask_iou=0.3,
    mask_overlap=0.5,
)


def network(
    preset: str,
    backbone: str | None = None,
    pretrained: str | os.PathLike[str] | None = None,
) -> InstanceFCN:
    """A new network with random weights, or a backbone's published ones, to train with a preset.

    Args:
        preset: "nuclei", for microscopy: a residual pyramid that looks at brightness alone; or
            "photographs", the paper's network on SqueezeNet or VGG-16.
        backbone: "residual", "squeezenet" or "vgg16" instead of the preset's own, which are
            "residual" and "squeezenet".
        pretrained: A file of the backbone's weights: ``.npz`` for SqueezeNet, torchvision's
            ``vgg16`` state dict for VGG-16.

    Raises:
        ValueError: If a name is unknown, or a backbone has no published weights.

    Example:
        >>> network("nuclei").stride, network("photographs").stride
        (2, 8)
    """
    if preset not in ("nuclei", "photographs"):
        raise ValueError(f"preset must be 'nuclei' or 'photographs', got {preset!r}")
    nuclei = preset == "nuclei"
    chosen = backbone or ("residual" if nuclei else "squeezenet")
    if chosen == "residual":
        if pretrained is not None:
            raise ValueError("pretrained: the residual backbone has no published weights")
        small = ResidualPyramid(2 if nuclei else 3, widths=(32, 64, 96, 128))
        preprocess = "percentile" if nuclei else "rgb"
        settings = _NUCLEI if nuclei else None
        return InstanceFCN(small, width=64, preprocess=preprocess, settings=settings)
    if chosen == "squeezenet":
        return InstanceFCN(SqueezeNet.from_npz(pretrained) if pretrained else SqueezeNet())
    if chosen == "vgg16":
        return InstanceFCN(VGG16.from_torchvision(pretrained) if pretrained else VGG16())
    raise ValueError(f"backbone must be 'residual', 'squeezenet' or 'vgg16', got {chosen!r}")
