"""Networks that find instances (need PyTorch: ``pyifcn[models]``)."""

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
from pyifcn.models.deep_mask import DeepMask
from pyifcn.models.fcis import FCIS
from pyifcn.models.fcn import FCN
from pyifcn.models.instance_fcn import InstanceFCN
from pyifcn.models.network import Backbone, Instances, Network, TestSettings
from pyifcn.models.preprocess import Preprocess, preprocess
from pyifcn.models.residual import ResidualPyramid
from pyifcn.models.squeezenet import SqueezeNet
from pyifcn.models.squeezenet_pyramid import SqueezeNetPyramid
from pyifcn.models.vgg import VGG16
from pyifcn.models.weights import available, build_backbone, load, save
from pyifcn.models.window_network import WindowNetwork

__all__ = [
    "FCIS",
    "FCN",
    "VGG16",
    "Backbone",
    "DeepMask",
    "InstanceFCN",
    "Instances",
    "Network",
    "Preprocess",
    "ResidualPyramid",
    "SqueezeNet",
    "SqueezeNetPyramid",
    "TestSettings",
    "WindowNetwork",
    "adapt",
    "available",
    "build_backbone",
    "load",
    "preprocess",
    "save",
]
