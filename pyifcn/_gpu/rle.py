"""Run-length codes of masks in device memory."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from pyifcn import _cuda


def rle_unpack(
    boxes: Any, offsets: Any, words: Any, height: int, width: int, execution: Any
) -> tuple[Any, Any]:
    """The runs of all masks, and where each mask's begin: uint32 and int64, in NumPy arrays.

    The CPU waits twice, for where they begin and for the runs.
    """
    torch = sys.modules["torch"]
    blocks = _cuda.rle_blocks(len(boxes), height, width)
    starts = offsets.new_zeros((len(boxes) * blocks + 1,))
    arguments = boxes, offsets, words, height, width
    _cuda.rle_count(*arguments, starts[1:], execution)
    starts = starts.cumsum(0)
    run_offsets = starts[::blocks].contiguous().cpu().numpy()
    ends = boxes.new_empty((int(run_offsets[-1]),))
    _cuda.rle_find(*arguments, starts, ends, execution)
    runs = torch.diff(ends, prepend=ends.new_zeros((1,)))
    return runs.cpu().numpy().view(np.uint32), run_offsets
