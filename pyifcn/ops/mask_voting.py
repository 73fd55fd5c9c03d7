"""Mask voting: one mask of the masks of many detections of one object."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsFloat, SupportsIndex

from pyifcn._array import (
    as_dtype,
    as_int,
    as_number,
    as_text,
    compiled,
    contiguous,
    describe,
    is_tensor,
)
from pyifcn.masks import Masks

if TYPE_CHECKING:
    from pyifcn._array import AnyArray

Convention = Literal["fcis", "fcis_gpu", "fcis_cpu", "mnc", "mnc_gpu", "mnc_cpu", "pyifcn"]


class VotedMasks(NamedTuple):
    """K merged detections of one image, class by class, each class by falling score.

    Attributes:
        boxes: float32 (K, 4), x1, y1, x2, y2 around each mask. In the original conventions x2 and
            y2 are those of the last pixel inside, in "pyifcn" of the first one outside.
        masks: float32 (K, M, M), each pixel's share of the votes, resampled to the box; in
            "pyifcn" `Masks` of the image.
        scores: float32 (K,).
        labels: int64 (K,), columns of the scores.
    """

    boxes: Any
    masks: Any
    scores: Any
    labels: Any


def mask_voting(
    masks: AnyArray,
    boxes: AnyArray,
    scores: AnyArray,
    image_size: Sequence[SupportsIndex],
    *,
    nms_threshold: SupportsFloat = 0.3,
    merge_threshold: SupportsFloat = 0.5,
    binary_threshold: SupportsFloat = 0.4,
    max_per_image: SupportsIndex = 100,
    convention: Convention = "fcis",
) -> VotedMasks:
    """Merges the masks of overlapping boxes by a vote that their scores weigh.

    In each class box NMS keeps the best boxes; of all classes the best `max_per_image` go on (in
    the original conventions more, where scores are equal). On the mask of each vote all boxes
    whose IoU with it reaches `merge_threshold`, whether NMS kept them or not: each mask, rendered
    into its box, counts as much as its score in that class. The merged mask is where the share of
    the votes reaches `binary_threshold`, its box is tight around that, and the score stays.

    - "fcis" (or "fcis_gpu"), the version that FCIS runs by default: boxes are inclusive (+ 1) and
      rounded, masks vote with bits, and the shares are resampled from those of the whole image.
      Scores below 0.001 and merged masks one pixel wide or high are dropped.
    - "fcis_cpu": the same, but resampled from the box alone, and thin masks stay.
    - "mnc" (or "mnc_gpu"), the version that MNC runs by default: boxes are inclusive and not
      rounded, masks vote with their values, and a pixel must have more than the threshold.
      Coordinates count from corners of pixels, not from centres.
    - "mnc_cpu": as "fcis_cpu" without the least score.
    - "pyifcn": half-open boxes without + 1, masks vote with bits; the result is `Masks` at full
      resolution, at most `max_per_image`, empty ones dropped.

    Bits are rendered once for each box that votes and votes are counted in whole numbers: the
    answer is the same on every instruction set, on a GPU, with any number of threads, and sums of
    votes are exact where the originals round them. Memory is that of the rendered masks' outlines,
    on a GPU of their bits, and of the region around one object. A merged mask that is empty
    becomes the image's middle pixel in "fcis_cpu" and MNC's. Not differentiable. On a GPU the CPU
    waits once, in "fcis" and "pyifcn" twice.

    A score that is NaN or negative is no detection and no vote; a detection without any vote, all
    scores around it 0 or one of them infinite, is dropped. Boxes with NaN, infinity or a corner
    beyond 2^30 overlap nothing. Parts of a box outside the image, and boxes without a pixel,
    render nothing.

    Source: Dai et al., Instance-aware Semantic Segmentation via Multi-task Network Cascades, CVPR
    2016, section 3.4; Li et al., Fully Convolutional Instance-aware Semantic Segmentation, CVPR
    2017; their code.

    Args:
        masks: (N, M, M) or (N, 1, M, M) soft masks, 0 to 1, float16, bfloat16, float32 or float64,
            as are boxes and scores; computed in float32.
        boxes: (N, 4) rows of x1, y1, x2, y2 in pixels.
        scores: (N, C), at least 0; column 0 is the background.
        image_size: (height, width) in pixels.
        nms_threshold: In 0..1; NMS drops a box whose IoU with a better one is more.
        merge_threshold: In 0..1.
        binary_threshold: Above 0, at most 1; of a mask's values and of the share of the votes.
        max_per_image: The most boxes kept in a class, and in all.
        convention: Whose boxes, rounding and resampling, as above.

    Returns:
        `VotedMasks`, of the kind of `masks`.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or a threshold, the size or the convention is none of the above.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> masks = np.ones((3, 7, 7), np.float32)
        >>> boxes = np.array([[10, 10, 29, 29], [12, 10, 31, 29], [50, 5, 69, 24]], np.float32)
        >>> scores = np.array([[0.1, 0.8], [0.2, 0.6], [0.7, 0.3]], np.float32)
        >>> found = pyifcn.mask_voting(masks, boxes, scores, (40, 80))
        >>> found.boxes
        array([[10., 10., 31., 29.],
               [50.,  5., 69., 24.]], dtype=float32)
        >>> found.scores
        array([0.8, 0.3], dtype=float32)
    """
    if getattr(masks, "ndim", 3) == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    masks = _single(masks, "masks", 3)
    boxes, scores = _single(boxes, "boxes", 2, masks), _single(scores, "scores", 2, masks)
    height, width = _size(image_size)
    thresholds = [
        as_number(value, name)
        for value, name in (
            (nms_threshold, "nms_threshold"),
            (merge_threshold, "merge_threshold"),
            (binary_threshold, "binary_threshold"),
        )
    ]
    most = min(as_int(max_per_image, "max_per_image", 0), 2**31)
    name = {"fcis_gpu": "fcis", "mnc_gpu": "mnc"}.get(as_text(convention, "convention"), convention)
    module, execution = compiled(masks)
    arrays = module.mask_voting(
        masks, boxes, scores, height, width, *thresholds, most, name, execution
    )
    new_boxes, merged, new_scores, labels = arrays
    if name == "pyifcn":
        merged = Masks._of((height, width), *merged, like=masks)
    else:
        merged = _as_kind(merged, masks)
    return VotedMasks(
        _as_kind(new_boxes, masks), merged, _as_kind(new_scores, masks), _as_kind(labels, masks)
    )


def _single(value: Any, name: str, rank: int, like: Any = None) -> Any:
    """`value`, of any floating dtype, as float32 in C order."""
    array = contiguous(value, name, rank, like)
    if is_tensor(array):
        array = array.detach()
        floating = array.is_floating_point()
    else:
        floating = array.dtype.kind == "f"
    if not floating:
        raise TypeError(
            f"{name} is {describe(array)}, expected float16, bfloat16, float32 or float64"
        )
    return as_dtype(array, "float32")


def _size(image_size: Any) -> tuple[int, int]:
    try:
        height, width = image_size
    except (TypeError, ValueError):
        raise TypeError(f"image_size is {image_size!r}, expected (height, width)") from None
    return as_int(height, "image_size", 1), as_int(width, "image_size", 1)


def _as_kind(array: Any, like: Any) -> Any:
    """A new array, NumPy's where that is made on the CPU, as one of `like`'s kind."""
    if not is_tensor(like) or is_tensor(array):
        return array
    return sys.modules["torch"].from_numpy(array)
