"""Average precision of masks with categories, as COCO measures it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyifcn.evaluation.matching import (
    AREAS,
    THRESHOLDS,
    Bools,
    Floats,
    Ints,
    Labelled,
    LabelledTruth,
    in_ranges,
    labelled,
    matches,
    stated_areas,
)
from pyifcn.masks import Masks

_POINTS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class CocoAveragePrecision:
    """Average precision by threshold, size and category; NaN where there is no truth.

    Attributes:
        ap: The mean over IoU 0.50:0.05:0.95 and the categories.
        ap50: The same at IoU 0.5 alone.
        ap75: The same at IoU 0.75 alone.
        ap_small: `ap` of the truths of at most 32 * 32 pixels.
        ap_medium: `ap` of those from there to 96 * 96.
        ap_large: `ap` of those from there on.
        per_category: `ap` of each label that predictions or truths have.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    per_category: dict[int, float]

    @property
    def figures(self) -> dict[str, float]:
        """All but `per_category`, named and -1 without truth as in `average_recall`'s result."""
        named = {
            "AP": self.ap,
            "AP/small": self.ap_small,
            "AP/medium": self.ap_medium,
            "AP/large": self.ap_large,
            "AP50": self.ap50,
            "AP75": self.ap75,
        }
        return {name: -1.0 if np.isnan(value) else value for name, value in named.items()}


def coco_average_precision(
    predictions: Iterable[Labelled],
    truths: Iterable[LabelledTruth],
    max_detections: int = 100,
) -> CocoAveragePrecision:
    """AP, AP50, AP75, and AP by size and by category, as COCO has them.

    The same as pycocotools' `COCOeval` with iouType "segm" (and so detectron2's `COCOEvaluator`,
    which multiplies by 100), on results without "bbox": where they have it, `COCOeval` goes by
    the boxes' areas instead of the masks'. In each image and category the `max_detections` best
    predictions, by falling score, take the truth with the highest IoU of those left, at each of
    ten IoU thresholds. What takes a crowd or a truth outside the range of sizes does not count,
    nor what takes nothing and lies outside itself. Precision, made falling, is read at recall 0,
    0.01, ..., 1. Small, medium and large go by the truths' `areas` where they have them, as in
    `average_recall`. Ties in score keep the order given; `COCOeval` goes through the images by id.

    Args:
        predictions: For each image its (masks, scores, labels), such as `Instances`.
        truths: For each image an object with `masks`, `labels` and `crowd`, such as a `Sample`.
        max_detections: How many predictions of an image and category count.

    Raises:
        TypeError: If labels are not integers.
        ValueError: If the arguments do not fit together.

    Example:
        >>> from pyifcn.data import SyntheticShapes
        >>> truths = SyntheticShapes(3)
        >>> halves = [(t.masks[::2], np.ones(len(t.masks[::2])), t.labels[::2]) for t in truths]
        >>> found = coco_average_precision(halves, truths)
        >>> round(found.ap, 3), round(found.ap_small, 3), round(found.per_category[4], 3)
        (0.577, 0.614, 0.832)
    """
    if max_detections < 1:
        raise ValueError(f"max_detections must be a positive number, got {max_detections!r}")
    images = [
        _judge(*_best(masks, scores, labels, max_detections), truth)
        for masks, scores, labels, truth in labelled(predictions, truths)
    ]
    return _summary(_Judged(*map(_joined, zip(_NOTHING, *images, strict=True))))


class _Judged(NamedTuple):
    """What becomes of predictions and truths in A ranges of areas, at T thresholds."""

    scores: Floats  # (N,)
    labels: Ints  # (N,)
    right: Bools  # (A, T, N), took a truth that counts
    wrong: Bools  # (A, T, N), took none, and counts
    truth_labels: Ints  # (M,)
    sought: Bools  # (A, M), truths that count


