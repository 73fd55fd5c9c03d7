"""Detection quality as in the Data Science Bowl 2018 and StarDist."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyifcn.evaluation.matching import THRESHOLDS, Prediction, TruthLike, matches, ranked
from pyifcn.masks import Masks


@dataclass(frozen=True)
class MatchCounts:
    """Right, wrong and missed instances of each image at each threshold.

    Attributes:
        thresholds: float64 (T,).
        tp: int64 (B, T), pairs of a prediction and its truth.
        fp: int64 (B, T), predictions without a truth.
        fn: int64 (B, T), truths without a prediction.
    """

    thresholds: npt.NDArray[np.float64]
    tp: npt.NDArray[np.int64]
    fp: npt.NDArray[np.int64]
    fn: npt.NDArray[np.int64]


@dataclass(frozen=True)
class DetectionQuality:
    """Counts over all images, and TP / (TP + FP + FN), at each threshold.

    Attributes:
        thresholds: float64 (T,).
        tp: int64 (T,).
        fp: int64 (T,).
        fn: int64 (T,).
    """

    thresholds: npt.NDArray[np.float64]
    tp: npt.NDArray[np.int64]
    fp: npt.NDArray[np.int64]
    fn: npt.NDArray[np.int64]

    @property
    def quality(self) -> npt.NDArray[np.float64]:
        """float64 (T,): TP / (TP + FP + FN), 1 where there is nothing to find and nothing found."""
        return _share(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """float64 (T,): TP / (TP + FP)."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """float64 (T,): TP / (TP + FN)."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def mean(self) -> float:
        """The mean of `quality` over the thresholds."""
        return float(self.quality.mean())


def match_counts(
    predictions: Iterable[Prediction],
    truths: Iterable[TruthLike],
    thresholds: npt.ArrayLike = THRESHOLDS,
) -> MatchCounts:
    """Count right, wrong and missed instances, image by image.

    At each threshold the predictions, best score first, each take the truth with the highest IoU
    of those left, if it is at or above the threshold. Above IoU 0.5, with masks that do not
    overlap, no other pairing is possible. A prediction left over whose pixels lie in a crowd to
    at least the threshold's share counts neither as right nor as wrong, and crowds are no misses.

    Args:
        predictions: For each image its (masks, scores); labels may follow and are ignored.
        truths: For each image an object with `masks` and `crowd`, such as a `Sample`.
        thresholds: float (T,), each within 0..1 and above 0.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    levels = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if levels.ndim != 1 or not len(levels) or not ((levels > 0) & (levels <= 1)).all():
        raise ValueError(f"thresholds must be above 0 and at most 1, got {thresholds!r}")
    rows = [_counts(masks, truth, levels) for masks, truth in ranked(predictions, truths)]
    tp, fp, fn = np.array(rows, dtype=np.int64).reshape(-1, 3, len(levels)).transpose(1, 0, 2)
    return MatchCounts(levels, tp, fp, fn)


def detection_quality(
    predictions: Iterable[Prediction],
    truths: Iterable[TruthLike],
    thresholds: npt.ArrayLike = THRESHOLDS,
) -> DetectionQuality:
    """TP / (TP + FP + FN) with the counts of `match_counts` summed over the images.

    This is what StarDist (Schmidt et al. 2018) calls average precision; the Data Science Bowl
    2018 averages it over thresholds and images instead.

    Args:
        predictions: For each image its (masks, scores); give only those that count as found.
        truths: For each image an object with `masks` and `crowd`, such as a `Sample`.
        thresholds: float (T,).

    Example:
        >>> from pyifcn.data import SyntheticNuclei
        >>> truths = SyntheticNuclei(2)
        >>> perfect = [(t.masks, np.ones(len(t.masks))) for t in truths]
        >>> detection_quality(perfect, truths).mean
        1.0
    """
    counts = match_counts(predictions, truths, thresholds)
    return DetectionQuality(counts.thresholds, counts.tp.sum(0), counts.fp.sum(0), counts.fn.sum(0))


def _counts(masks: Masks, truth: TruthLike, levels: npt.NDArray[np.float64]) -> list[list[int]]:
    crowd = np.asarray(truth.crowd, dtype=bool)
    taken = matches(masks.iou(truth.masks[~crowd]), levels)
    shares = masks.iou(truth.masks[crowd], kind="iof").max(1, initial=0)
    tp, fp, fn = [], [], []
    for right, level in zip(taken >= 0, levels, strict=True):
        tp.append(int(right.sum()))
        fp.append(int((~right & (shares < level)).sum()))
        fn.append(int((~crowd).sum()) - tp[-1])
    return [tp, fp, fn]


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1), 1.0)
