"""Score maps to instance masks, fast.

The operators take NumPy arrays or torch tensors and give back the same kind. Importing this package
imports NumPy alone; `pyifcn.models` and `pyifcn.training` need PyTorch.
"""

import sys
from importlib.metadata import PackageNotFoundError, version

from pyifcn._accelerate import Accelerated, accelerate, restore
from pyifcn._runtime import available_targets, current_target, use_target
from pyifcn.masks import Masks
from pyifcn.ops.assemble import assemble, assemble_dense
from pyifcn.ops.assemble_prototypes import assemble_prototypes
from pyifcn.ops.assemble_rois import assemble_rois
from pyifcn.ops.blend import blend
from pyifcn.ops.fast_nms import fast_nms
from pyifcn.ops.mask_iou import mask_iou
from pyifcn.ops.mask_nms import mask_nms
from pyifcn.ops.mask_voting import VotedMasks, mask_voting
from pyifcn.ops.masks_to_boxes import masks_to_boxes
from pyifcn.ops.matrix_nms import matrix_nms
from pyifcn.ops.nms import batched_nms, nms
from pyifcn.ops.nms_from_iou import nms_from_iou
from pyifcn.ops.nms_padded import PaddedNms, nms_padded
from pyifcn.ops.paste_masks import paste_masks
from pyifcn.ops.propose import Proposals, propose
from pyifcn.ops.ps_roi import ps_roi_align, ps_roi_pool
from pyifcn.ops.soft_nms import SoftNms, soft_nms
from pyifcn.ops.swap_align2nat import swap_align2nat
from pyifcn.ops.vote import MergedMasks, vote

try:
    __version__ = version("pyifcn")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0+unknown"

if "torch" in sys.modules:  # so that torch.ops.pyifcn is there
    import pyifcn.torch  # noqa: F401

__all__ = [
    "Accelerated",
    "Masks",
    "MergedMasks",
    "PaddedNms",
    "Proposals",
    "SoftNms",
    "VotedMasks",
    "accelerate",
    "assemble",
    "assemble_dense",
    "assemble_prototypes",
    "assemble_rois",
    "available_targets",
    "batched_nms",
    "blend",
    "current_target",
    "fast_nms",
    "mask_iou",
    "mask_nms",
    "mask_voting",
    "masks_to_boxes",
    "matrix_nms",
    "nms",
    "nms_from_iou",
    "nms_padded",
    "paste_masks",
    "propose",
    "ps_roi_align",
    "ps_roi_pool",
    "restore",
    "soft_nms",
    "swap_align2nat",
    "use_target",
    "vote",
]
