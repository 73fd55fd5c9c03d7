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
    assemble_prototypes,
    assemble_prototypes_backward,
    masks_area,
    masks_to_dense,
    ps_roi,
    ps_roi_backward,
)
from pyifcn._gpu.blend import blend, blend_backward
from pyifcn._gpu.masks import (
    masks_cat,
    masks_from_dense,
    masks_patch,
    masks_slice,
    masks_take,
)
from pyifcn._gpu.nms import batched_nms, nms
from pyifcn._gpu.propose import propose, propose_logits
from pyifcn._gpu.swap_align2nat import swap_align2nat, swap_align2nat_backward

__all__ = [
    "assemble",
    "assemble_backward",
    "assemble_dense",
    "assemble_prototypes",
    "assemble_prototypes_backward",
    "batched_nms",
    "blend",
    "blend_backward",
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
    "swap_align2nat",
    "swap_align2nat_backward",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise RuntimeError(f"{name} has no CUDA kernel yet; move the tensors to the CPU")
