"""Functions of detectron2 and of AdelaiDet on top of it, the same and fast.

`paste_masks_in_image` and `batched_nms` are detectron2.layers', `ml_nms` is adet.layers',
`matrix_nms` and `mask_nms` are adet.modeling.solov2.utils', `SwapAlign2Nat` is
tensormask.layers'. Import them from here in their place,
or let `pyifcn.accelerate("detectron2", "adet")` do it. Names, arguments, defaults and results are
those of detectron2 0.6 and AdelaiDet, with these differences:

- In `paste_masks_in_image` a pixel whose value is within 1e-5 of the threshold may be either. A box
  with NaN in it, or without area, gives an empty mask. float16 and bfloat16 are computed in
  float32, and for a negative threshold values outside 0..1 are clamped, where detectron2's wrap.
- `batched_nms` and `ml_nms` have the differences of `pyifcn.compat.torchvision.batched_nms`.
- `matrix_nms` and `mask_nms` take binary masks, of any dtype, the very areas of the masks, and
  whole numbers as labels. An IoU with an empty mask is 0, where AdelaiDet's `matrix_nms` divides 0
  by 0; "linear" does not divide by 0 after an exact copy. `mask_nms` compares the IoU in float64.
- `paste_masks_in_image`, `matrix_nms` and `mask_nms` run on the CPU, and refuse other tensors in
  one line.
- `SwapAlign2Nat` runs on the CPU too, and differs by rounding alone.
- Arguments of a wrong type are a `TypeError` and wrong values a `ValueError`, where the originals
  have assertions.

Example:
    >>> import torch
    >>> from pyifcn.compat.detectron2 import paste_masks_in_image
    >>> soft, boxes = torch.ones(1, 28, 28), torch.tensor([[1.0, 2, 4, 5]])
    >>> paste_masks_in_image(soft, boxes, (6, 6))[0].int()
    tensor([[0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 0, 0],
            [0, 1, 1, 1, 0, 0],
            [0, 1, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 0]], dtype=torch.int32)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import pyifcn
from pyifcn._array import as_int, as_number, describe
from pyifcn.compat import torchvision
from pyifcn.compat._covered import on_cpu
from pyifcn.compat._instance_masks import check_areas, checked_masks, is_binary, lowered
from pyifcn.compat._replacement import Replacement

__all__ = [
    "SwapAlign2Nat",
    "batched_nms",
    "mask_nms",
    "matrix_nms",
    "ml_nms",
    "paste_masks_in_image",
]


class SwapAlign2Nat(nn.Module):
    """`tensormask.layers.SwapAlign2Nat`: `pyifcn.swap_align2nat` as a module.

    Args:
        lambda_val: Pixels that a unit of the input's windows is long, at least 1.
        pad_val: What neighbours outside the input read.

    Raises:
        TypeError: An argument is no number, or `lambda_val` no whole one.
        ValueError: `lambda_val` is less than 1.

    Example:
        >>> import torch
        >>> from pyifcn.compat.detectron2 import SwapAlign2Nat
        >>> SwapAlign2Nat(2)(torch.zeros(1, 9, 8, 8)).shape
        torch.Size([1, 36, 4, 4])
    """

    def __init__(self, lambda_val: int, pad_val: float = -6.0) -> None:
        super().__init__()
        self.lambda_val = as_int(lambda_val, "lambda_val", 1)
        self.pad_val = as_number(pad_val, "pad_val")

    def forward(self, X: Tensor) -> Tensor:
        """(B, V * V, H, W) to (B, (lambda V)^2, ceil(H / lambda), ceil(W / lambda))."""
        return pyifcn.swap_align2nat(X, self.lambda_val, self.pad_val)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"lambda_val={self.lambda_val}, pad_val={self.pad_val}"


def paste_masks_in_image(
    masks: Tensor, boxes: Any, image_shape: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """`detectron2.layers.paste_masks_in_image`: soft masks as bits of the image.

    Args:
        masks: (N, M, M) soft masks, 0 to 1.
        boxes: (N, 4) rows of x1, y1, x2, y2 in pixels of the image, or detectron2's `Boxes`.
        image_shape: (H, W) of the image.
        threshold: Set where the value is at least this; negative: the values times 255 instead.

    Returns:
        bool (N, H, W); uint8 for a negative threshold, and where N is 0.

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, masks are not square, or the threshold is NaN.
    """
    if not isinstance(masks, Tensor) or masks.ndim != 3:
        raise TypeError(f"masks is {describe(masks)}, expected a tensor (N, M, M)")
    if masks.shape[1] != masks.shape[2]:
        raise ValueError(f"masks has shape {tuple(masks.shape)}, expected square masks")
    height, width = image_shape
    if len(masks) == 0:
        return masks.new_empty((0, height, width), dtype=torch.uint8)
    places = boxes if isinstance(boxes, Tensor) else getattr(boxes, "tensor", boxes)
    least = as_number(threshold, "threshold")
    soft = masks.detach() if masks.is_floating_point() else masks.float()
    if isinstance(places, Tensor):
        places = places.detach() if places.is_floating_point() else places.float()
    if least < 0:
        return pyifcn.paste_masks(
            soft, places, (height, width), threshold=None, convention="detectron2", out="uint8"
        )
    return pyifcn.paste_masks(
        soft, places, (height, width), threshold=least, convention="detectron2", out="bool"
    )


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`detectron2.layers.batched_nms`: torchvision's, of boxes as float32.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2 of any dtype.
        scores: float32 (N,).
        idxs: (N,) whole numbers of any dtype, the category of each box.
        iou_threshold: IoU above which the box with the lower score goes.

    Returns:
        int64 indices of the boxes that are kept, by falling score.

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, `idxs` holds a fraction, or the threshold is NaN.
    """
    if not isinstance(boxes, Tensor) or boxes.shape[-1:] != (4,):
        raise ValueError(f"boxes is {describe(boxes)}, expected a tensor (N, 4)")
    return torchvision.batched_nms(boxes.float(), scores, idxs, iou_threshold)


