"""Overlap of masks with masks."""

from __future__ import annotations

from typing import Any, Literal

from pyifcn.masks import Masks, as_masks


def mask_iou(
    a: Masks | Any, b: Masks | Any, *, kind: Literal["iou", "iof", "iomin"] = "iou"
) -> Any:
    """How much every mask of `a` overlaps every mask of `b`.

    Only pairs whose boxes meet are looked at, found by a tree; of those, only the bits where the
    boxes meet. The pixels of two masks in common are counted exactly, so that the result is
    `pycocotools.mask.iou`'s to the last bit. Where `a` and `b` are one and the same `Masks` each
    pair is counted once.

    Args:
        a: N masks: a `Masks`, or bool or uint8 (N, H, W).
        b: M masks of the same image size.
        kind: What the intersection is divided by: "iou" the union, "iof" the area of `a`'s mask
            (what COCO does where `b` is a crowd), "iomin" the smaller area.

    Returns:
        float64 (N, M) in 0..1, of the same kind and device as `a`; 0 where masks do not meet, and
        for empty ones.

    Raises:
        TypeError: A dense array has another dtype or rank.
        ValueError: The sizes differ, or `kind` is unknown.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> dense = np.zeros((2, 4, 6), bool)
        >>> dense[0, 1:3, 2:5] = dense[1, 1:4, 2:5] = True
        >>> pyifcn.mask_iou(dense[:1], dense, kind="iof")
        array([[1., 1.]])
        >>> pyifcn.mask_iou(dense[1:], dense).round(2)
        array([[0.67, 1.  ]])
    """
    return as_masks(a, "a").iou(as_masks(b, "b"), kind=kind)
