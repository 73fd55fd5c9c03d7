"""Blending bases by attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyifcn._array import (
    as_dtype_of,
    as_read,
    compiled,
    contiguous,
    empty,
    runs_directly,
    torch_ops,
)

if TYPE_CHECKING:
    from pyifcn._array import AnyArray


def blend(bases: AnyArray, attention: AnyArray, *, sigmoid: bool = False) -> AnyArray:
    """Blends the bases of each detection, weighed by its attention.

    The attention is interpolated to the bases' size, as by `torch.nn.functional.interpolate` with
    mode "bilinear" and `align_corners=False`; its softmax over the K bases weighs them in every
    pixel. Sums are made in a fixed order, so that every instruction set, GPU and number of
    threads gives the same bits. Differentiable in both arguments; float16 and bfloat16 are
    computed in float32.

    Source: Chen et al., BlendMask, CVPR 2020, section 3.3.

    Args:
        bases: (N, K, H, W), float16, bfloat16, float32 or float64: the bases pooled in the box of
            each detection, as by `torchvision.ops.roi_align`.
        attention: (N, K, h, w) of the same dtype.
        sigmoid: Whether to return the sigmoid of what is blended, the mask's probabilities.

    Returns:
        (N, H, W) of the same kind, dtype and device as `bases`.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or K, h or w is 0.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> bases = np.stack([np.zeros((2, 4)), np.ones((2, 4))])[None].astype(np.float32)
        >>> attention = np.array([[[[4, -4]], [[0, 0]]]], np.float32)
        >>> pyifcn.blend(bases, attention).round(2)[0]
        array([[0.02, 0.12, 0.88, 0.98],
               [0.02, 0.12, 0.88, 0.98]], dtype=float32)
    """
    if runs_directly(bases, attention):
        return run_blend(bases, attention, bool(sigmoid))
    return torch_ops().blend(bases, attention, bool(sigmoid))


def run_blend(bases: Any, attention: Any, sigmoid: bool) -> Any:
    """`blend` on the compiled module."""
    read, weights, module, execution = _arguments(bases, attention)
    out = empty((read.shape[0], *read.shape[2:]), read)
    module.blend(read, weights, sigmoid, out, execution)
    return as_dtype_of(out, bases)


def run_blend_backward(grad_out: Any, out: Any, bases: Any, attention: Any) -> tuple[Any, Any]:
    """Gradients of the bases and of the attention; `out` is None without sigmoid."""
    read, weights, module, execution = _arguments(bases, attention)
    grad_out = as_read(contiguous(grad_out, "grad_out", 3, bases), module)
    if out is not None:
        out = as_read(contiguous(out, "out", 3, bases), module)
    grads = empty(tuple(read.shape), read), empty(tuple(weights.shape), read)
    module.blend_backward(grad_out, out, read, weights, *grads, execution)
    return as_dtype_of(grads[0], bases), as_dtype_of(grads[1], bases)


def _arguments(bases: Any, attention: Any) -> tuple[Any, Any, Any, Any]:
    bases = contiguous(bases, "bases", 4)
    attention = contiguous(attention, "attention", 4, bases)
    module, execution = compiled(bases)
    return as_read(bases, module), as_read(attention, module), module, execution
