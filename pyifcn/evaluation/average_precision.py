"""Mean average precision of masks with categories, as the PASCAL VOC measures it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from pyifcn.evaluation.matching import Bools, Floats, Labelled, LabelledTruth, labelled
from pyifcn.masks import Masks


def average_precision(
    predictions: Iterable[Labelled],
    truths: Iterable[LabelledTruth],
    thresholds: Sequence[float] = (0.5, 0.7),
    *,
    eleven_points: bool = False,
) -> dict[str, float]:
    """mAP@t: the mean over the categories of the area under precision and recall, at IoU t.

    The VOC's rules, on masks (Hariharan et al., Simultaneous Detection and Segmentation, ECCV
    2014): over all images the predictions of a category are gone through by falling score (ties:
    as given). Each looks at the truth of its category and image with the highest IoU, right if
    that is at least t and nobody has taken it; wrong otherwise, the second of two on one truth
    too. One whose pixels lie in a crowd of its category to at least the share t, and that would
    be wrong, does not count. The area is that under precision made falling, as in VOC 2010 and
    later; with `eleven_points` it is the mean at recall 0, 0.1, ..., 1, as in VOC 2007 and in the
    evaluation of MNC's code. COCO's evaluator differs in both: a prediction may take its second
    best truth, and precision is read at 101 points: see `coco_average_precision`.

    Args:
        predictions: For each image its (masks, scores, labels), such as `Instances`.
        truths: For each image an object with `masks`, `labels` and `crowd`, such as a `Sample`.
        thresholds: IoU thresholds t, each above 0 and at most 1.
        eleven_points: Whether to measure as VOC 2007 does.

    Returns:
        "mAP@t" for each t, -1 where there is no truth; categories without truth are left out.

    Raises:
        TypeError: If labels are not integers.
        ValueError: If the arguments do not fit together.

    Example:
        >>> from pyifcn.data import SyntheticShapes
        >>> truths = SyntheticShapes(3)
        >>> perfect = [(t.masks, np.ones(len(t.masks)), t.labels) for t in truths]
        >>> average_precision(perfect, truths)
        {'mAP@0.5': 1.0, 'mAP@0.7': 1.0}
    """
    levels = np.asarray(thresholds, np.float64)
    if levels.ndim != 1 or not ((levels > 0) & (levels <= 1)).all():
        raise ValueError(f"thresholds must be above 0 and at most 1, got {thresholds!r}")
    found: defaultdict[int, list[tuple[Floats, Bools, Bools]]] = defaultdict(list)
    total: defaultdict[int, int] = defaultdict(int)
    for masks, scores, labels, truth in labelled(predictions, truths):
        crowd = np.asarray(truth.crowd, bool)
        for label in np.unique(truth.labels[~crowd]).tolist():
            total[label] += int((truth.labels[~crowd] == label).sum())
        for label in np.unique(labels).tolist():
            chosen = np.flatnonzero(labels == label)
            chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
            same = truth.labels == label
            right, counted = _judge(
                masks[chosen], truth.masks[same & ~crowd], truth.masks[same & crowd], levels
            )
            found[label].append((scores[chosen], right, counted))
    areas = [
        _areas(found[label], total[label], len(levels), eleven_points) for label in sorted(total)
    ]
    means = np.mean(areas, 0).tolist() if areas else [-1.0] * len(levels)
    return {f"mAP@{t:g}": mean for t, mean in zip(levels.tolist(), means, strict=True)}


def _judge(masks: Masks, truth: Masks, crowd: Masks, levels: Floats) -> tuple[Bools, Bools]:
    """Which masks, best first, are right, and which count at all: bool (T, N) each."""
    right = np.zeros((len(levels), len(masks)), bool)
    if len(truth):
        iou = masks.iou(truth)
        best, owner = iou.max(1), iou.argmax(1)
        for at, level in zip(right, levels, strict=True):
            close = np.flatnonzero(best >= level)
            _, first = np.unique(owner[close], return_index=True)
            at[close[first]] = True
    shares = masks.iou(crowd, kind="iof").max(1, initial=0)
    return right, right | (shares < levels[:, None])


def _areas(
    found: list[tuple[Floats, Bools, Bools]], total: int, levels: int, eleven_points: bool
) -> list[float]:
    """The area under precision and recall of one category at each threshold."""
    if not found:
        return [0.0] * levels
    scores = np.concatenate([part[0] for part in found])
    right = np.concatenate([part[1] for part in found], 1)
    counted = np.concatenate([part[2] for part in found], 1)
    order = np.argsort(-scores, kind="stable")
    areas = []
    for hits, some in zip(right[:, order], counted[:, order], strict=True):
        hits = hits[some]
        recall = hits.cumsum() / total
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        falling = np.maximum.accumulate(precision[::-1])[::-1]
        if eleven_points:
            points = np.searchsorted(recall, np.linspace(0, 1, 11) - 1e-12)
            areas.append(float(np.append(falling, 0)[points].mean()))
        else:
            areas.append(float((falling * np.diff(recall, prepend=0)).sum()))
    return areas
