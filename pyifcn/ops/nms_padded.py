"""Greedy non-maximum suppression of many images' boxes, with an output of fixed shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat, SupportsIndex

from pyifcn._array import (
    as_int,
    as_number,
    compiled,
    contiguous,
    contiguous_int64,
    empty,
    runs_directly,
    torch_ops,
    widened,
)

if TYPE_CHECKING:
    from pyifcn._array import AnyArray


class PaddedNms(NamedTuple):
    """What `nms_padded` keeps of each image.

    Attributes:
        indices: int64 (B, max_output), boxes by falling score, then -1.
        counts: int64 (B,), how many are kept.
    """

    indices: Any
    counts: Any


def nms_padded(
    boxes: AnyArray,
    scores: AnyArray,
    iou_threshold: SupportsFloat,
    *,
    max_output: SupportsIndex,
    idxs: AnyArray | None = None,
    score_threshold: SupportsFloat | None = None,
) -> PaddedNms:
    """`nms` of a batch of images, the best of each in rows of one length.

    A row holds the first `max_output` of what `nms` gives for the image. The shapes depend on no
    values, so that `torch.compile` needs no dynamic shapes. Threads share the images; of each,
    only as many of the best boxes are looked at as it takes to keep `max_output`.

    Args:
        boxes: (B, N, 4) rows of x1, y1, x2, y2 in any unit, float16, bfloat16, float32 or float64.
        scores: (B, N) of the same dtype.
        iou_threshold: IoU above which the box with the lower score goes.
        max_output: How many boxes of an image are kept at most.
        idxs: (B, N) integers, the category of each box: those of different categories leave each
            other alone. They are compared as they are: nothing is moved, as `batched_nms` does
            with few boxes because torchvision does.
        score_threshold: Only boxes with a higher score take part; None: all do.

    Returns:
        `indices` and `counts`, of the same kind and device.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, a threshold is NaN, or `max_output` is not in 0..2^30.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> boxes = np.array([[[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]]], np.float32)
        >>> scores = np.array([[0.8, 0.9, 0.1]], np.float32)
        >>> pyifcn.nms_padded(boxes, scores, 0.5, max_output=4)
        PaddedNms(indices=array([[ 1,  2, -1, -1]]), counts=array([2]))
    """
    threshold = as_number(iou_threshold, "iou_threshold")
    most = as_int(max_output, "max_output", 0)
    if most > 1 << 30:
        raise ValueError(f"max_output is {most}, expected at most {1 << 30}")
    least = None if score_threshold is None else as_number(score_threshold, "score_threshold")
    tensors = (boxes, scores) if idxs is None else (boxes, scores, idxs)
    if runs_directly(*tensors):
        return PaddedNms(*run_nms_padded(boxes, scores, idxs, threshold, most, least))
    return PaddedNms(*torch_ops().nms_padded(boxes, scores, idxs, threshold, most, least))


def run_nms_padded(
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: float,
    max_output: int,
    score_threshold: float | None,
) -> tuple[Any, Any]:
    """`nms_padded` on the compiled module."""
    boxes = widened(contiguous(boxes, "boxes", 3))
    scores = widened(contiguous(scores, "scores", 2, boxes))
    if idxs is not None:
        idxs = contiguous_int64(idxs, "idxs", 2, boxes)
    module, execution = compiled(boxes)
    indices = empty((boxes.shape[0], max_output), boxes, "int64")
    counts = empty((boxes.shape[0],), boxes, "int64")
    module.nms_padded(
        boxes, scores, idxs, iou_threshold, score_threshold, indices, counts, execution
    )
    return indices, counts
