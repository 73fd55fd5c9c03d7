"""ensemble_boxes: boxes of several models suppressed or fused, the same and fast.

Names, arguments, defaults and results are those of ensemble-boxes 1.0.9, with these differences:

- What the original prints is a `UserWarning`, and where it ends the program a `ValueError`.
- `nms` takes equal scores by index; in the original their order is open. `soft_nms` too, and it
  computes in float64 whatever dtype comes in. A box with NaN in it suppresses nothing.
- The lists that are passed in are never written to.

Boxes are x1, y1, x2, y2 in 0..1; what lies outside is moved to the border.

Example:
    >>> from pyifcn.compat import ensemble_boxes
    >>> boxes = [[[0.1, 0.1, 0.5, 0.5]], [[0.1, 0.1, 0.5, 0.7], [0.6, 0.6, 0.9, 0.9]]]
    >>> scores, labels = [[0.9], [0.6, 0.5]], [[0], [0, 1]]
    >>> fused, scores, labels = ensemble_boxes.weighted_boxes_fusion(boxes, scores, labels)
    >>> fused.round(2).tolist(), scores.round(2).tolist(), labels.tolist()
    ([[0.1, 0.1, 0.5, 0.58], [0.6, 0.6, 0.9, 0.9]], [0.75, 0.25], [0.0, 1.0])
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from pyifcn._array import describe
from pyifcn._runtime import cpu
from pyifcn.compat._replacement import Replacement
from pyifcn.ops.nms_padded import nms_padded
from pyifcn.ops.soft_nms import soft_nms as soften

__all__ = ["nms", "nms_method", "soft_nms", "weighted_boxes_fusion"]

Array = npt.NDArray[Any]
Lists = Sequence[Any]  # for each model a list or an array
Confidence = Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]
_STACKLEVEL = 4


def nms(
    boxes: Lists,
    scores: Lists,
    labels: Lists,
    iou_thr: float = 0.5,
    weights: Sequence[float] | None = None,
) -> tuple[Array, Array, Array]:
    """`nms_method` with plain NMS."""
    return nms_method(boxes, scores, labels, method=3, iou_thr=iou_thr, weights=weights)


def soft_nms(
    boxes: Lists,
    scores: Lists,
    labels: Lists,
    method: int = 2,
    iou_thr: float = 0.5,
    sigma: float = 0.5,
    thresh: float = 0.001,
    weights: Sequence[float] | None = None,
) -> tuple[Array, Array, Array]:
    """`nms_method` with soft NMS."""
    return nms_method(boxes, scores, labels, method, iou_thr, sigma, thresh, weights)


def nms_method(
    boxes: Lists,
    scores: Lists,
    labels: Lists,
    method: int = 3,
    iou_thr: float = 0.5,
    sigma: float = 0.5,
    thresh: float = 0.001,
    weights: Sequence[float] | None = None,
) -> tuple[Array, Array, Array]:
    """The boxes of all models, suppressed within each label.

    Args:
        boxes: For each model (N, 4).
        scores: For each model (N,).
        labels: For each model (N,).
        method: 1: linear soft NMS, 2: Gaussian, 3: plain.
        iou_thr: IoU above which a box is suppressed, or for 1 its score lowered.
        sigma: Of the Gaussian.
        thresh: Soft NMS drops boxes whose lowered score is not more.
        weights: Of each model; scores are multiplied by its own and divided by the sum of all.

    Returns:
        Boxes (K, 4), scores (K,) and labels (K,), label by label, each by falling score, for soft
        NMS by the lowered one; the scores are those that came in.

    Raises:
        ValueError: Sizes disagree, or there is no such method.
    """
    if method not in (1, 2, 3):
        raise ValueError(f"method is {method!r}, expected 1, 2 or 3")
    _check_lists(boxes, scores, labels)
    if len(boxes) == 0:
        raise ValueError("boxes is empty, expected those of at least one model")
    boxes = [_rows(part, i) for i, part in enumerate(boxes)]
    if weights is not None and len(weights) != len(boxes):
        _warn(f"weights has {len(weights)} elements for {len(boxes)} models: it is ignored")
        weights = None
    if weights is not None:
        scores = _weighted(scores, np.asarray(weights))
    all_boxes, all_scores, all_labels = (
        np.concatenate([np.asarray(part) for part in parts]) for parts in (boxes, scores, labels)
    )
    all_boxes, kept = _inside(all_boxes, swap_first=False)
    all_boxes, all_scores, all_labels = all_boxes[kept], all_scores[kept], all_labels[kept]
    classes = np.unique(all_labels, return_inverse=True)[1].astype(np.int64)
    if method == 3:
        keep = _keep(all_boxes, all_scores, classes, iou_thr)
    else:
        keep = soften(
            all_boxes.astype(np.float64),
            all_scores.astype(np.float64),
            iou_threshold=math.nextafter(iou_thr, math.inf),
            sigma=sigma,
            min_score=math.nextafter(thresh, math.inf),
            method="linear" if method == 1 else "gaussian",
            idxs=classes,
        ).keep
    keep = keep[classes[keep].argsort(kind="stable")]
    return all_boxes[keep], all_scores[keep], all_labels[keep]


def weighted_boxes_fusion(
    boxes_list: Lists,
    scores_list: Lists,
    labels_list: Lists,
    weights: Sequence[float] | None = None,
    iou_thr: float = 0.55,
    skip_box_thr: float = 0.0,
    conf_type: Confidence = "avg",
    allows_overflow: bool = False,
) -> tuple[Array, Array, Array]:
    """The boxes of all models, fused into the means of those that overlap.

    By falling score each box joins the cluster of its label whose mean overlaps it most, if that is
    enough; a mean is weighted by scores.

    Source: Solovyev et al., Weighted boxes fusion, Image and Vision Computing 2021, section 3.

    Args:
        boxes_list: For each model (N, 4).
        scores_list: For each model (N,).
        labels_list: For each model (N,) whole numbers.
        weights: Of each model; 1 if not given.
        iou_thr: IoU above which a box joins a cluster.
        skip_box_thr: Boxes with a lower score are left out.
        conf_type: The score of a cluster: the mean of its boxes' scores, scaled by how many of the
            models found it ("avg"); the largest ("max"); the mean scaled by the weights of the
            models in it ("box_and_model_avg"), or counting in those that are not
            ("absent_model_aware_avg").
        allows_overflow: Whether "avg" may exceed the mean where a model has several boxes in one
            cluster.

    Returns:
        Boxes (K, 4), scores (K,) and labels (K,), float64, by falling score.

    Raises:
        ValueError: Sizes disagree, or there is no such `conf_type`.
    """
    if conf_type not in ("avg", "max", "box_and_model_avg", "absent_model_aware_avg"):
        raise ValueError(
            f"conf_type is {conf_type!r}, expected 'avg', 'max', 'box_and_model_avg' or "
            "'absent_model_aware_avg'"
        )
    _check_lists(boxes_list, scores_list, labels_list)
    if len(boxes_list) == 0:
        return np.zeros((0, 4)), np.zeros(0), np.zeros(0)
    models = len(boxes_list)
    of_model = np.ones(models) if weights is None else np.asarray(weights, np.float64)
    if len(of_model) != models:
        _warn(f"weights has {len(of_model)} elements for {models} models: each counts 1")
        of_model = np.ones(models)
    counts = [len(part) for part in boxes_list]
    model = np.repeat(np.arange(models), counts)
    boxes = np.concatenate([_rows(b, i) for i, b in enumerate(boxes_list)]).astype(np.float64)
    scores = np.concatenate([np.asarray(s, np.float64).reshape(-1) for s in scores_list])
    labels = np.concatenate([np.asarray(v).reshape(-1) for v in labels_list]).astype(np.int64)
    wanted = ~(scores < skip_box_thr)
    boxes, scores, labels, model = boxes[wanted], scores[wanted], labels[wanted], model[wanted]
    boxes, kept = _inside(boxes, swap_first=True)
    boxes, scores, labels, model = boxes[kept], scores[kept], labels[kept], model[kept]
    scores = scores * of_model[model]
    fused = [np.empty((0, 6))]
    values, firsts = np.unique(labels, return_index=True)
    for label in values[firsts.argsort()]:  # as they first come
        members = np.flatnonzero(labels == label)
        order = members[scores[members].argsort()[::-1]]
        means, cluster = cpu.fuse_boxes(boxes[order], scores[order], float(iou_thr))
        confidence = _confidence(
            cluster, scores[order], model[order], of_model, conf_type, allows_overflow
        )
        fused.append(np.column_stack([np.full(len(means), label), confidence, means]))
    rows = np.concatenate(fused)
    rows = rows[rows[:, 1].argsort()[::-1]]
    return rows[:, 2:], rows[:, 1], rows[:, 0]


def _confidence(
    cluster: Array,
    scores: Array,
    model: Array,
    of_model: Array,
    conf_type: Confidence,
    allows_overflow: bool,
) -> Array:
    """The scores of clusters; where several boxes are fused, by way of float32 as the original."""
    count = np.bincount(cluster)

    def by_way_of_float32(values: Array) -> Array:
        return np.where(count == 1, values, values.astype(np.float32))

    if conf_type == "max":
        best = np.full(len(count), -np.inf)
        np.maximum.at(best, cluster, scores)
        return by_way_of_float32(best) / of_model.max()
    mean = by_way_of_float32(np.bincount(cluster, scores) / count)
    if conf_type == "avg":
        models = count if allows_overflow else np.minimum(count, len(of_model))
        return mean * models / of_model.sum()
    weight = by_way_of_float32(np.bincount(cluster, of_model[model]))
    present = np.zeros((len(count), len(of_model)), bool)
    present[cluster, model] = True
    if conf_type == "box_and_model_avg":
        return mean * count / weight * np.where(present, of_model, 0).sum(1) / of_model.sum()
    return mean * count / (weight + np.where(present, 0, of_model).sum(1))


def _weighted(scores: Lists, weights: Array) -> Lists:
    """Scores multiplied by the weights of their models and then divided, as the original does."""
    weighted: Any = scores.copy() if isinstance(scores, np.ndarray) else list(scores)
    for i, weight in enumerate(weights):
        weighted[i] = np.asarray(scores[i]) * weight / weights.sum()
    return cast("Lists", weighted)


def _keep(boxes: Array, scores: Array, classes: Array, threshold: float) -> Array:
    order = (len(boxes) - 1 - scores[::-1].argsort(kind="stable"))[::-1]
    if boxes.dtype == np.float32:
        return _keep_single(boxes, order, classes, threshold)
    return _keep_double(boxes, order, classes, threshold)


def _keep_double(boxes: Array, order: Array, classes: Array, threshold: float) -> Array:
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order), 0, -1)
    found = nms_padded(
        boxes.astype(np.float64)[None],
        ranks[None],
        threshold,
        max_output=len(order),
        idxs=classes[None],
    )
    keep: Array = found.indices[0, : found.counts[0]]
    return keep


def _keep_single(boxes: Array, order: Array, classes: Array, threshold: float) -> Array:
    """NMS of float32 boxes with the IoU that the original has of them.

    That IoU is within 12 * 2^-24 of the one in float64, of its size. Where a threshold that much
    lower and one that much higher keep the same boxes, so does any in between.
    """
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    keep, other = (_keep_double(boxes, order, classes, threshold * (1 + e)) for e in (-1e-6, 1e-6))
    if np.array_equal(keep, other) and not (area < 1e-30).any():  # not rounded to few bits
        return keep
    alone = [order[classes[order] == label] for label in np.unique(classes)]
    return np.concatenate([order[:0], *(_keep_exactly(boxes, area, o, threshold) for o in alone)])


def _keep_exactly(boxes: Array, area: Array, order: Array, threshold: float) -> Array:
    """NMS of one label as numba types it: areas in float32, what boxes share in float64."""
    low, high = boxes[:, :2], boxes[:, 2:]
    keep = []
    while len(order):
        best, order = order[0], order[1:]
        keep.append(best)
        sides = np.minimum(high[best], high[order]) - np.maximum(low[best], low[order])
        shared = sides.clip(0).astype(np.float64).prod(1)
        iou = shared / (area[best] + area[order] - shared)
        order = order[~(iou > threshold)]
    return np.array(keep, np.int64)


def _inside(boxes: Array, swap_first: bool) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Boxes whose corners are in order and in 0..1, and which of them have an area."""
    outside = int(((boxes < 0) | (boxes > 1)).sum())
    if outside:
        _warn(f"{outside} coordinates of boxes are outside of 0..1: they are moved to the border")
    low, high = (pick(boxes[:, :2], boxes[:, 2:]) for pick in (np.minimum, np.maximum))
    if swap_first and (low != boxes[:, :2]).any():
        _warn("boxes have x2 < x1 or y2 < y1: the corners are exchanged")
    inside = np.hstack([low, high]).clip(0, 1)
    area = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
    empty = int((area == 0).sum())
    if empty:
        _warn(f"{empty} boxes have no area: they are left out")
    return inside, area != 0


