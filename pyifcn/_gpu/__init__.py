"""The functions of _cpu for CUDA tensors, one file for each operator.

Most are those of _cuda. Where torch must sort, scan or lend memory around the kernels, that stands
here. Each function takes what its namesake of _cpu takes, but tensors on one device, and as its
last argument (device index, stream).
"""

from __future__ import annotations

from typing import Any

from pyifcn._cuda import (
    assemble,
    assemble_backward,
    assemble_dense,
    masks_area,
    masks_to_dense,
    ps_roi,
    ps_roi_backward,
)
from pyifcn._gpu.mask_voting import mask_voting
from pyifcn._gpu.masks import (
    masks_cat,
    masks_from_dense,
    masks_patch,
    masks_slice,
    masks_take,
)
from pyifcn._gpu.nms import batched_nms, nms
from pyifcn._gpu.propose import propose, propose_logits
from pyifcn._gpu.vote import vote

__all__ = [
    "assemble",
    "assemble_backward",
    "assemble_dense",
    "batched_nms",
    "mask_voting",
    "masks_area",
    "masks_cat",
    "masks_from_dense",
    "masks_patch",
    "masks_slice",
    "masks_take",
    "masks_to_dense",
    "nms",
    "propose",
    "propose_logits",
    "ps_roi",
    "ps_roi_backward",
    "vote",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise RuntimeError(f"{name} has no CUDA kernel yet; move the tensors to the CPU")
