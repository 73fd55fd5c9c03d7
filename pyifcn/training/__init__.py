"""Training of the networks (needs PyTorch: ``pyifcn[models]``)."""

from pyifcn.training.config import Config, preset
from pyifcn.training.networks import network
from pyifcn.training.trainer import train

__all__ = ["Config", "network", "preset", "train"]
