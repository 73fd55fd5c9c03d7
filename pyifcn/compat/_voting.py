"""What FCIS's and MNC's mask voting share: lists by class, and merging masks of boxes' size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyifcn._array import as_int, describe
from pyifcn.ops.mask_voting import Convention, VotedMasks, mask_voting

Array = npt.NDArray[Any]


def vote_by_class(
    masks: Array,
    boxes: Array,
    scores: Array,
    num_classes: int,
    max_per_image: int,
    im_width: int,
    im_height: int,
    thresholds: tuple[float, float, float],
    convention: Convention,
) -> tuple[list[Array], list[Array]]:
    """(masks, boxes) of each class but the background's: (n, 1, M, M), and float64 (n, 5)."""
    for name, value in (("masks", masks), ("boxes", boxes), ("scores", scores)):
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{name} is {describe(value)}, expected a NumPy array")
    classes = as_int(num_classes, "num_classes", 1)
    if scores.ndim == 2 and scores.shape[1] < classes:
        raise ValueError(f"num_classes is {classes}, but scores has {scores.shape[1]} columns")
    found = mask_voting(
        masks,
        boxes,
        scores[:, :classes],
        (im_height, im_width),
        nms_threshold=thresholds[0],
        merge_threshold=thresholds[1],
        binary_threshold=thresholds[2],
        max_per_image=max_per_image,
        convention=convention,
    )
    return _split(found, classes, np.float64 if convention.endswith("cpu") else np.float32)


def _split(found: VotedMasks, classes: int, dtype: type) -> tuple[list[Array], list[Array]]:
    scored = np.hstack([found.boxes, found.scores[:, None]]).astype(np.float64)
    masks = found.masks[:, None].astype(dtype, copy=False)
    cuts = np.searchsorted(found.labels, np.arange(1, classes + 1))
    parts = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    return [masks[part] for part in parts], [scored[part] for part in parts]


def aggregate(
    boxes: Array,
    masks: Sequence[Array],
    mask_weights: Array,
    im_width: int,
    im_height: int,
    threshold: float,
) -> tuple[Array, Array]:
    """`mask_aggregation` of both."""
    if not len(boxes) == len(masks) == len(mask_weights):
        raise ValueError(
            f"boxes, masks and mask_weights are {len(boxes)}, {len(masks)} and "
            f"{len(mask_weights)}, expected as many of each"
        )
    width, height = as_int(im_width, "im_width", 1), as_int(im_height, "im_height", 1)
    if not threshold > 0:
        raise ValueError(f"binary_thresh is {threshold}, expected more than 0")
    corners = _corners(boxes, masks, (height, width))
    left, top, right, bottom = 0, 0, 0, 0  # around all boxes
    if len(corners):
        (left, top), (right, bottom) = corners[:, :2].min(0), corners[:, 2:].max(0)
    votes = np.zeros((bottom - top, right - left))
    for (x1, y1, x2, y2), mask, weight in zip(corners, masks, mask_weights, strict=True):
        votes[y1 - top : y2 - top, x1 - left : x2 - left] += (mask >= threshold) * weight
    rows, columns = (np.flatnonzero((votes >= threshold).any(axis)) for axis in (1, 0))
    if not len(rows):  # the middle pixel, where there are no votes or few
        y, x = height // 2, width // 2
        inside = top <= y < bottom and left <= x < right
        share = votes[y - top, x - left] if inside else 0.0
        return np.array([[share]]), np.array([x, y, x, y], np.float32)
    y1, y2, x1, x2 = rows[0], rows[-1], columns[0], columns[-1]
    box = np.array([x1 + left, y1 + top, x2 + left, y2 + top], np.float32)
    return votes[y1 : y2 + 1, x1 : x2 + 1], box


def _corners(boxes: Array, masks: Sequence[Array], size: tuple[int, int]) -> Array:
    """Half-open corners in whole pixels, checked to lie on the image as the masks are large."""
    rounded = np.round(np.asarray(boxes, np.float64)).reshape(-1, 4)
    for i, (x1, y1, x2, y2) in enumerate(rounded):
        if not (0 <= x1 <= x2 < size[1] and 0 <= y1 <= y2 < size[0]):
            raise ValueError(f"boxes[{i}] is {boxes[i].tolist()}, expected a box on the image")
        if masks[i].shape != (y2 - y1 + 1, x2 - x1 + 1):
            raise ValueError(
                f"masks[{i}] has shape {masks[i].shape}, expected "
                f"{(int(y2 - y1 + 1), int(x2 - x1 + 1))} as boxes[{i}]"
            )
    corners = rounded.astype(np.int64)
    corners[:, 2:] += 1
    return corners
