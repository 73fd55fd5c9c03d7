"""`Masks` in device memory moved, mirrored and resized."""

from __future__ import annotations

from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.masks import Arrays, build_alike


def masks_shift(
    boxes: Any,
    offsets: Any,
    words: Any,
    dx: int,
    dy: int,
    height: int,
    width: int,
    execution: Any,
) -> Arrays:
    """The masks moved by (dx, dy) into an image, and cut at its border."""
    arguments = boxes, offsets, words, dx, dy, height, width
    return build_alike(len(boxes), boxes, lambda *to: _cuda.masks_shift(*arguments, *to, execution))


def masks_flip(
    boxes: Any,
    offsets: Any,
    words: Any,
    horizontal: bool,
    height: int,
    width: int,
    execution: Any,
) -> Arrays:
    """The masks with left and right exchanged, or top and bottom."""
    arguments = boxes, offsets, words, horizontal, height, width
    return build_alike(len(boxes), boxes, lambda *to: _cuda.masks_flip(*arguments, *to, execution))


def masks_resize(
    boxes: Any,
    offsets: Any,
    words: Any,
    height: int,
    width: int,
    to_height: int,
    to_width: int,
    execution: Any,
) -> Arrays:
    """The masks in an image of another size, each pixel from the one under its centre."""
    arguments = boxes, offsets, words, height, width, to_height, to_width
    return build_alike(
        len(boxes), boxes, lambda *to: _cuda.masks_resize(*arguments, *to, execution)
    )