def ml_nms(
    boxlist: Any,
    nms_thresh: float,
    max_proposals: int = -1,
    score_field: str = "scores",
    label_field: str = "labels",
) -> Any:
    """`adet.layers.ml_nms`: the instances that `batched_nms` keeps.

    Args:
        boxlist: detectron2's `Instances` with pred_boxes, scores and pred_classes.
        nms_thresh: IoU above which the box with the lower score goes; 0 or less: nothing is done.
        max_proposals: More than 0: the most instances.
        score_field: Not used, as in AdelaiDet.
        label_field: Not used, as in AdelaiDet.

    Returns:
        `boxlist` indexed by what is kept, by falling score.
    """
    if nms_thresh <= 0:
        return boxlist
    boxes, labels = boxlist.pred_boxes.tensor, boxlist.pred_classes
    keep = batched_nms(boxes, boxlist.scores, labels, nms_thresh)
    return boxlist[keep[:max_proposals] if max_proposals > 0 else keep]


def matrix_nms(
    cate_labels: Tensor,
    seg_masks: Tensor,
    sum_masks: Tensor,
    cate_scores: Tensor,
    sigma: float = 2.0,
    kernel: str = "gaussian",
) -> Any:
    """AdelaiDet's matrix NMS: lowers the scores of masks that overlap better ones.

    Args:
        cate_labels: (N,) integers; masks of different labels leave each other alone.
        seg_masks: (N, H, W) of 0 and 1, of any dtype, the best first.
        sum_masks: (N,), how many pixels each has.
        cate_scores: (N,) floating, falling.
        sigma: More than 0.
        kernel: "linear", or "gaussian" by any other name.

    Returns:
        (N,) the lowered scores in the order given, float32 or float64; `[]` if there are none.

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, masks are not binary, or areas are not theirs.
    """
    if len(cate_labels) == 0:
        return []
    masks = checked_masks(seg_masks, "seg_masks")
    check_areas(sum_masks, masks, "sum_masks")
    kernel = "linear" if kernel == "linear" else "gaussian"
    return lowered(cate_scores, masks, cate_labels, kernel, sigma)


def mask_nms(
    cate_labels: Tensor,
    seg_masks: Tensor,
    sum_masks: Tensor,
    cate_scores: Tensor,
    nms_thr: float = 0.5,
) -> Any:
    """AdelaiDet's mask NMS: which masks stay, those before the others being better.

    Args:
        cate_labels: (N,) integers; masks of different labels leave each other alone.
        seg_masks: (N, H, W) of 0 and 1, of any dtype, the best first.
        sum_masks: (N,), how many pixels each has.
        cate_scores: (N,), of which only the number is used.
        nms_thr: IoU above which the mask that comes later goes.

    Returns:
        (N,) of the dtype of `seg_masks`, 1 for those that stay, else 0; `[]` if there are none. Of
        empty masks of one label the first stays.

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, masks are not binary, or areas are not theirs.
    """
    if len(cate_scores) == 0:
        return []
    masks = checked_masks(seg_masks, "seg_masks")
    check_areas(sum_masks, masks, "sum_masks")
    as_good = torch.zeros(len(masks), device="cpu")
    kept = pyifcn.mask_nms(masks, as_good, nms_thr, idxs=cate_labels)
    keep = seg_masks.new_zeros(len(masks))
    keep[kept] = 1
    seen: set[int] = set()
    for i in torch.nonzero(masks.area == 0)[:, 0].tolist():
        label = int(cate_labels[i])
        if label in seen:
            keep[i] = 0
        seen.add(label)
    return keep


def _pastes(masks: Any, boxes: Any, image_shape: Any, threshold: float = 0.5) -> bool:
    """Whether a call is one that `paste_masks_in_image` takes as detectron2 does."""
    return on_cpu(masks, boxes if isinstance(boxes, Tensor) else boxes.tensor) and masks.ndim == 3


def _batches(boxes: Any, scores: Any, idxs: Any, iou_threshold: Any) -> bool:
    """Whether a call is one that `batched_nms` takes as detectron2 does."""
    return on_cpu(boxes, scores, idxs) and not idxs.is_floating_point() and len(idxs) == len(boxes)


def _is_binary(cate_labels: Any, seg_masks: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether `matrix_nms` and `mask_nms` take a call as AdelaiDet does."""
    return is_binary(cate_labels, seg_masks, *args, **kwargs)


def _is_on_cpu(boxlist: Any, *args: Any, **kwargs: Any) -> bool:
    return on_cpu(boxlist.pred_boxes.tensor, boxlist.scores, boxlist.pred_classes)


REPLACEMENTS = (
    Replacement("detectron2.layers.mask_ops.paste_masks_in_image", paste_masks_in_image, _pastes),
    Replacement("detectron2.layers.nms.batched_nms", batched_nms, _batches),
    Replacement("adet.layers.ml_nms.ml_nms", ml_nms, _is_on_cpu),
    Replacement("adet.modeling.solov2.utils.matrix_nms", matrix_nms, _is_binary),
    Replacement("adet.modeling.solov2.utils.mask_nms", mask_nms, _is_binary),
)
