"""Pairing predictions with truths, as COCO's evaluator does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pyifcn._array import as_numpy
from pyifcn.masks import Masks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's ten IoU thresholds."""

AREAS = {"": (0, 1e10), "/small": (0, 32**2), "/medium": (32**2, 96**2), "/large": (96**2, 1e10)}
"""COCO's ranges of areas in pixels; both bounds belong to a range."""

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


class LabelledTruth(TruthLike, Protocol):
    """A truth with categories, such as a `Sample`; `areas` are used where there are any."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 (N,)."""


def ranked(
    predictions: Iterable[Prediction], truths: Iterable[TruthLike], limit: int | None = None
) -> Iterator[tuple[Masks, TruthLike]]:
    """Each image's `limit` best masks, best first (ties as given), beside its truth.

    Raises:
        ValueError: If there are not as many predictions as truths, or masks, scores and image
            sizes disagree.
    """
    for i, (prediction, truth) in enumerate(_paired(predictions, truths)):
        masks, scores = prediction[:2]
        scores = as_numpy(scores, "scores").astype(np.float64)
        if scores.shape != (len(masks),):
            raise ValueError(
                f"predictions[{i}] has {len(masks)} masks and scores of shape {scores.shape}"
            )
        _check(masks, scores, truth, i)
        yield masks.numpy()[np.argsort(-scores, kind="stable")[:limit]], truth


def labelled(
    predictions: Iterable[Labelled], truths: Iterable[LabelledTruth]
) -> Iterator[tuple[Masks, Floats, Ints, LabelledTruth]]:
    """Each image's masks, float64 scores and labels as given, beside its truth.

    Raises:
        TypeError: If labels are not integers.
        ValueError: If there are not as many predictions as truths, or masks, scores, labels and
            image sizes disagree.
    """
    for i, (prediction, truth) in enumerate(_paired(predictions, truths)):
        masks, scores, labels = prediction
        scores = as_numpy(scores, "scores").astype(np.float64)
        labels = as_numpy(labels, "labels")
        if scores.shape != (len(masks),) or labels.shape != (len(masks),):
            raise ValueError(
                f"predictions[{i}] has {len(masks)} masks, scores of shape {scores.shape} and "
                f"labels of shape {labels.shape}"
            )
        if len(labels) and labels.dtype.kind not in "iu":
            raise TypeError(f"predictions[{i}] has {labels.dtype} labels, expected integers")
        if not np.shape(truth.labels) == np.shape(truth.crowd) == (len(truth.masks),):
            raise ValueError(
                f"truths[{i}] has {len(truth.masks)} masks, labels of shape "
                f"{np.shape(truth.labels)} and crowd of shape {np.shape(truth.crowd)}"
            )
        _check(masks, scores, truth, i)
        yield masks.numpy(), scores, labels.astype(np.int64), truth


def in_ranges(areas: npt.ArrayLike) -> Bools:
    """Which areas lie in each of `AREAS`: bool (4, N) of N areas."""
    low, high = np.array(list(AREAS.values())).T[:, :, None]
    return (areas >= low) & (areas <= high)


def stated_areas(truth: TruthLike) -> npt.NDArray[Any]:
    """The areas that the annotations state, by which COCO goes, else those of the masks: (N,)."""
    areas = getattr(truth, "areas", None)
    return np.asarray(truth.masks.area if areas is None else areas)


def matches(
    iou: Floats, thresholds: Floats, ignored: Bools | None = None, crowd: Bools | None = None
) -> Ints:
    """Which truth each prediction takes.

    In falling order of score every prediction takes the truth with the highest IoU of those that
    nobody has taken, if that IoU is at or above the threshold; among equals the last. An ignored
    truth is taken where no other can be, and one that is a crowd stays there to be taken.

    Args:
        iou: float64 (D, G), predictions by falling score.
        thresholds: float64 (T,), each above 0.
        ignored: bool (G,), truths that come after all others; none by default.
        crowd: bool (G,), the ignored ones that any number of predictions may take.

    Returns:
        int64 (T, D), the truth's index, or -1 for a prediction that takes none.
    """
    thresholds = np.minimum(thresholds, 1 - 1e-10)
    d, g = np.nonzero(iou >= thresholds.min(initial=1))
    last = np.zeros(len(g), bool) if ignored is None else ignored[g]
    order = np.lexsort((-g, -iou[d, g], last, d))
    pairs = list(zip(*(x[order].tolist() for x in (d, g, iou[d, g])), strict=True))
    stays = [False] * iou.shape[1] if crowd is None else crowd.tolist()
    found = np.full((len(thresholds), len(iou)), -1, dtype=np.int64)
    for row, threshold in zip(found, thresholds.tolist(), strict=True):
        taken: dict[int, int] = {}
        gone: set[int] = set()
        for prediction, truth, value in pairs:
            if value >= threshold and prediction not in taken and truth not in gone:
                taken[prediction] = truth
                if not stays[truth]:
                    gone.add(truth)
        row[list(taken)] = list(taken.values())
    return found


def _paired(predictions: Iterable[Any], truths: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Both side by side, one image at a time."""
    sizes = [len(some) for some in (predictions, truths) if isinstance(some, Sized)]
    if len(set(sizes)) > 1:
        raise ValueError(f"predictions and truths differ in length: {sizes[0]} and {sizes[1]}")
    end = object()
    for pair in zip_longest(predictions, truths, fillvalue=end):
        if pair[0] is end or pair[1] is end:
            raise ValueError("predictions and truths differ in length")
        yield pair


def _check(masks: Masks, scores: Floats, truth: TruthLike, i: int) -> None:
    if np.isnan(scores).any():
        raise ValueError(f"predictions[{i}] has a score that is NaN")
    if masks.size != truth.masks.size:
        raise ValueError(
            f"predictions[{i}] has masks of size {masks.size}, its truth {truth.masks.size}"
        )
