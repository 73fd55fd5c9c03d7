"""Functions of torchvision's operators and detectors, the same and fast.

Put `from pyifcn.compat.torchvision import nms` in the place of `from torchvision.ops import nms`,
or let `pyifcn.accelerate("torchvision")` do it for torchvision's own detectors. Arguments, defaults
and results are those of torchvision 0.29, with these differences:

- `nms` and `batched_nms` take float16 and bfloat16 on the CPU too. A threshold that is NaN is a
  `ValueError`; torchvision keeps all boxes. `idxs` must be one whole number for each box;
  torchvision takes fractions, and one number for all.
- `ps_roi_pool` and `ps_roi_align` take float16 and bfloat16. A box of an image that is not there is
  a `ValueError`, where torchvision reads memory that is not its own. A RoI without samples gives
  zeros in `ps_roi_align`, where torchvision divides 0 by 0.
- The values of `paste_masks_in_image` are within 1e-5 of torchvision's for values from 0 to 1, and
  not differentiable. A box that torchvision cannot place, such as one with NaN in it, gives an
  empty mask. Masks must be square, one to a box, and `padding` 1.
- Arguments of a wrong type are a `TypeError` and wrong values a `ValueError`, where torchvision
  raises one of several others.

Imported from here they are no drop-in for `torch.jit`, `torch.export`, `torch.fx` and
`torch.compile(fullgraph=True)`; `pyifcn.accelerate` leaves such calls to torchvision.

On a GPU `nms`, `batched_nms`, `ps_roi_pool` and `ps_roi_align` run on our CUDA kernels; the others
refuse its tensors in one line.

Example:
    >>> import torch
    >>> from pyifcn.compat.torchvision import nms
    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
    >>> nms(boxes, torch.tensor([0.8, 0.9, 0.1]), 0.5)
    tensor([1, 2])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import pyifcn
from pyifcn._array import describe
from pyifcn.compat._covered import on_cpu, without_gradient
from pyifcn.compat._replacement import Replacement

__all__ = [
    "PSRoIAlign",
    "PSRoIPool",
    "batched_nms",
    "masks_to_boxes",
    "nms",
    "paste_masks_in_image",
    "ps_roi_align",
    "ps_roi_pool",
]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """`torchvision.ops.nms`: keeps the best of boxes that overlap.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2, floating.
        scores: (N,) of the same dtype.
        iou_threshold: IoU above which the box with the lower score goes.

    Returns:
        int64 indices of the boxes that are kept, by falling score.

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or the threshold is NaN.
    """
    return pyifcn.nms(_tensor(boxes, "boxes"), scores, iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`torchvision.ops.batched_nms`: `nms` within each category.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2, floating.
        scores: (N,) of the same dtype.
        idxs: (N,) whole numbers of any dtype, the category of each box.
        iou_threshold: IoU above which the box with the lower score goes.

    Returns:
        int64 indices of the boxes that are kept, by falling score.

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, `idxs` holds a fraction, or the threshold is NaN.
    """
    if _tensor(boxes, "boxes").numel() == 0:  # of whatever shape, as torchvision has it
        return torch.empty((0,), dtype=torch.int64, device=boxes.device)
    keep = pyifcn.batched_nms(boxes, scores, _categories(_tensor(idxs, "idxs")), iou_threshold)
    if boxes.numel() <= 4000:
        return keep
    keep = keep.sort()[0]  # so that torch leaves equal scores in the order that torchvision's have
    return keep[scores[keep].sort(descending=True)[1]]


def masks_to_boxes(masks: Tensor) -> Tensor:
    """`torchvision.ops.masks_to_boxes`: the boxes around masks, the last pixel inside.

    Args:
        masks: (N, H, W) of any dtype; whatever is not 0 is foreground.

    Returns:
        float32 (N, 4), rows of x1, y1, x2, y2; an empty mask gives zeros.

    Raises:
        TypeError: It is no tensor of three dimensions.
    """
    if _tensor(masks, "masks").numel() == 0:
        return torch.zeros((0, 4), dtype=torch.float32, device=masks.device)
    if masks.dtype not in (torch.bool, torch.uint8):
        masks = masks != 0
    return pyifcn.masks_to_boxes(masks)


