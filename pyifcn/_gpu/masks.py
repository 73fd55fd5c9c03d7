"""`Masks` in device memory: made in two passes, chosen from, joined."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from pyifcn import _cuda

Arrays = tuple[Any, Any, Any]  # boxes, offsets, words


def build(
    count: int, like: Any, box: Callable[[Any, Any], None], fill: Callable[[Any, Any, Any], None]
) -> Arrays:
    """Masks made in two passes; between them the CPU waits, for the number of words.

    Args:
        count: N, how many masks.
        like: A tensor on the device.
        box: Writes boxes (N, 4) and offsets (N + 1,).
        fill: Writes words, given boxes, offsets and words.
    """
    torch = sys.modules["torch"]
    boxes = like.new_empty((count, 4), dtype=torch.int32)
    offsets = like.new_empty((count + 1,), dtype=torch.int64)
    box(boxes, offsets)
    words = new_words(int(offsets[-1]), like)
    fill(boxes, offsets, words)
    return boxes, offsets, words


def build_alike(count: int, like: Any, make: Callable[[Any, Any, Any], None]) -> Arrays:
    """`build` by a function for both passes; in the first the words are None."""
    return build(count, like, lambda boxes, offsets: make(boxes, offsets, None), make)


def new_words(size: int, like: Any) -> Any:
    """Memory for the words of masks beside `like`.

    Raises:
        ValueError: They are more than can be addressed.
    """
    if size >= _cuda.MOST_MASK_WORDS:
        raise ValueError("masks would be too large to address")
    return like.new_empty((size,), dtype=sys.modules["torch"].uint64)


def masks_from_dense(array: Any, execution: Any) -> Arrays:
    """Masks of a bool or uint8 tensor (N, H, W)."""
    array = array.contiguous()
    return build(
        len(array),
        array,
        lambda *to: _cuda.masks_box_dense(array, *to, execution),
        lambda *to: _cuda.masks_fill_dense(array, *to, execution),
    )


def masks_slice(boxes: Any, offsets: Any, words: Any, begin: int, end: int) -> Arrays:
    """Masks [begin, end), which lie within them."""
    first, last = sys.modules["torch"].stack((offsets[begin], offsets[end])).tolist()
    return boxes[begin:end].clone(), offsets[begin : end + 1] - first, words[first:last].clone()


def masks_split(boxes: Any, offsets: Any, words: Any) -> Iterator[Arrays]:
    """Each mask by itself; the CPU waits once for all, for where they begin."""
    for i, (first, last) in enumerate(pairwise(offsets.tolist())):
        yield boxes[i : i + 1].clone(), offsets[i : i + 2] - first, words[first:last].clone()


def masks_equal(
    boxes: Any, offsets: Any, words: Any, other_boxes: Any, other_offsets: Any, other_words: Any
) -> bool:
    """Whether as many masks are the same."""
    torch = sys.modules["torch"]
    if len(words) != len(other_words):
        return False
    same = (boxes == other_boxes).all() & (offsets == other_offsets).all()
    same &= (words.view(torch.int64) == other_words.view(torch.int64)).all()
    return bool(same)


def masks_take(boxes: Any, offsets: Any, words: Any, index: Any) -> Arrays:
    """The masks of an index of bools, or of ints, which may count from the end.

    The CPU waits once, for the numbers of masks and words and whether the index was in range.
    """
    torch = sys.modules["torch"]
    count = len(boxes)
    index = torch.as_tensor(index, device=boxes.device)
    if len(index) == 0:
        return boxes[:0].clone(), offsets[:1].clone(), words[:0].clone()
    if index.dtype == torch.bool:
        place = index.logical_not().argsort(stable=True)  # those chosen first
        sizes = (offsets[place + 1] - offsets[place]) * index[place]
        ends = sizes.cumsum(0)
        size, chosen = torch.stack((ends[-1], index.sum())).tolist()
        return _gather(boxes, offsets, words, place[:chosen], ends[:chosen], size)
    wrong = (index < -count) | (index >= count)
    if count == 0:
        raise _out_of_range(index[wrong], count)
    place = index.clamp(-count, count - 1).remainder(count)
    ends = (offsets[place + 1] - offsets[place]).cumsum(0)
    size, any_wrong = torch.stack((ends[-1], wrong.any())).tolist()
    if any_wrong:
        raise _out_of_range(index[wrong], count)
    return _gather(boxes, offsets, words, place, ends, size)


def _gather(boxes: Any, offsets: Any, words: Any, place: Any, ends: Any, size: int) -> Arrays:
    """The masks at `place`, whose words end at `ends`, `size` in all."""
    torch = sys.modules["torch"]
    new_offsets = torch.cat((offsets[:1], ends))
    shift = offsets[place] - new_offsets[:-1]
    shift = torch.repeat_interleave(shift, new_offsets.diff(), output_size=size)
    source = shift + torch.arange(size, device=boxes.device)
    return boxes[place], new_offsets, words.view(torch.int64)[source].view(torch.uint64)


def _out_of_range(wrong: Any, count: int) -> IndexError:
    return IndexError(f"index {int(wrong[0])} is out of range for {count} masks")


def masks_cat(parts: list[Arrays]) -> Arrays:
    """The masks of several, one after the other."""
    torch = sys.modules["torch"]
    boxes, offsets, words = zip(*parts, strict=True)
    ends, size = [offsets[0][:1]], 0
    for each_offsets, each_words in zip(offsets, words, strict=True):
        ends.append(each_offsets[1:] + size)
        size += len(each_words)
    joined = torch.cat([each.view(torch.int64) for each in words])
    return torch.cat(boxes), torch.cat(ends), joined.view(torch.uint64)


def masks_patch(boxes: Any, offsets: Any, words: Any, i: int, out: Any) -> None:
    """Writes `out`, of the size of mask i's box."""
    torch = sys.modules["torch"]
    if out.numel() == 0:
        return
    rows, columns = (torch.arange(side, device=boxes.device) for side in out.shape)
    left, right = boxes[i, 0].long(), boxes[i, 2].long()
    across = (right + 63) // 64 - left // 64
    columns = columns + left % 64
    place = offsets[i] + rows[:, None] * across + columns // 64
    out.copy_(words.view(torch.int64)[place] >> columns % 64 & 1)
