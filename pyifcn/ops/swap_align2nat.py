"""From the aligned to the natural representation of TensorMask's masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex

from pyifcn._array import (
    as_dtype_of,
    as_int,
    as_number,
    as_read,
    compiled,
    contiguous,
    empty,
    runs_directly,
    torch_ops,
)

if TYPE_CHECKING:
    from pyifcn._array import AnyArray


def swap_align2nat(
    input: AnyArray,  # noqa: A002  torch's name
    lambda_val: SupportsIndex,
    pad_val: SupportsFloat = -6.0,
) -> AnyArray:
    """Swaps the units of windows and pixels, and aligned for natural masks.

    In the aligned representation, channel (v, u) of pixel (y, x) is about that pixel, in each of
    the windows around it; in the natural one it is about the window at (y, x). The output's unit
    (v, u) of pixel (y, x) samples the input linearly along four axes: at unit ((v + 1/2) / lambda -
    1/2, (u + 1/2) / lambda - 1/2) of pixel (lambda y + v - lambda V / 2 + 1/2, lambda x + u -
    lambda V / 2 + 1/2). It is detectron2's operator, on the CPU as well, but for the rounding: it
    mixes axis after axis, in a fixed order, so that every instruction set, GPU and number of
    threads gives the same bits, and its gradient needs no atomics. Differentiable in `input`;
    float16 and bfloat16 are computed in float32.

    Source: Chen et al., TensorMask, ICCV 2019, section 4.3; detectron2's projects/TensorMask.

    Args:
        input: (B, V * V, H, W), float16, bfloat16, float32 or float64.
        lambda_val: Pixels that a unit of the input's windows is long, at least 1.
        pad_val: What neighbours outside the input read.

    Returns:
        (B, (lambda V) * (lambda V), ceil(H / lambda), ceil(W / lambda)) of the same kind, dtype and
        device.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: V * V is no square, `lambda_val` is less than 1, or the result would be too
            large to address.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> aligned = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
        >>> pyifcn.swap_align2nat(aligned, 1)[0, 0]
        array([[0., 1.],
               [2., 3.]], dtype=float32)
        >>> pyifcn.swap_align2nat(np.zeros((1, 225, 64, 48)), 4).shape
        (1, 3600, 16, 12)
    """
    factor, pad = as_int(lambda_val, "lambda_val", 1), as_number(pad_val, "pad_val")
    if runs_directly(input):
        return run_swap_align2nat(input, factor, pad)
    return torch_ops().swap_align2nat(input, factor, pad)


def swapped_shape(shape: Sequence[int], lambda_val: int) -> tuple[int, int, int, int]:
    """The output's shape for an input's."""
    images, channels, height, width = shape
    return images, channels * lambda_val**2, -(-height // lambda_val), -(-width // lambda_val)


def run_swap_align2nat(values: Any, lambda_val: int, pad_val: float) -> Any:
    """`swap_align2nat` on the compiled module."""
    values = contiguous(values, "input", 4)
    module, execution = compiled(values)
    read = as_read(values, module)
    shape = swapped_shape(read.shape, lambda_val)
    if math.prod(shape) >= 2**56:
        raise ValueError(f"lambda_val is {lambda_val}: a result of {shape} is too large to address")
    out = empty(shape, read)
    module.swap_align2nat(read, lambda_val, pad_val, out, execution)
    return as_dtype_of(out, values)


def run_swap_align2nat_backward(grad_out: Any, input_shape: Sequence[int], lambda_val: int) -> Any:
    """Gradient of the input."""
    grad_out = contiguous(grad_out, "grad_out", 4)
    module, execution = compiled(grad_out)
    read = as_read(grad_out, module)
    grad_input = empty(tuple(input_shape), read)
    module.swap_align2nat_backward(read, lambda_val, grad_input, execution)
    return as_dtype_of(grad_input, grad_out)
