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
OPERATORS = (
    *("assemble", "propose", "ps_roi"),
    *("nms", "nms_from_iou", "nms_padded", "soft_nms"),
)

if DEVICE == "cpu":
    spec = spec_from_file_location("_cuda", os.environ["PYIFCN_CUDA_EMULATION"])
    sys.modules["pyifcn._cuda"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pyifcn._cuda"])

import pyifcn  # noqa: E402

pyifcn._cuda = importlib.import_module("pyifcn._cuda")
gpu = importlib.import_module("pyifcn._gpu")


class OnDevice:
    """The functions of _gpu, for arrays in the host's memory."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(gpu, name)

        def call(*arguments: Any) -> Any:
            copies: list[tuple[torch.Tensor, torch.Tensor]] = []
            answer = function(*(lend(value, copies) for value in arguments))
            for ours, theirs in copies:
                ours.copy_(theirs)
            return answer

        return call


def lend(value: Any, copies: list[tuple[torch.Tensor, torch.Tensor]]) -> Any:
    if isinstance(value, list):
        return [lend(item, copies) for item in value]
    if isinstance(value, np.ndarray) and value.dtype.isnative and value.dtype.kind in "biuf":
        value = torch.from_numpy(value if value.flags.writeable else value.copy())
    if isinstance(value, torch.Tensor):
        copies.append((value, value.to(DEVICE, copy=True)))
        return copies[-1][1]
    return value


def compiled(like: Any) -> tuple[OnDevice, tuple[int, int]]:
    if DEVICE == "cpu":
        return OnDevice(), (0, 0)
    stream = torch.cuda.current_stream()
    return OnDevice(), (stream.device_index, stream.cuda_stream)


for operator in OPERATORS:
    importlib.import_module(f"pyifcn.ops.{operator}").compiled = compiled
pyifcn.available_targets = lambda: ["cuda"]
pyifcn.current_target = lambda: "cuda"
pyifcn.use_target = lambda name: None
