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
    paste_dense,
    paste_values,
    propose_logits,
    ps_roi,
    ps_roi_backward,
)
from pyifcn._gpu.blend import blend, blend_backward
from pyifcn._gpu.fast_nms import fast_nms
from pyifcn._gpu.mask_geometry import masks_flip, masks_resize, masks_shift
from pyifcn._gpu.mask_labels import masks_from_labels, masks_to_labels
from pyifcn._gpu.mask_sets import masks_combine, masks_merge
from pyifcn._gpu.mask_voting import mask_voting
from pyifcn._gpu.masks import (
    masks_cat,
    masks_equal,
    masks_from_dense,
    masks_patch,
    masks_slice,
    masks_split,
    masks_take,
)
from pyifcn._gpu.nms import batched_nms, batched_nms_groups, nms, nms_groups
from pyifcn._gpu.nms_from_iou import nms_from_iou
from pyifcn._gpu.nms_padded import nms_padded
from pyifcn._gpu.overlap import masks_iou, masks_nms, matrix_nms
from pyifcn._gpu.paste import paste_masks
from pyifcn._gpu.propose import propose, render
from pyifcn._gpu.rle import rle_unpack
from pyifcn._gpu.soft_nms import soft_nms
from pyifcn._gpu.swap_align2nat import swap_align2nat, swap_align2nat_backward
from pyifcn._gpu.vote import vote

__all__ = [
    "assemble",
    "assemble_backward",
    "assemble_dense",
    "assemble_prototypes",
    "assemble_prototypes_backward",
    "batched_nms",
    "batched_nms_groups",
    "blend",
    "blend_backward",
    "fast_nms",
    "mask_voting",
    "masks_area",
    "masks_cat",
    "masks_combine",
    "masks_equal",
    "masks_flip",
    "masks_from_dense",
    "masks_from_labels",
    "masks_iou",
    "masks_merge",
    "masks_nms",
    "masks_patch",
    "masks_resize",
    "masks_shift",
    "masks_slice",
    "masks_split",
    "masks_take",
    "masks_to_dense",
    "masks_to_labels",
    "matrix_nms",
    "nms",
    "nms_from_iou",
    "nms_groups",
    "nms_padded",
    "paste_dense",
    "paste_masks",
    "paste_values",
    "propose",
    "propose_logits",
    "ps_roi",
    "ps_roi_backward",
    "render",
    "rle_unpack",
    "soft_nms",
    "swap_align2nat",
    "swap_align2nat_backward",
    "vote",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise RuntimeError(f"{name} has no CUDA kernel yet; move the tensors to the CPU")
