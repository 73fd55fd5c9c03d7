"""Pairing predictions with truths, as COCO's evaluator does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pyifcn._array import as_numpy
from pyifcn.masks import Masks

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's ten IoU thresholds."""

Labelled = tuple[Masks, Any, Any]
"""Masks and arrays or tensors of their scores and labels, on any device."""

Prediction = tuple[Masks, Any] | Labelled
"""Masks and an array or a tensor of their scores; labels may follow."""


class TruthLike(Protocol):
    """What is needed of a truth; `labels` and `areas` are used where there are any."""

    @property
    def masks(self) -> Masks:
        """N masks."""

    @property
    def crowd(self) -> npt.NDArray[np.bool_]:
        """Bool (N,)."""


def ranked(
    predictions: Iterable[Prediction], truths: Iterable[TruthLike], limit: int | None = None
) -> Iterator[tuple[Masks, TruthLike]]:
    """Each image's `limit` best masks, best first (ties as given), beside its truth.

    Raises:
        ValueError: If there are not as many predictions as truths, or masks, scores and image
            sizes disagree.
    """
    try:
        for i, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
            masks, scores = prediction[:2]
            scores = as_numpy(scores, "scores").astype(np.float64)
            if scores.shape != (len(masks),):
                raise ValueError(
                    f"predictions[{i}] has {len(masks)} masks and scores of shape {scores.shape}"
                )
            if np.isnan(scores).any():
                raise ValueError(f"predictions[{i}] has a score that is NaN")
            if masks.size != truth.masks.size:
                raise ValueError(
                    f"predictions[{i}] has masks of size {masks.size}, its truth {truth.masks.size}"
                )
            yield masks.numpy()[np.argsort(-scores, kind="stable")[:limit]], truth
    except ValueError as error:
        if "zip()" in str(error):
            raise ValueError("predictions and truths differ in length") from None
        raise


def takers(
    iou: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Which prediction takes each truth.

    In falling order of score every prediction takes the truth with the highest IoU of those that
    nobody has taken, if that IoU is at or above the threshold; among equals the last.

    Args:
        iou: float64 (D, G), predictions by falling score.
        thresholds: float64 (T,).

    Returns:
        int64 (T, G), the prediction's index, or D for a truth that nobody takes.
    """
    count = len(iou)
    thresholds = np.minimum(thresholds, 1 - 1e-10)
    wanted = []
    close = iou >= thresholds.min(initial=1)
    for d in np.flatnonzero(close.any(1)).tolist():
        pairs = sorted((iou[d, g], g) for g in np.flatnonzero(close[d]).tolist())
        wanted.append((d, pairs[::-1]))
    taken = np.full((len(thresholds), iou.shape[1]), count, dtype=np.int64)
    for by, threshold in zip(taken, thresholds.tolist(), strict=True):
        for d, pairs in wanted:
            for value, g in pairs:
                if value < threshold:
                    break
                if by[g] == count:
                    by[g] = d
                    break
    return taken
