"""Assembling instance masks from instance-sensitive score maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

from pyifcn._array import (
    as_dtype,
    as_int,
    as_number,
    as_text,
    compiled,
    contiguous,
    contiguous_int64,
    empty,
    runs_directly,
    torch_ops,
    zeros,
)

if TYPE_CHECKING:
    from pyifcn._array import AnyArray

Cells = Literal["nearest", "floor"]


def assemble(
    score_maps: AnyArray,
    windows: AnyArray,
    size: SupportsIndex = 21,
    *,
    cells: Cells = "nearest",
    pad_value: float = 0.0,
) -> AnyArray:
    """Assembles one mask for each window.

    Pixel (i, j) of the window centred at (y, x) is copied from the map of its cell, the relative
    position that the map answers for: `score_maps[image, cell(i) * K + cell(j),
    y - size // 2 + i, x - size // 2 + j]`. Differentiable in `score_maps`.

    Source: Dai et al., Instance-sensitive Fully Convolutional Networks, ECCV 2016, section 3.1.

    Args:
        score_maps: (B, K * K, H, W), float16, bfloat16, float32 or float64.
        windows: (N, 3) integers, rows of (image, y, x): the window's centre in pixels of the maps.
        size: Side of a window in pixels of the maps, at least K.
        cells: Cell of row or column i where K does not divide `size`: "nearest" is
            floor((2 i + 1) K / (2 size)), which is symmetric; "floor" is floor(i K / size).
        pad_value: What a pixel outside the map reads.

    Returns:
        (N, size, size) of the same kind, dtype and device as `score_maps`.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: K * K is no square, `size` is less than K, or a window's centre lies outside the
            maps. On a GPU, where to look would be to wait, such a window's mask is NaN instead.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> maps = np.stack([np.full((6, 6), k, np.float32) for k in range(4)])[None]
        >>> pyifcn.assemble(maps, np.array([[0, 3, 3]]), size=4)[0]
        array([[0., 0., 1., 1.],
               [0., 0., 1., 1.],
               [2., 2., 3., 3.],
               [2., 2., 3., 3.]], dtype=float32)
    """
    side, pad = as_int(size, "size", 1), as_number(pad_value, "pad_value")
    as_text(cells, "cells")
    if runs_directly(score_maps, windows):
        return run_assemble(score_maps, windows, side, cells, pad)
    return torch_ops().assemble(score_maps, windows, side, cells, pad)


def assemble_dense(
    score_maps: AnyArray,
    size: SupportsIndex = 21,
    *,
    cells: Cells = "nearest",
    pad_value: float = 0.0,
) -> AnyArray:
    """Assembles the masks of all windows, one centred at each pixel of the maps.

    Differentiable in `score_maps`.

    Source: Dai et al., Instance-sensitive Fully Convolutional Networks, ECCV 2016, section 3.1.

    Args:
        score_maps: (B, K * K, H, W), float16, bfloat16, float32 or float64.
        size: Side of a window in pixels of the maps, at least K.
        cells: As in `assemble`.
        pad_value: What a pixel outside the map reads.

    Returns:
        (B, H, W, size, size) of the same kind, dtype and device: [b, y, x] is what `assemble` gives
        for the window (b, y, x).

    Raises:
        TypeError: `score_maps` has the wrong dtype or rank.
        ValueError: K * K is no square, or `size` is less than K.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> pyifcn.assemble_dense(np.zeros((1, 25, 30, 40), np.float32)).shape
        (1, 30, 40, 21, 21)
    """
    side, pad = as_int(size, "size", 1), as_number(pad_value, "pad_value")
    as_text(cells, "cells")
    if runs_directly(score_maps):
        return run_assemble_dense(score_maps, side, cells, pad)
    return torch_ops().assemble_dense(score_maps, side, cells, pad)


def run_assemble(score_maps: Any, windows: Any, size: int, cells: str, pad_value: float) -> Any:
    """`assemble` on the compiled module."""
    score_maps = contiguous(score_maps, "score_maps", 4)
    windows = contiguous_int64(windows, "windows", 2, score_maps)
    module, execution = compiled(score_maps)
    out = empty((windows.shape[0], size, size), score_maps)
    module.assemble(score_maps, windows, cells, pad_value, out, execution)
    return out


def run_assemble_dense(score_maps: Any, size: int, cells: str, pad_value: float) -> Any:
    """`assemble_dense` on the compiled module."""
    score_maps = contiguous(score_maps, "score_maps", 4)
    images, _, height, width = score_maps.shape
    module, execution = compiled(score_maps)
    out = empty((images, height, width, size, size), score_maps)
    module.assemble_dense(score_maps, cells, pad_value, out, execution)
    return out


def run_assemble_backward(
    grad_out: Any, windows: Any | None, maps_shape: tuple[int, ...], cells: str
) -> Any:
    """Gradient of the score maps; `windows` is None for that of `assemble_dense`.

    Sums are made in float32, in float64 for float64, in the order of the windows.
    """
    grad_out = contiguous(grad_out, "grad_out", 5 if windows is None else 3)
    dtype = "float64" if str(grad_out.dtype).endswith("float64") else "float32"
    grad_maps = zeros(maps_shape, grad_out, dtype)
    if windows is not None:
        windows = contiguous_int64(windows, "windows", 2, grad_out)
    module, execution = compiled(grad_out)
    if windows is None or len(windows):  # null pointers would stand for all pixels
        module.assemble_backward(as_dtype(grad_out, dtype), windows, cells, grad_maps, execution)
    return as_dtype(grad_maps, str(grad_out.dtype).removeprefix("torch."))
