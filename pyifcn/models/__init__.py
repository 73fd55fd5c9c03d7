"""Networks that predict instance-sensitive score maps (need PyTorch: ``pyifcn[models]``)."""

try:
    import safetensors as safetensors
    import torch as torch
except ModuleNotFoundError as error:
    if error.name not in ("torch", "safetensors"):
        raise
    raise ImportError(
        f'pyifcn.models needs {error.name}; install it with: pip install "pyifcn[models]"'
    ) from None

from pyifcn.models.adapters import adapt
from pyifcn.models.instance_fcn import Backbone, InstanceFCN, TestSettings
from pyifcn.models.preprocess import Preprocess, preprocess
from pyifcn.models.residual import ResidualPyramid
from pyifcn.models.squeezenet import SqueezeNet
from pyifcn.models.vgg import VGG16
from pyifcn.models.weights import available, build_backbone, load, save

__all__ = [
    "VGG16",
    "Backbone",
    "InstanceFCN",
    "Preprocess",
    "ResidualPyramid",
    "SqueezeNet",
    "TestSettings",
    "adapt",
    "available",
    "build_backbone",
    "load",
    "preprocess",
    "save",
]
