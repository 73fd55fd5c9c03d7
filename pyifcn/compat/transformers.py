"""What the image processors of SAM and SAM 2 in transformers do with masks, the same and fast.

These are private functions of transformers 5, under their names without the underscore. They do
what those of `pyifcn.compat.segment_anything` do, which says how they differ from the originals.
`image_processing_pil_sam` and `image_processing_sam3` have copies of their own, which `accelerate`
leaves as they are.

Example:
    >>> import torch
    >>> from pyifcn.compat import transformers as sam
    >>> code = sam.mask_to_rle(torch.ones(1, 2, 3, dtype=torch.bool))[0]
    >>> code, sam.rle_to_mask(code).shape
    ({'size': [2, 3], 'counts': [0, 6]}, torch.Size([2, 3]))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyifcn.compat import segment_anything as amg
from pyifcn.compat._covered import without_gradient
from pyifcn.compat._replacement import Replacement

__all__ = ["batched_mask_to_box", "compute_stability_score", "mask_to_rle", "rle_to_mask"]


def mask_to_rle(input_mask: Tensor) -> list[dict[str, Any]]:
    """`pyifcn.compat.segment_anything.mask_to_rle_pytorch`."""
    return amg.mask_to_rle_pytorch(input_mask)


def rle_to_mask(rle: dict[str, Any]) -> Tensor:
    """`pyifcn.compat.segment_anything.rle_to_mask` as a tensor."""
    return torch.from_numpy(amg.rle_to_mask(rle))


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """`pyifcn.compat.segment_anything.batched_mask_to_box`."""
    return amg.batched_mask_to_box(masks)


def compute_stability_score(
    masks: Tensor, mask_threshold: float, stability_score_offset: float
) -> Tensor:
    """`pyifcn.compat.segment_anything.calculate_stability_score`."""
    return amg.calculate_stability_score(masks, mask_threshold, stability_score_offset)


def _encodes(input_mask: Any) -> bool:
    return amg.is_bool(input_mask)


REPLACEMENTS = tuple(
    Replacement(f"transformers.models.{module}._{ours.__name__}", ours, covers)
    for module in ("sam.image_processing_sam", "sam2.image_processing_sam2")
    for ours, covers in (
        (mask_to_rle, _encodes),
        (rle_to_mask, None),
        (batched_mask_to_box, amg.is_bool),
        (compute_stability_score, without_gradient),
    )
)
