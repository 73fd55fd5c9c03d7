"""Training of the networks (needs PyTorch: ``pyifcn[models]``)."""

import pyifcn.models  # noqa: F401  first, for it says what is missing
from pyifcn.training.config import Config, preset
from pyifcn.training.distributed import is_first
from pyifcn.training.launch import processes
from pyifcn.training.networks import network
from pyifcn.training.trainer import train

__all__ = ["Config", "is_first", "network", "preset", "processes", "train"]
