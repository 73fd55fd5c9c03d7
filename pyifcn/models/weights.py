"""Networks in files: safetensors with the architecture and the test settings beside the weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import nn

from pyifcn.data.files import written_whole
from pyifcn.models.deep_mask import DeepMask
from pyifcn.models.fcis import FCIS
from pyifcn.models.fcn import FCN
from pyifcn.models.instance_fcn import InstanceFCN
from pyifcn.models.network import Network, TestSettings
from pyifcn.models.pretrained import load_exact
from pyifcn.models.residual import ResidualPyramid
from pyifcn.models.squeezenet import SqueezeNet
from pyifcn.models.squeezenet_pyramid import SqueezeNetPyramid
from pyifcn.models.vgg import VGG16

__all__ = ["available", "build_backbone", "load", "save"]

_FOLDER = Path(__file__).parents[1] / "weights"
_KEY = "pyifcn"

# Backbones that a file can name, and the arguments, attributes of the same name, that they need.
_BACKBONES: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "residual": (ResidualPyramid, ("inputs", "widths", "blocks", "channels")),
    "squeezenet": (SqueezeNet, ("stride",)),
    "squeezenet_pyramid": (SqueezeNetPyramid, ("channels", "frozen")),
    "vgg16": (VGG16, ()),
}
_NETWORKS: dict[str, type[Network]] = {
    network.kind: network for network in (InstanceFCN, DeepMask, FCN, FCIS)
}


def available() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def build_backbone(name: str, **options: Any) -> nn.Module:
    """A new backbone: "residual", "squeezenet", "squeezenet_pyramid" or "vgg16".

    Args:
        name: Its name.
        **options: Its constructor's arguments.

    Raises:
        ValueError: If no backbone has that name or it has no such argument.
    """
    if name not in _BACKBONES:
        raise ValueError(f"backbone must be one of {sorted(_BACKBONES)}, got {name!r}")
    make, known = _BACKBONES[name]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"backbone {name!r} has no option {unknown[0]!r}")
    return make(**options)


def save(model: Network, path: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
    """Writes a network's weights, architecture and test settings, whole or not at all.

    Args:
        model: The network. A backbone of another kind than ``build_backbone`` makes is not
            described, and must be given to ``load``.
        path: Usually named ``*.safetensors``.
        dtype: What matrices and kernels are rounded to in the file, such as ``torch.float16`` for
            half the size; ``load`` makes them float32 again. As they are if None.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the type has no fractions, or a finite weight would not be finite in it.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point type, got {dtype}")
    metadata = {
        "network": model.kind,
        "backbone": _describe(model.backbone),
        **{name: getattr(model, name) for name in model.options},
        "preprocess": model.preprocess.name,
        "settings": asdict(model.settings),
    }
    state = {name: _rounded(name, value, dtype) for name, value in model.state_dict().items()}
    with written_whole(path) as partial:
        partial.write_bytes(serialize(state, {_KEY: json.dumps(metadata)}))


def load(name_or_path: str | os.PathLike[str], backbone: nn.Module | None = None) -> Network:
    """Reads a network that ``save`` wrote.

    Args:
        name_or_path: A name among ``available``, or a file.
        backbone: Used instead of the one that the file describes.

    Returns:
        The network in evaluation mode.

    Raises:
        OSError: If there is no such file or it cannot be read.
        ValueError: If the file is of another kind, or its weights do not fit its architecture.

    Example:
        >>> from pyifcn.models import load
        >>> load("nuclei").window
        21
    """
    path = weights_file(name_or_path)
    state, metadata = _read(path)
    try:
        model = _build(metadata, backbone)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} describes no network that can be built: {error}") from None
    load_exact(model, state, str(path))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval()


def _rounded(name: str, value: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    value = value.detach().cpu().contiguous()
    if dtype is None or not value.is_floating_point() or value.ndim < 2:
        return value
    if value.isfinite().all() and not value.to(dtype).isfinite().all():
        raise ValueError(f"{name} has weights that are too large for {dtype}")
    return value.to(dtype)


def weights_file(name_or_path: str | os.PathLike[str]) -> Path:
    """The file of weights that `load` would read.

    Raises:
        OSError: If there is none.
    """
    path = Path(name_or_path)
    if str(name_or_path) in available():
        return _FOLDER / f"{name_or_path}.safetensors"
    inside = path / "weights.safetensors"
    if inside.is_file():
        raise IsADirectoryError(f"{path} is a folder: give {inside}")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is neither a file nor one of the shipped weights ({', '.join(available())})"
        )
    return path


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None
    try:
        described = json.loads(metadata[_KEY])
    except (KeyError, ValueError):
        raise ValueError(f"{path} holds tensors, but not a network of pyifcn") from None
    return state, described


def _build(metadata: dict[str, Any], backbone: nn.Module | None) -> Network:
    if backbone is None:
        described = metadata["backbone"]
        if described is None:
            raise ValueError("its backbone is not described, so it must be given")
        backbone = build_backbone(described["name"], **described["options"])
    make = _NETWORKS[metadata.get("network", "instance_fcn")]
    options = {name: metadata[name] for name in make.options}
    if "categories" in options:
        options["categories"] = {int(key): name for key, name in options["categories"].items()}
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in metadata["settings"].items()
    }
    return make(
        backbone,
        **options,
        preprocess=metadata["preprocess"],
        settings=TestSettings(**settings),
    )


def _describe(backbone: nn.Module) -> dict[str, Any] | None:
    for name, (make, options) in _BACKBONES.items():
        if type(backbone) is make:
            return {"name": name, "options": {key: getattr(backbone, key) for key in options}}
    return None
