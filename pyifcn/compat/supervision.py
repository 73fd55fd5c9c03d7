"""supervision's overlap of masks and suppression by it, the same and fast.

Names, arguments, defaults and results are those of `supervision.detection.utils.iou_and_nms` in
supervision 0.31, with these differences:

- Masks may also be a `pyifcn.Masks`. Whatever is not 0 is inside a mask, where supervision
  multiplies the values.
- `overlap_metric` is supervision's `OverlapMetric` or its value, "IOU" or "IOS".
- `memory_limit` and `mask_dimension` are taken and have no effect: no dense copy is made.

supervision computes overlaps in float32 (of masks of more than 2^24 pixels in float64) before it
compares them with the threshold; so does this, and the indices are the same. Equal scores come in
the order in which NumPy sorts them, as there.

Example:
    >>> import numpy as np
    >>> from pyifcn.compat import supervision as sv
    >>> predictions = np.array([[0, 0, 4, 4, 0.9, 0], [0, 0, 4, 4, 0.8, 0]])
    >>> masks = np.zeros((2, 4, 4), bool)
    >>> masks[:, :2, :2] = True
    >>> sv.mask_non_max_suppression(predictions, masks, iou_threshold=0.5)
    array([ True, False])
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pyifcn._array import describe
from pyifcn.compat._replacement import Replacement
from pyifcn.masks import Masks
from pyifcn.ops.nms_from_iou import nms_from_iou
from pyifcn.ops.nms_padded import nms_padded

__all__ = [
    "box_non_max_suppression",
    "mask_iou_batch",
    "mask_non_max_merge",
    "mask_non_max_suppression",
]

Array = npt.NDArray[Any]
Metric = Any  # supervision's OverlapMetric, or its value
_KINDS: dict[Any, Literal["iou", "iomin"]] = {"IOU": "iou", "IOS": "iomin"}


def mask_iou_batch(
    masks_true: Array | Masks,
    masks_detection: Array | Masks,
    overlap_metric: Metric = "IOU",
    memory_limit: int = 1024 * 5,
) -> npt.NDArray[np.float64]:
    """The overlap of every mask with every other, as `supervision.mask_iou_batch` has it.

    Args:
        masks_true: N masks: (N, H, W), supervision's `CompactMask` or a `pyifcn.Masks`.
        masks_detection: M masks of the same size.
        overlap_metric: "IOU", or "IOS": intersection over the smaller area.
        memory_limit: Has no effect.

    Returns:
        float64 (N, M), rounded to float32 as supervision's.

    Raises:
        ValueError: The sizes differ, the masks are not of three dimensions, or the metric is
            unknown.
    """
    kind = _kind(overlap_metric)
    a, b = (
        _masks(value, name)
        for value, name in ((masks_true, "masks_true"), (masks_detection, "masks_detection"))
    )
    if a.size != b.size:
        raise ValueError(
            f"masks_true and masks_detection are of {a.size} and {b.size} pixels, "
            "expected the same (H, W)"
        )
    return _overlaps(a, a if masks_true is masks_detection else b, kind)


def mask_non_max_suppression(
    predictions: Array,
    masks: Array | Masks,
    iou_threshold: float = 0.5,
    overlap_metric: Metric = "IOU",
    mask_dimension: int = 640,
) -> npt.NDArray[np.bool_]:
    """Which masks are kept, as `supervision.mask_non_max_suppression` has it.

    Args:
        predictions: (N, 5) or (N, 6): x1, y1, x2, y2, score and, if there is one, the class.
        masks: N masks: (N, H, W), supervision's `CompactMask` or a `pyifcn.Masks`.
        iou_threshold: In 0..1; a mask goes whose overlap with a better one of its class is more.
        overlap_metric: "IOU" or "IOS".
        mask_dimension: Has no effect.

    Returns:
        bool (N,).

    Raises:
        ValueError: The threshold is out of range, the metric is unknown, or sizes disagree.
    """
    kind = _kind(overlap_metric)
    ranks, classes = _ranks_and_classes(predictions, iou_threshold)
    packed = _first(masks, len(ranks))
    if kind == "iomin":
        overlaps = _overlaps(packed, packed, kind)
        return _chosen(_suppress(overlaps, ranks, classes, iou_threshold), len(ranks))
    threshold = _deciding(iou_threshold) if _rounds(packed) else iou_threshold
    return _chosen(packed.nms(ranks, threshold, idxs=classes), len(ranks))


def box_non_max_suppression(
    predictions: Array, iou_threshold: float = 0.5, overlap_metric: Metric = "IOU"
) -> npt.NDArray[np.bool_]:
    """Which boxes are kept, as `supervision.box_non_max_suppression` has it.

    Args:
        predictions: (N, 5) or (N, 6): x1, y1, x2, y2, score and, if there is one, the class.
        iou_threshold: In 0..1; a box goes whose overlap with a better one of its class is more.
        overlap_metric: "IOU" or "IOS".

    Returns:
        bool (N,).

    Raises:
        ValueError: The threshold is out of range or the metric is unknown.
    """
    kind = _kind(overlap_metric)
    ranks, classes = _ranks_and_classes(predictions, iou_threshold)
    boxes = np.ascontiguousarray(predictions[:, :4], np.float64)
    if kind == "iomin":
        overlaps = _rounded(_boxes_over_smaller(boxes))
        return _chosen(_suppress(overlaps, ranks, classes, iou_threshold), len(ranks))
    found = nms_padded(
        boxes[None],
        ranks[None],
        _deciding(iou_threshold),
        max_output=len(ranks),
        idxs=classes[None],
    )
    return _chosen(found.indices[0, : found.counts[0]], len(ranks))


def mask_non_max_merge(
    predictions: Array,
    masks: Array | Masks,
    iou_threshold: float = 0.5,
    *args: Any,
    overlap_metric: Metric = "IOU",
    mask_dimension: int = 640,
) -> list[list[int]]:
    """Groups of masks to be merged, as `supervision.mask_non_max_merge` has them.

    The best mask takes up all that overlap it, then all that overlap their union, and so on until
    none is left; then the best of the others.

    Args:
        predictions: (N, 5) or (N, 6): x1, y1, x2, y2, score and, if there is one, the class, within
            which masks are merged.
        masks: N masks: (N, H, W), supervision's `CompactMask` or a `pyifcn.Masks`.
        iou_threshold: In 0..1, the least overlap.
        *args: `overlap_metric` and `mask_dimension`, in any order, as supervision still takes them.
        overlap_metric: "IOU" or "IOS".
        mask_dimension: Has no effect.

    Returns:
        Lists of indices, the best of each first.

    Raises:
        TypeError: There are more than five positional arguments.
        ValueError: The threshold is out of range, the metric is unknown, or sizes disagree.
    """
    if len(args) > 2:
        raise TypeError(f"mask_non_max_merge takes 5 positional arguments, got {3 + len(args)}")
    for value in args:
        if isinstance(value, str) or hasattr(value, "value"):
            overlap_metric = value
    kind = _kind(overlap_metric)
    _check_threshold(iou_threshold)
    packed = _first(masks, len(predictions))
    scores = predictions[:, 4]
    classes = predictions[:, 5] if predictions.shape[1] > 5 else np.zeros(len(scores))
    groups = []
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        order = members[scores[members].argsort()]
        while len(order):
            group, order = _absorb(packed, order, iou_threshold, kind)
            groups.append(group)
    return groups


def _absorb(
    masks: Masks, order: Array, threshold: float, kind: Literal["iou", "iomin"]
) -> tuple[list[int], Array]:
    """The last of `order` and all that it takes up; and the others, in their order."""
    best, order = int(order[-1]), order[:-1]
    group, union = [best], masks[best]
    while len(order):
        taken = _overlaps(masks, union, kind)[order, 0] >= threshold
        if not taken.any():
            break
        group += order[taken][::-1].tolist()
        union = union | masks[order[taken]].merge()
        order = order[~taken]
    return group, order


def _kind(metric: Metric) -> Literal["iou", "iomin"]:
    name = getattr(metric, "value", metric)
    kind = _KINDS.get(name.upper() if isinstance(name, str) else None)
    if kind is None:
        raise ValueError(f"overlap_metric is {describe(metric)}, expected 'IOU' or 'IOS'")
    return kind


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"iou_threshold is {threshold}, expected 0 to 1")


def _masks(value: Any, name: str) -> Masks:
    if isinstance(value, Masks):
        return value.numpy()
    array = np.asarray(value)
    if array.ndim != 3:
        raise ValueError(f"{name} is {describe(array)}, expected (N, H, W)")
    return Masks.from_dense(array if array.dtype in (np.bool_, np.uint8) else array != 0)


def _first(masks: Any, count: int) -> Masks:
    packed = _masks(masks, "masks")
    if len(packed) < count:
        raise ValueError(f"masks has {len(packed)} masks for {count} predictions")
    return packed[:count]


def _rounds(masks: Masks) -> bool:
    """Whether supervision counts the pixels of such images in float32, which then holds them."""
    return masks.size[0] * masks.size[1] <= 2**24


def _overlaps(a: Masks, b: Masks, kind: Literal["iou", "iomin"]) -> Array:
    overlaps: Array = a.iou(b, kind=kind)
    return _rounded(overlaps) if _rounds(a) else overlaps


def _rounded(overlaps: Array) -> Array:
    return overlaps.astype(np.float32).astype(np.float64)


def _deciding(threshold: float) -> float:
    """What an overlap in float64 is to be compared with, as if it were rounded to float32 first."""
    above = np.float32(threshold)
    if float(above) <= threshold:
        above = np.nextafter(above, np.float32(np.inf))
    below = np.nextafter(above, np.float32(-np.inf))
    middle = (float(above) + float(below)) / 2  # rounded to the even one of the two
    return middle if above.view(np.uint32) % 2 else float(np.nextafter(middle, -np.inf))


def _ranks_and_classes(predictions: Array, threshold: float) -> tuple[Array, Array]:
    """Scores that have the order in which supervision sorts them, and classes as integers."""
    _check_threshold(threshold)
    if not isinstance(predictions, np.ndarray):
        raise TypeError(f"predictions is {describe(predictions)}, expected a NumPy array")
    if predictions.ndim != 2 or predictions.shape[1] < 5:
        raise ValueError(f"predictions is {describe(predictions)}, expected (N, 5) or (N, 6)")
    count, columns = predictions.shape
    if columns == 5:
        predictions = predictions.astype(np.float64)  # in which equal scores may come otherwise
    ranks = np.empty(count)
    ranks[predictions[:, 4].argsort()[::-1]] = np.arange(count, 0, -1)
    if columns == 5:
        return ranks, np.zeros(count, np.int64)
    return ranks, np.unique(predictions[:, 5], return_inverse=True, equal_nan=False)[1]


def _suppress(overlaps: Array, ranks: Array, classes: Array, threshold: float) -> Array:
    return nms_from_iou(np.where(classes[:, None] == classes, overlaps, 0), ranks, threshold)


def _boxes_over_smaller(boxes: Array) -> Array:
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (high - low).clip(0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    smaller = np.minimum(area[:, None], area)
    return np.divide(shared, smaller, out=np.zeros_like(shared), where=smaller > 0)


def _chosen(keep: Array, count: int) -> npt.NDArray[np.bool_]:
    chosen = np.zeros(count, bool)
    chosen[keep] = True
    return chosen


REPLACEMENTS = tuple(
    Replacement(f"supervision.detection.utils.iou_and_nms.{ours.__name__}", ours)
    for ours in (
        mask_iou_batch,
        mask_non_max_suppression,
        box_non_max_suppression,
        mask_non_max_merge,
    )
)