def _rows(boxes: Any, model: int) -> Array:
    """One model's boxes as (N, 4)."""
    rows = np.asarray(boxes)
    if rows.shape[1:] != (4,) and rows.size:
        raise ValueError(f"boxes[{model}] is {describe(rows)}, expected (N, 4)")
    return rows.reshape(-1, 4)


def _check_lists(boxes: Lists, scores: Lists, labels: Lists) -> None:
    for name, lists in (("scores", scores), ("labels", labels)):
        if len(lists) != len(boxes):
            raise ValueError(f"{name} has {len(lists)} models, expected {len(boxes)} as boxes")
        for i, (part, theirs) in enumerate(zip(lists, boxes, strict=True)):
            if len(part) != len(theirs):
                raise ValueError(f"{name}[{i}] has {len(part)} elements for {len(theirs)} boxes")


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=_STACKLEVEL)


def _softens(
    boxes: Any,
    scores: Any,
    labels: Any,
    method: int = 2,
    iou_thr: float = 0.5,
    sigma: float = 0.5,
    *args: Any,
    **kwargs: Any,
) -> bool:
    """Whether a call is one that `soft_nms` takes as the original does."""
    if method in (1, 2):
        return sigma > 0 and all(np.asarray(part).dtype.kind == "f" for part in scores)
    return method == 3


def _suppresses(
    boxes: Any, scores: Any, labels: Any, method: int = 3, *args: Any, **kwargs: Any
) -> bool:
    """Whether a call is one that `nms_method` takes as the original does."""
    return _softens(boxes, scores, labels, method, *args, **kwargs)


REPLACEMENTS = (
    Replacement("ensemble_boxes.ensemble_boxes_nms.nms_method", nms_method, _suppresses),
    Replacement("ensemble_boxes.ensemble_boxes_nms.nms", nms),
    Replacement("ensemble_boxes.ensemble_boxes_nms.soft_nms", soft_nms, _softens),
    Replacement("ensemble_boxes.ensemble_boxes_wbf.weighted_boxes_fusion", weighted_boxes_fusion),
)
