"""Soft masks pasted into `Masks` in device memory."""

from __future__ import annotations

from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.masks import Arrays, build


def paste_masks(
    masks: Any,
    boxes: Any,
    height: int,
    width: int,
    threshold: float,
    convention: str,
    execution: Any,
) -> Arrays:
    """The arrays of a `Masks`; the CPU waits once, for the number of words."""
    pasted = masks, boxes, height, width, threshold, convention
    return build(
        len(masks),
        masks,
        lambda *to: _cuda.paste_boxes(*pasted, *to, execution),
        lambda *to: _cuda.paste_words(*pasted, *to, execution),
    )
