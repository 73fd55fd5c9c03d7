"""Blending on a GPU: the memory that its gradient needs in between."""

from __future__ import annotations

from typing import Any

import torch

from pyifcn import _cuda

blend = _cuda.blend


def blend_backward(
    grad_out: Any,
    out: Any,
    bases: Any,
    attention: Any,
    grad_bases: Any,
    grad_attention: Any,
    execution: Any,
) -> None:
    """As in _cpu."""
    dtype = torch.float64 if bases.dtype == torch.float64 else torch.float32
    lent = torch.empty(bases.shape, dtype=dtype, device=bases.device)
    _cuda.blend_backward(
        grad_out, out, bases, attention, grad_bases, grad_attention, lent, execution
    )