def ps_roi_pool(
    input: Tensor,  # noqa: A002
    boxes: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """`torchvision.ops.ps_roi_pool`, bit for bit, and its gradient.

    Args:
        input: (B, C * P * Q, H, W), floating.
        boxes: (N, 5), rows of image, x1, y1, x2, y2; or for each image (L, 4).
        output_size: P and Q, or one number for both.
        spatial_scale: Pixels of the maps for one unit of the boxes.

    Returns:
        (N, C, P, Q).

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or a box is of an image that is not there.
    """
    return pyifcn.ps_roi_pool(_tensor(input, "input"), boxes, output_size, spatial_scale)


def ps_roi_align(
    input: Tensor,  # noqa: A002
    boxes: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
) -> Tensor:
    """`torchvision.ops.ps_roi_align`, bit for bit, and its gradient.

    Args:
        input: (B, C * P * Q, H, W), floating.
        boxes: (N, 5), rows of image, x1, y1, x2, y2; or for each image (L, 4).
        output_size: P and Q, or one number for both.
        spatial_scale: Pixels of the maps for one unit of the boxes.
        sampling_ratio: Samples of a bin, down and across; 0 or less: as many as it has pixels.

    Returns:
        (N, C, P, Q).

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or a box is of an image that is not there.
    """
    return pyifcn.ps_roi_align(
        _tensor(input, "input"), boxes, output_size, spatial_scale, sampling_ratio
    )


class PSRoIPool(nn.Module):
    """`torchvision.ops.PSRoIPool`: `ps_roi_pool` as a module."""

    def __init__(self, output_size: int, spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:  # noqa: A002
        """Pools `input` in each of `rois`."""
        return ps_roi_pool(input, rois, self.output_size, self.spatial_scale)

    def __repr__(self) -> str:
        return f"PSRoIPool(output_size={self.output_size}, spatial_scale={self.spatial_scale})"


class PSRoIAlign(nn.Module):
    """`torchvision.ops.PSRoIAlign`: `ps_roi_align` as a module."""

    def __init__(self, output_size: int, spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:  # noqa: A002
        """Pools `input` in each of `rois`."""
        return ps_roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)

    def __repr__(self) -> str:
        return (
            f"PSRoIAlign(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio})"
        )


def paste_masks_in_image(
    masks: Tensor, boxes: Tensor, img_shape: tuple[int, int], padding: int = 1
) -> Tensor:
    """`torchvision.models.detection.roi_heads.paste_masks_in_image`: soft masks on the image.

    The values are not compared with a threshold. Where no box is, the system gives no memory, so
    that only what is looked at takes some; `pyifcn.paste_masks` gives bits instead of floats.

    Args:
        masks: (N, 1, M, M), floating.
        boxes: (N, 4) rows of x1, y1, x2, y2 in pixels of the image.
        img_shape: (H, W) of the image.
        padding: 1, the ring of zeros around each mask.

    Returns:
        (N, 1, H, W) of the dtype of `masks`.

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, masks are not square, or `padding` is not 1.
    """
    if _tensor(masks, "masks").ndim != 4 or not masks.is_floating_point():
        raise TypeError(f"masks is {describe(masks)}, expected floating (N, 1, M, M)")
    if masks.shape[2] != masks.shape[3]:
        raise ValueError(f"masks has shape {tuple(masks.shape)}, expected square masks")
    if padding != 1:
        raise ValueError(f"padding is {padding!r}, expected 1")
    if not _tensor(boxes, "boxes").is_floating_point():
        boxes = boxes.float()
    computed = torch.float64 if masks.dtype == torch.float64 else torch.float32
    name: Any = str(computed).removeprefix("torch.")
    height, width = img_shape
    pasted = pyifcn.paste_masks(
        masks[:, 0].detach(), boxes.detach(), (height, width), threshold=None, out=name
    )
    return pasted[:, None].to(masks.dtype)


def _tensor(value: Any, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is {describe(value)}, expected a tensor")
    return value


def _categories(idxs: Tensor) -> Tensor:
    whole = idxs.to(torch.int64)
    if idxs.is_floating_point() and not torch.equal(whole.to(idxs.dtype), idxs):
        raise ValueError("idxs holds a number that is not whole, expected categories")
    return whole


def _batches(boxes: Any, scores: Any, idxs: Any, iou_threshold: Any) -> bool:
    """Whether a call is one that `batched_nms` takes as torchvision does."""
    return on_cpu(boxes, scores, idxs) and not idxs.is_floating_point() and len(idxs) == len(boxes)


def _pools(
    input: Any,  # noqa: A002
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
) -> bool:
    """Whether a call is one that `ps_roi_pool` and `ps_roi_align` take as torchvision does."""
    if not on_cpu(input, boxes) or isinstance(output_size, (np.ndarray, Tensor)):
        return False
    if isinstance(boxes, Tensor):
        images = boxes[:, :1]
        listed = images.is_floating_point() and not (images.frac().abs() > 0).any()
    else:
        listed = len(boxes) == len(input)
    return listed and spatial_scale > 0


def _pastes(masks: Any, boxes: Any, img_shape: Any, padding: int = 1) -> bool:
    """Whether a call is one that `paste_masks_in_image` takes as torchvision does."""
    return (
        without_gradient(masks, boxes)
        and masks.is_floating_point()
        and masks.ndim == 4
        and masks.shape[1] == 1
        and masks.shape[2] == masks.shape[3]
        and len(masks) == len(boxes)
        and padding == 1
    )


REPLACEMENTS = (
    Replacement("torchvision.ops.boxes.nms", nms, on_cpu),
    Replacement("torchvision.ops.boxes.batched_nms", batched_nms, _batches),
    Replacement("torchvision.ops.boxes.masks_to_boxes", masks_to_boxes, on_cpu),
    Replacement("torchvision.ops.ps_roi_pool.ps_roi_pool", ps_roi_pool, _pools),
    Replacement("torchvision.ops.ps_roi_align.ps_roi_align", ps_roi_align, _pools),
    Replacement(
        "torchvision.models.detection.roi_heads.paste_masks_in_image",
        paste_masks_in_image,
        _pastes,
    ),
)