_NOTHING = _Judged(
    np.zeros(0),
    np.zeros(0, np.int64),
    np.zeros((len(AREAS), len(THRESHOLDS), 0), bool),
    np.zeros((len(AREAS), len(THRESHOLDS), 0), bool),
    np.zeros(0, np.int64),
    np.zeros((len(AREAS), 0), bool),
)


def _joined(parts: tuple[npt.NDArray[Any], ...]) -> Any:
    return np.concatenate(parts, -1)


def _best(masks: Masks, scores: Floats, labels: Ints, most: int) -> tuple[Masks, Floats, Ints]:
    """The best of each label, by falling score."""
    order = np.lexsort((-scores, labels))
    first = np.searchsorted(labels[order], labels[order])
    order = order[np.arange(len(order)) - first < most]
    return masks[order], scores[order], labels[order]


def _judge(masks: Masks, scores: Floats, labels: Ints, truth: LabelledTruth) -> _Judged:
    """One image, all categories at once: nothing overlaps a truth of another."""
    crowd = np.asarray(truth.crowd, bool)
    iou = masks.iou(truth.masks)
    iou[:, crowd] = masks.iou(truth.masks[crowd], kind="iof")
    iou[labels[:, None] != truth.labels] = 0
    sought = in_ranges(stated_areas(truth)) & ~crowd
    right, wrong = [], []
    for counts, inside in zip(sought, in_ranges(masks.area), strict=True):
        taken = matches(iou, THRESHOLDS, ~counts, crowd)
        right.append(np.append(counts, False)[taken])
        wrong.append((taken < 0) & inside)
    its = np.asarray(truth.labels, np.int64)
    return _Judged(scores, labels, np.array(right), np.array(wrong), its, sought)


def _summary(found: _Judged) -> CocoAveragePrecision:
    names = np.unique(np.concatenate([found.labels, found.truth_labels]))
    table = _table(found, names)
    by_size = [_mean(areas) for areas in table]
    return CocoAveragePrecision(
        ap=by_size[0],
        ap50=_mean(table[0, THRESHOLDS == 0.5]),
        ap75=_mean(table[0, THRESHOLDS == 0.75]),
        ap_small=by_size[1],
        ap_medium=by_size[2],
        ap_large=by_size[3],
        per_category={name: _mean(table[0, :, k]) for k, name in enumerate(names.tolist())},
    )


def _table(found: _Judged, names: Ints) -> Floats:
    """The area under precision and recall: (A, T, K), NaN where a category has no truth."""
    order = np.lexsort((-found.scores, found.labels))
    labels = found.labels[order]
    table = np.full((len(AREAS), len(THRESHOLDS), len(names)), np.nan)
    for k, name in enumerate(names):
        first, end = (np.searchsorted(labels, name, side) for side in ("left", "right"))
        those = order[first:end]
        total = found.sought[:, found.truth_labels == name].sum(1)
        table[:, :, k] = _areas(found.right[:, :, those], found.wrong[:, :, those], total)
    return table


def _areas(right: Bools, wrong: Bools, total: Ints) -> Floats:
    """Of one category: (A, T), NaN where `total`, (A,), is 0."""
    hits = right.cumsum(2)
    precision = hits / (hits + wrong.cumsum(2) + np.spacing(1))  # as COCOeval has it, to the bit
    falling = np.maximum.accumulate(precision[:, :, ::-1], 2)[:, :, ::-1]
    falling = np.concatenate([falling, np.zeros((*hits.shape[:2], 1))], 2)
    read = np.zeros((*hits.shape[:2], len(_POINTS)))
    for a, t in np.argwhere(right.any(2)).tolist():
        read[a, t] = falling[a, t, np.searchsorted(hits[a, t] / total[a], _POINTS)]
    return np.where(total[:, None] > 0, read.mean(2), np.nan)


def _mean(areas: Floats) -> float:
    """The mean of those that are not NaN."""
    known = areas[~np.isnan(areas)]
    return float(known.mean()) if known.size else np.nan
