"""Average recall of class-agnostic mask proposals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pyifcn.evaluation.matching import (
    AREAS,
    THRESHOLDS,
    Prediction,
    TruthLike,
    in_ranges,
    matches,
    ranked,
    stated_areas,
)


def average_recall(
    predictions: Iterable[Prediction],
    truths: Iterable[TruthLike],
    max_proposals: Sequence[int] = (10, 100, 1000),
) -> dict[str, float]:
    """AR@N: the recall with the N best proposals of each image, averaged over IoU 0.50:0.05:0.95.

    The same as pycocotools' `COCOeval` with iouType "segm", useCats 0 and maxDets N. Crowds need
    not be found. Small, medium and large go by the truths' `areas` where they have them (as
    COCO's `area`, which need not be the mask's), else by the masks; the bounds belong to both
    sides. Ties in score keep the order given, and truths are gone through by label, as in COCO.

    Args:
        predictions: For each image its (masks, scores); labels may follow and are ignored.
        truths: For each image an object with `masks` and `crowd`, such as a `Sample`.
        max_proposals: The numbers N.

    Returns:
        "AR@N", "AR@N/small", "AR@N/medium" and "AR@N/large" for each N; -1 where there is no
        truth of that size.

    Raises:
        ValueError: If the arguments do not fit together.

    Example:
        >>> from pyifcn.data import SyntheticShapes
        >>> truths = SyntheticShapes(3)
        >>> halves = [(t.masks[::2], np.ones(len(t.masks[::2]))) for t in truths]
        >>> round(average_recall(halves, truths, [1, 100])["AR@100"], 1)
        0.5
    """
    if not max_proposals or min(max_proposals) < 1:
        raise ValueError(f"max_proposals must be positive numbers, got {max_proposals!r}")
    found = {(n, name): np.zeros(len(THRESHOLDS)) for n in max_proposals for name in AREAS}
    total = dict.fromkeys(AREAS, 0)
    for masks, truth in ranked(predictions, truths, max(max_proposals)):
        labels = getattr(truth, "labels", None)
        order = np.arange(len(truth.masks)) if labels is None else np.argsort(labels, kind="stable")
        order = order[~np.asarray(truth.crowd, dtype=bool)[order]]
        iou = masks.iou(truth.masks[order])
        for name, counted in zip(AREAS, in_ranges(stated_areas(truth)[order]), strict=True):
            taken = matches(iou[:, counted], THRESHOLDS)
            total[name] += int(counted.sum())
            for n in max_proposals:
                found[n, name] += (taken[:, :n] >= 0).sum(1)
    return {
        f"AR@{n}{name}": float(np.mean(hits / total[name])) if total[name] else -1.0
        for (n, name), hits in found.items()
    }
