"""What `segment_anything.utils.amg` does with masks, the same and fast.

Also for the image processors of transformers that make masks as SAM does. Tensors may be on a GPU:
codes are counted there, and come to the CPU in one copy for all masks.

Names, arguments, defaults and results are those of segment-anything 1.0, with these differences:

- Whatever is not 0 in uint8 is inside a mask. The original makes a run of each value in
  `mask_to_rle_pytorch`, and boxes of zeros in `batched_mask_to_box`; such calls `accelerate` leaves
  to it.
- `mask_to_rle_pytorch` takes images without pixels.
- `rle_to_mask` refuses a code that does not fit its size, where the original leaves pixels as they
  happen to be in memory.
- `calculate_stability_score` counts rows of more than 32,767 pixels right.

The mask generator's NMS is torchvision's: `pyifcn.compat.torchvision.batched_nms`.

Example:
    >>> import torch
    >>> from pyifcn.compat import segment_anything as amg
    >>> masks = torch.zeros(1, 4, 5, dtype=torch.bool)
    >>> masks[0, 1:3, 2:4] = True
    >>> amg.mask_to_rle_pytorch(masks)
    [{'size': [4, 5], 'counts': [9, 2, 2, 2, 5]}]
    >>> amg.batched_mask_to_box(masks)
    tensor([[2, 1, 3, 2]])
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyifcn._array import describe
from pyifcn.compat._covered import on_cpu, without_gradient
from pyifcn.compat._replacement import Replacement
from pyifcn.masks import Masks

__all__ = [
    "batched_mask_to_box",
    "calculate_stability_score",
    "mask_to_rle_pytorch",
    "rle_to_mask",
]


def mask_to_rle_pytorch(tensor: Tensor) -> list[dict[str, Any]]:
    """Uncompressed run-length codes.

    Args:
        tensor: bool (N, H, W).

    Returns:
        For each mask `{"size": [H, W], "counts": list of ints}`.

    Raises:
        TypeError: It is no bool or uint8 tensor of three dimensions.
    """
    return Masks.from_dense(_tensor(tensor, "tensor", 3)).to_rle(compressed=False)


def rle_to_mask(rle: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """The mask of a code.

    Args:
        rle: `{"size": [H, W], "counts": list of ints, or COCO's string}`.

    Returns:
        bool (H, W).

    Raises:
        ValueError: The code is malformed.
    """
    dense: npt.NDArray[np.bool_] = Masks.from_rle([rle]).to_dense()[0]
    return dense


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """The tight boxes of masks.

    Args:
        masks: bool (..., H, W).

    Returns:
        int64 (..., 4): x1, y1, x2, y2, the last pixel inside; of an empty mask 0 0 0 0. Where there
        are no masks or no pixels, float32 zeros, as in the original.

    Raises:
        TypeError: It is no bool or uint8 tensor of two dimensions or more.
    """
    masks = _tensor(masks, "masks", 2)
    if masks.numel() == 0:
        return torch.zeros(*masks.shape[:-2], 4, device=masks.device)
    boxes: Tensor = Masks.from_dense(masks.reshape(-1, *masks.shape[-2:])).boxes.long()
    boxes[:, 2:] -= (boxes[:, 2:] > 0).long()
    return boxes.reshape(*masks.shape[:-2], 4)


def calculate_stability_score(
    masks: Tensor, mask_threshold: float, threshold_offset: float
) -> Tensor:
    """IoU of the masks at a threshold a little higher and a little lower.

    Args:
        masks: (..., H, W) logits.
        mask_threshold: The threshold between.
        threshold_offset: How much higher and lower.

    Returns:
        float32 (...); NaN where no logit is above the lower threshold.

    Raises:
        TypeError: It is no tensor of two dimensions or more.
    """
    if not isinstance(masks, Tensor) or masks.ndim < 2:
        raise TypeError(f"masks is {describe(masks)}, expected a tensor (..., H, W)")
    high, low = (
        (masks > mask_threshold + offset).flatten(-2).count_nonzero(-1).int()
        for offset in (threshold_offset, -threshold_offset)
    )
    return high / low


def _tensor(value: Any, name: str, least: int) -> Tensor:
    right = isinstance(value, Tensor) and value.dtype in (torch.bool, torch.uint8)
    if not right or value.ndim < least or (least == 3 and value.ndim != 3):
        shape = "(N, H, W)" if least == 3 else "(..., H, W)"
        raise TypeError(f"{name} is {describe(value)}, expected a bool tensor {shape}")
    return value


def is_bool(masks: Any) -> bool:
    """Whether masks are such as the originals are made for."""
    return on_cpu(masks) and masks.dtype == torch.bool


def _encodes(tensor: Any) -> bool:
    return is_bool(tensor)


REPLACEMENTS = tuple(
    Replacement(f"segment_anything.utils.amg.{ours.__name__}", ours, covers)
    for ours, covers in (
        (mask_to_rle_pytorch, _encodes),
        (rle_to_mask, None),
        (batched_mask_to_box, is_bool),
        (calculate_stability_score, without_gradient),
    )
)
