"""Backbones that the user already has: timm, torchvision, transformers, or any module."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyifcn.models.pretrained import IMAGENET_MEAN, IMAGENET_STD, Normalize

Level = int | str

# Twice as wide as high, so that a map's shape tells rows from columns; both sides are multiples of
# every usual stride: 32, and 14 for vision transformers.
_TRIAL_SIZE = (224, 448)


class _Found(NamedTuple):
    """What a trial run shows of one of a module's maps."""

    stride: int
    channels: int
    channels_last: bool


def adapt(
    module: nn.Module,
    levels: Level | Sequence[Level] | None = None,
    *,
    channels: int = 256,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> "AdaptedBackbone":
    """Make a backbone for ``InstanceFCN`` of a module that computes feature maps.

    Fits timm models created with ``features_only=True``, torchvision's
    ``create_feature_extractor``, transformers' ``AutoBackbone``, and any module whose output is a
    map, a list or dict of maps, or an object with ``feature_maps``. Strides, channels and layout
    are read off one trial run on a 224 x 448 image.

    Args:
        module: takes images (B, 3, H, W); gives maps (B, C, h, w) or (B, h, w, C).
        levels: which map: its position, or its name in a dict. Several are merged as in a feature
            pyramid network: each through a 1x1 convolution of its own, then added at the finest
            one's resolution. None takes the deepest map with a stride of at most 8, or the finest
            map if all are coarser.
        channels: of merged maps; a single map keeps its own.
        mean: of the RGB images in 0..1 that the module was trained on. None takes the module's
            ``pretrained_cfg`` (timm), else ImageNet's.
        std: likewise.

    Returns:
        A module with ``stride`` and ``channels``; gradients flow into ``module``.

    Raises:
        TypeError: ``module`` is no module, or its output holds no feature maps.
        ValueError: the module refuses the trial image, a map's stride is not a whole number, or
            there is no such level.

    Example:
        >>> import torch
        >>> layer = torch.nn.Conv2d(3, 16, 3, stride=4, padding=1)
        >>> backbone = adapt(layer)
        >>> backbone.stride, backbone.channels
        (4, 16)
        >>> backbone(torch.zeros(1, 3, 50, 33)).shape
        torch.Size([1, 16, 13, 9])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    found = _try(module)
    chosen = _choose(levels, found)
    config: Mapping[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    normalize = Normalize(
        mean or config.get("mean") or IMAGENET_MEAN, std or config.get("std") or IMAGENET_STD
    )
    return AdaptedBackbone(module, found, chosen, channels, normalize)


class AdaptedBackbone(nn.Module):
    """One map of a module, or several merged; made by ``adapt``.

    Images are padded on the right and at the bottom with the mean colour to whole cells of the
    coarsest map, and the result is cut to ``ceil(H / stride)`` x ``ceil(W / stride)``.

    Attributes:
        stride: image pixels a position.
        channels: of the result.
        module: the module adapted.
    """

    def __init__(
        self,
        module: nn.Module,
        found: Mapping[Level, _Found],
        chosen: Sequence[Level],
        channels: int,
        normalize: Normalize,
    ) -> None:
        super().__init__()
        used = [found[level] for level in chosen]
        self.module = module
        self.normalize = normalize
        self.stride: int = min(map_.stride for map_ in used)
        self.channels: int = channels if len(used) > 1 else used[0].channels
        self._levels = tuple(chosen)
        self._channels_last = [map_.channels_last for map_ in used]
        self._multiple = math.lcm(*(map_.stride for map_ in found.values()))
        self.lateral = nn.ModuleList(
            nn.Conv2d(map_.channels, channels, 1) for map_ in used if len(used) > 1
        )

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in 0..1 -> (B, channels, ceil(H / stride), ceil(W / stride))."""
        height, width = images.shape[-2:]
        padding = (0, -width % self._multiple, 0, -height % self._multiple)
        outputs = _maps(self.module(functional.pad(self.normalize(images), padding)))
        merged = self._merge([outputs[level] for level in self._levels])
        return merged[..., : -(-height // self.stride), : -(-width // self.stride)]

    def _merge(self, maps: list[Tensor]) -> Tensor:
        maps = [
            map_.permute(0, 3, 1, 2) if last else map_
            for map_, last in zip(maps, self._channels_last, strict=True)
        ]
        if not self.lateral:
            return maps[0]
        maps = [lateral(map_) for lateral, map_ in zip(self.lateral, maps, strict=True)]
        finest = max(maps, key=lambda map_: map_.shape[-1])
        merged = torch.zeros_like(finest)
        for map_ in maps:
            merged = merged + functional.interpolate(
                map_, finest.shape[-2:], mode="bilinear", align_corners=False
            )
        return merged


def _maps(output: Any) -> dict[Level, Tensor]:
    """A module's output as maps by position, and by name if it is a dict."""
    output = getattr(output, "feature_maps", output)
    if isinstance(output, Mapping):
        named = {str(name): map_ for name, map_ in output.items()}
        by_position = dict(enumerate(named.values()))
        return cast(dict[Level, Tensor], by_position | named)
    return dict(enumerate(output if isinstance(output, list | tuple) else [output]))


def _try(module: nn.Module) -> dict[Level, _Found]:
    parameter = next(module.parameters(), torch.empty(0))
    image = torch.zeros(1, 3, *_TRIAL_SIZE, dtype=parameter.dtype, device=parameter.device)
    was_training = module.training
    try:
        with torch.no_grad():
            output = module.eval()(image)
    except Exception as error:  # whatever the user's module raises
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"module must take images {tuple(image.shape)}, but says: {reason}"
        ) from error
    finally:
        module.train(was_training)
    return {level: _measure(level, map_) for level, map_ in _maps(output).items()}


def _measure(level: Level, map_: object) -> _Found:
    if not isinstance(map_, Tensor) or map_.ndim != 4:
        what = f"shape {tuple(map_.shape)}" if isinstance(map_, Tensor) else type(map_).__name__
        raise TypeError(f"module must give maps (B, C, h, w), but output {level!r} is a {what}")
    height, width = _TRIAL_SIZE
    for channels_last in (False, True):
        rows, columns = map_.shape[1:3] if channels_last else map_.shape[2:]
        stride = height // max(rows, 1)
        if rows * stride == height and columns * stride == width:
            channels = map_.shape[3] if channels_last else map_.shape[1]
            return _Found(stride, channels, channels_last)
    raise ValueError(
        f"output {level!r} of module has shape {tuple(map_.shape)} for an image of "
        f"{height} x {width}: its stride is not a whole number"
    )


def _choose(levels: Level | Sequence[Level] | None, found: Mapping[Level, _Found]) -> list[Level]:
    positions = [level for level in found if isinstance(level, int)]
    if not positions:
        raise TypeError("module must give at least one feature map, got none")
    if levels is None:
        enough = max(8, min(map_.stride for map_ in found.values()))
        fine = [level for level in positions if found[level].stride <= enough]
        return [max(fine, key=lambda level: (found[level].stride, level))]
    asked = [levels] if isinstance(levels, int | str) else list(levels)
    if not asked:
        raise ValueError("levels must name at least one map, got none")
    chosen: list[Level] = []
    for level in asked:
        chosen.append(level + len(positions) if isinstance(level, int) and level < 0 else level)
        if chosen[-1] not in found:
            have = ", ".join(f"{key!r} (stride {map_.stride})" for key, map_ in found.items())
            raise ValueError(f"levels has {level!r}, but module gives {have}")
    return chosen
