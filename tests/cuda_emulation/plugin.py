"""A pytest plugin that runs the operators' tests on CUDA kernels, emulated or a GPU's.

The environment variable PYIFCN_CUDA_EMULATION is the path of the emulated module. Around each call
of a compiled function the arrays are copied to memory of its own, the GPU's where there is no such
variable, and back.
"""

import importlib
import os
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import numpy as np
import torch

DEVICE = "cpu" if "PYIFCN_CUDA_EMULATION" in os.environ else "cuda"

if DEVICE == "cpu":
    spec = spec_from_file_location("_cuda", os.environ["PYIFCN_CUDA_EMULATION"])
    sys.modules["pyifcn._cuda"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pyifcn._cuda"])

import pyifcn  # noqa: E402

pyifcn._cuda = importlib.import_module("pyifcn._cuda")
gpu = importlib.import_module("pyifcn._gpu")


# By its id what was given, that as a tensor in the host's memory, and the copy of that.
Copies = dict[int, tuple[Any, torch.Tensor, torch.Tensor]]


class OnDevice:
    """The functions of _gpu, for arrays in the host's memory."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(gpu, name)

        def call(*arguments: Any) -> Any:
            copies: Copies = {}
            answer = function(*(lend(value, copies) for value in arguments))
            for _, ours, theirs in copies.values():
                ours.copy_(theirs)
            return give_back(answer)

        return call


def lend(value: Any, copies: Copies) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(lend(item, copies) for item in value)
    if id(value) in copies:
        return copies[id(value)][2]
    given = value
    if isinstance(value, np.ndarray) and value.dtype.isnative and value.dtype.kind in "biuf":
        usable = value.flags.writeable and min(value.strides, default=0) >= 0
        value = torch.from_numpy(value if usable else value.copy())
    if isinstance(value, torch.Tensor):
        copies[id(given)] = given, value, value.to(DEVICE, copy=True)
        return copies[id(given)][2]
    return value


def give_back(answer: Any) -> Any:
    """Arrays that a function has made are NumPy's on the CPU."""
    if isinstance(answer, (list, tuple)):
        return type(answer)(give_back(item) for item in answer)
    return answer.cpu().numpy() if isinstance(answer, torch.Tensor) else answer


def compiled(like: Any) -> tuple[OnDevice, tuple[int, int]]:
    if DEVICE == "cpu":
        return OnDevice(), (0, 0)
    stream = torch.cuda.current_stream()
    return OnDevice(), (stream.device_index, stream.cuda_stream)


def dirty(shape: tuple[int, ...], like: Any, dtype: str) -> Any:
    """What a kernel on a GPU gets for `_array.background`: memory that holds anything."""
    ones = np.ones(shape, dtype)
    return torch.from_numpy(ones) if isinstance(like, torch.Tensor) else ones


for name, module in list(sys.modules.items()):
    if name.startswith("pyifcn."):
        for function, ours in {"compiled": compiled, "background": dirty}.items():
            if function in vars(module):
                setattr(module, function, ours)
pyifcn.available_targets = lambda: ["cuda"]
pyifcn.current_target = lambda: "cuda"
pyifcn.use_target = lambda name: None
