"""The gradient of `swap_align2nat` on a GPU: the memory that it needs in between."""

from __future__ import annotations

import math
from typing import Any

import torch

from pyifcn import _cuda

swap_align2nat = _cuda.swap_align2nat


def swap_align2nat_backward(
    grad_out: Any, lambda_val: int, grad_input: Any, execution: Any
) -> None:
    """As in _cpu."""
    images, channels, _, width = grad_input.shape
    out_side, out_height = math.isqrt(grad_out.shape[1]), grad_out.shape[2]
    shape = images, out_side, out_height, math.isqrt(channels), width
    dtype = torch.float64 if grad_out.dtype == torch.float64 else torch.float32
    lent = torch.empty(shape, dtype=dtype, device=grad_out.device)
    _cuda.swap_align2nat_backward(grad_out, lambda_val, grad_input, lent, execution)
