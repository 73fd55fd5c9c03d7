"""Soft non-maximum suppression of boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsFloat

from pyifcn._array import (
    as_dtype,
    as_number,
    as_text,
    compiled,
    contiguous,
    contiguous_int64,
    detached,
    empty,
    runs_directly,
    torch_ops,
    widened,
)

if TYPE_CHECKING:
    from pyifcn._array import AnyArray


class SoftNms(NamedTuple):
    """What `soft_nms` keeps, best first.

    Attributes:
        keep: int64 (K,), indices of boxes.
        scores: (K,), the scores that they were left with.
    """

    keep: Any
    scores: Any


def soft_nms(
    boxes: AnyArray,
    scores: AnyArray,
    *,
    iou_threshold: SupportsFloat = 0.3,
    sigma: SupportsFloat = 0.5,
    min_score: SupportsFloat = 1e-3,
    method: Literal["linear", "gaussian"] = "linear",
    idxs: AnyArray | None = None,
) -> SoftNms:
    """Lowers the scores of boxes that overlap better ones, rather than dropping them.

    The best box is taken, the lower index among equals, and the scores of those that are left are
    multiplied by a weight; then the best of these is taken. With an IoU of o the weight is

    - "linear": 1 - o where o is at least `iou_threshold`, else 1;
    - "gaussian": exp(-o * o / sigma).

    A box leaves as soon as its score is not at least `min_score`, at the start too (mmcv keeps the
    best box in any case). An IoU that is NaN changes nothing; a score that is NaN leaves. The
    arithmetic is that of the boxes' type, and of float32 for float16 and bfloat16; the exponential
    is our own, within 2 units of the last place and the same on every machine. Memory is linear
    in N. Not differentiable.

    Source: Bodla et al., Soft-NMS, ICCV 2017, section 3.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2 in any unit, float16, bfloat16, float32 or float64.
        scores: (N,) of the same dtype.
        iou_threshold: For "linear", the IoU from which on scores are lowered.
        sigma: For "gaussian", more than 0.
        min_score: The least score.
        method: The weight.
        idxs: (N,) integers, the category of each box: those of different categories leave each
            other alone. None: all are of one.

    Returns:
        `keep` and `scores` of the boxes that stay, by falling score, of the same kind and device.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, a number is NaN or out of range, or the method is unknown.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]], np.float32)
        >>> scores = np.array([0.9, 0.8, 0.7], np.float32)
        >>> keep, scores = pyifcn.soft_nms(boxes, scores)
        >>> keep, scores.round(3)
        (array([0, 2, 1]), array([0.9 , 0.7 , 0.16], dtype=float32))
    """
    numbers = (
        as_number(iou_threshold, "iou_threshold"),
        as_number(sigma, "sigma"),
        as_number(min_score, "min_score"),
    )
    as_text(method, "method")
    boxes, scores = detached(boxes), detached(scores)
    tensors = (boxes, scores) if idxs is None else (boxes, scores, idxs)
    if runs_directly(*tensors):
        return SoftNms(*run_soft_nms(boxes, scores, idxs, *numbers, method))
    return SoftNms(*torch_ops().soft_nms(boxes, scores, idxs, *numbers, method))


def run_soft_nms(
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: str,
) -> tuple[Any, Any]:
    """`soft_nms` on the compiled module."""
    boxes = widened(contiguous(boxes, "boxes", 2))
    given = contiguous(scores, "scores", 1, boxes)
    wide = widened(given)
    if idxs is not None:
        idxs = contiguous_int64(idxs, "idxs", 1, boxes)
    module, execution = compiled(boxes)
    keep = empty((boxes.shape[0],), boxes, "int64")
    kept = empty((boxes.shape[0],), boxes)
    count = module.soft_nms(
        boxes, wide, idxs, iou_threshold, sigma, min_score, method, keep, kept, execution
    )
    return keep[:count], as_dtype(kept[:count], str(given.dtype).removeprefix("torch."))
