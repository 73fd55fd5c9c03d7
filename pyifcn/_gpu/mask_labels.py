"""`Masks` in device memory from label images and back."""

from __future__ import annotations

import sys
from typing import Any

from pyifcn import _cuda
from pyifcn._gpu.masks import Arrays, new_words

_ROOM = 1 << 16  # corners of labels that few images exceed
_LEAST, _MOST = -(2**63), 2**63 - 1


def masks_from_labels(image: Any, execution: Any) -> tuple[Any, ...]:
    """A mask for each value of an image of integers, and the values, rising.

    The CPU waits twice, for the number of corners and for those of values and words; and once more
    for an image of many corners.
    """
    torch = sys.modules["torch"]
    kind = image.element_size(), image.dtype.is_signed
    keys = _keys_of_corners(image, kind, execution)
    if len(keys) == 0:
        boxes, offsets = keys.new_empty((0, 4), dtype=torch.int32), keys.new_zeros((1,))
        return boxes, offsets, new_words(0, image), image.new_empty((0,))
    keys = keys.sort().values
    is_new = torch.ones_like(keys, dtype=torch.bool)
    is_new[1:] = keys[1:] != keys[:-1]
    keys = keys.masked_fill(~is_new, _MOST).sort().values
    boxes = keys.new_empty((len(keys), 4), dtype=torch.int32)
    offsets = keys.new_empty((len(keys) + 1,))
    _cuda.labels_box(image, kind, keys, boxes, offsets, execution)
    count, size = torch.stack((is_new.sum(), offsets[-1])).tolist()
    words = new_words(size, image)
    words.view(torch.int64).zero_()
    _cuda.labels_fill(image, kind, keys, boxes, offsets, words, execution)
    made: Arrays = boxes[:count].clone(), offsets[: count + 1].clone(), words
    return *made, _values_of(keys[:count], image.dtype)


def _keys_of_corners(image: Any, kind: tuple[int, bool], execution: Any) -> Any:
    """int64 that rise as the labels do, each label at least once, in any order."""
    int64 = sys.modules["torch"].int64
    found = image.new_zeros((1,), dtype=int64)
    keys = image.new_empty((min(_ROOM, image.numel()),), dtype=int64)
    _cuda.labels_corners(image, kind, keys, found, execution)
    count = int(found)
    if count > len(keys):
        keys = image.new_empty((count,), dtype=int64)
        _cuda.labels_corners(image, kind, keys, found.zero_(), execution)
    return keys[:count]


def _values_of(keys: Any, dtype: Any) -> Any:
    torch = sys.modules["torch"]
    return (keys ^ _LEAST).view(dtype) if dtype == torch.uint64 else keys.to(dtype, copy=True)


def masks_to_labels(
    boxes: Any, offsets: Any, words: Any, values: Any, out: Any, execution: Any
) -> None:
    """Writes all of `out` (H, W): each pixel the value of its first mask, or 0."""
    out.fill_(len(boxes))
    _cuda.labels_paint(boxes, offsets, words, values, out, execution)
