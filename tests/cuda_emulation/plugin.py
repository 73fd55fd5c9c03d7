"""A pytest plugin that runs the operators on the emulated CUDA module.

The module's path is in PYIFCN_CUDA_EMULATION. Its arrays lie in the host's memory.
"""

import importlib
import os
import sys
from functools import wraps
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import numpy as np
import torch

spec = spec_from_file_location("_cuda", os.environ["PYIFCN_CUDA_EMULATION"])
sys.modules["pyifcn._cuda"] = module = module_from_spec(spec)
spec.loader.exec_module(module)

import pyifcn  # noqa: E402

pyifcn._cuda = module
gpu = importlib.import_module("pyifcn._gpu")


def as_tensors(value: Any) -> Any:
    if isinstance(value, list):
        return [as_tensors(item) for item in value]
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def taking_numpy(function: Any) -> Any:
    """`function`, written for tensors, with NumPy arrays as tensors of the same memory."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*map(as_tensors, arguments))

    return call


for name in ("nms", "batched_nms", "propose", "propose_logits"):
    setattr(gpu, name, taking_numpy(getattr(gpu, name)))
for operator in ("assemble", "nms", "propose", "ps_roi"):
    importlib.import_module(f"pyifcn.ops.{operator}").compiled = lambda like: (gpu, (0, 0))
pyifcn.available_targets = lambda: ["cuda"]
pyifcn.current_target = lambda: "cuda"
pyifcn.use_target = lambda name: None
