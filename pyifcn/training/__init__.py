"""Training of InstanceFCN (needs PyTorch: ``pyifcn[models]``)."""

from pyifcn.training.config import Config, preset
from pyifcn.training.trainer import train

__all__ = ["Config", "preset", "train"]
