"""Position-sensitive pooling in regions of interest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex

import numpy as np

from pyifcn._array import (
    as_dtype_of,
    as_int,
    as_number,
    as_read,
    compiled,
    contiguous,
    empty,
    is_tensor,
    runs_directly,
    torch_ops,
    widened,
    zeros,
)

if TYPE_CHECKING:
    from pyifcn._array import AnyArray

Pair = tuple[int, int]


def ps_roi_pool(
    input: AnyArray,  # noqa: A002  torchvision's name
    boxes: AnyArray | Sequence[AnyArray],
    output_size: SupportsIndex | tuple[SupportsIndex, SupportsIndex],
    spatial_scale: SupportsFloat = 1.0,
) -> AnyArray:
    """Averages each bin of a RoI over the pixels of the bin's own map.

    The results are those of `torchvision.ops.ps_roi_pool`, bit for bit, as is its gradient: the
    corners are scaled and rounded to whole pixels, a RoI is at least one pixel large, and bin
    (i, j) reads channel (c P + i) Q + j of class c. Two habits of it come with that: no bin reads
    the last row or the last column of a map, yet the gradient is spread over them.
    `pyifcn.assemble_rois` reads the whole map. Differentiable in `input`, in a fixed order of
    sums; float16 and bfloat16, which torchvision refuses, are computed in float32.

    Source: Dai et al., R-FCN, NeurIPS 2016, section 2.2; torchvision.

    Args:
        input: (B, C * P * Q, H, W), float16, bfloat16, float32 or float64.
        boxes: (N, 5) of the same dtype, rows of image, x1, y1, x2, y2; or for each image an
            array of (L, 4), rows of x1, y1, x2, y2. A box with NaN in it gives zeros.
        output_size: P and Q, the bins of a RoI down and across, or one number for both.
        spatial_scale: Pixels of the maps for one unit of the boxes.

    Returns:
        (N, C, P, Q) of the same kind, dtype and device as `input`; a bin outside the map is 0.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: The channels are no multiple of P * Q, a box is of an image that is not there,
            `output_size` is less than 1, or `spatial_scale` is not positive. On a GPU, where to
            look would be to wait, the bins of a box of no image are NaN instead.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> maps = np.stack([np.full((6, 6), k, np.float32) for k in range(4)])[None]
        >>> pyifcn.ps_roi_pool(maps, np.array([[0, 1, 1, 5, 5]], np.float32), 2)[0, 0]
        array([[0., 1.],
               [2., 3.]], dtype=float32)
    """
    size = as_pair(output_size, "output_size")
    return pool_rois("pool", input, boxes, size, size, spatial_scale)


def ps_roi_align(
    input: AnyArray,  # noqa: A002  torchvision's name
    boxes: AnyArray | Sequence[AnyArray],
    output_size: SupportsIndex | tuple[SupportsIndex, SupportsIndex],
    spatial_scale: SupportsFloat = 1.0,
    sampling_ratio: SupportsIndex = -1,
) -> AnyArray:
    """Averages each bin of a RoI over samples interpolated from the bin's own map.

    The results are those of `torchvision.ops.ps_roi_align`, bit for bit, as is its gradient: the
    corners are scaled, moved by half a pixel and not rounded; samples more than a pixel outside
    the map count as 0. A RoI without samples gives zeros, where torchvision divides 0 by 0: one
    without area where `sampling_ratio` is adaptive, or with NaN in it. Differentiable in `input`,
    in a fixed order of sums; float16 and bfloat16 are computed in float32.

    Source: Li et al., Light-Head R-CNN, 2017; torchvision.

    Args:
        input: (B, C * P * Q, H, W), float16, bfloat16, float32 or float64.
        boxes: As in `ps_roi_pool`.
        output_size: P and Q, the bins of a RoI down and across, or one number for both.
        spatial_scale: Pixels of the maps for one unit of the boxes.
        sampling_ratio: Samples of a bin, down and across; 0 or less: as many as the bin has
            pixels, rounded up.

    Returns:
        (N, C, P, Q) of the same kind, dtype and device as `input`.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: As in `ps_roi_pool`.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> ramp = np.tile(np.arange(6, dtype=np.float32), (6, 1))
        >>> maps = np.stack([ramp, ramp, ramp, ramp])[None]
        >>> pyifcn.ps_roi_align(maps, np.array([[0, 1, 1, 5, 5]], np.float32), 2)[0, 0]
        array([[1.5, 3.5],
               [1.5, 3.5]], dtype=float32)
    """
    size = as_pair(output_size, "output_size")
    ratio = as_int(sampling_ratio, "sampling_ratio", -(2**31))
    if ratio >= 2**31:
        raise ValueError(f"sampling_ratio is {ratio}, expected less than {2**31}")
    return pool_rois("align", input, boxes, size, size, spatial_scale, ratio)


def pool_rois(
    rule: str,
    maps: Any,
    boxes: Any,
    grid: Pair,
    size: Pair,
    spatial_scale: SupportsFloat,
    sampling_ratio: int = 0,
) -> Any:
    """What the operators of this family share; `rule` says where the bins lie."""
    scale = as_number(spatial_scale, "spatial_scale")
    rois = _as_rois(boxes, maps)
    if runs_directly(maps, rois):
        return run_ps_roi(maps, rois, rule, grid, size, scale, sampling_ratio)
    return torch_ops().ps_roi(maps, rois, rule, grid, size, scale, sampling_ratio)


def run_ps_roi(
    maps: Any,
    boxes: Any,
    rule: str,
    grid: Sequence[int],
    size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
) -> Any:
    """`ps_roi_pool`, `ps_roi_align` or `assemble_rois` on the compiled module.

    Rule "pool_whole" is "pool" with bins that reach the last row and column.
    """
    name = "score_maps" if rule == "assemble" else "input"
    maps = contiguous(maps, name, 4)
    boxes = widened(contiguous(boxes, "boxes", 2, maps))
    channels, cells = maps.shape[1], grid[0] * grid[1]
    if channels % cells:
        raise ValueError(
            f"{name} has {channels} channels, expected a multiple of {grid[0]} * {grid[1]}"
        )
    module, execution = compiled(maps)
    read = as_read(maps, module)
    out = empty((boxes.shape[0], channels // cells, *size), read)
    module.ps_roi(read, boxes, rule, *grid, spatial_scale, sampling_ratio, out, execution)
    return as_dtype_of(out, maps)


def run_ps_roi_backward(
    grad_out: Any,
    boxes: Any,
    maps_shape: Sequence[int],
    rule: str,
    grid: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
) -> Any:
    """Gradient of the maps.

    Each pixel's sum is made in float32, in float64 for float64, in the order of the boxes.
    """
    grad_out = contiguous(grad_out, "grad_out", 4)
    boxes = widened(contiguous(boxes, "boxes", 2, grad_out))
    module, execution = compiled(grad_out)
    read = as_read(grad_out, module)
    grad_maps = zeros(tuple(maps_shape), read, str(read.dtype).removeprefix("torch."))
    module.ps_roi_backward(
        read, boxes, rule, *grid, spatial_scale, sampling_ratio, grad_maps, execution
    )
    return as_dtype_of(grad_maps, grad_out)


def as_pair(value: Any, name: str) -> Pair:
    """`value` as (down, across), each at least 1.

    Raises:
        TypeError: It is neither an integer nor two.
        ValueError: One is less than 1.
    """
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise TypeError(f"{name} has {len(value)} elements, expected an integer or two")
        return as_int(value[0], f"{name}[0]", 1), as_int(value[1], f"{name}[1]", 1)
    side = as_int(value, name, 1)
    return side, side


def _as_rois(boxes: Any, maps: Any) -> Any:
    """Boxes listed by image as rows of image, x1, y1, x2, y2."""
    if not isinstance(boxes, (list, tuple)):
        return boxes
    images = getattr(maps, "shape", (0,))[0]
    if len(boxes) != images:
        raise ValueError(
            f"boxes lists {len(boxes)} arrays, expected one for each of {images} images"
        )
    for i, rows in enumerate(boxes):
        contiguous(rows, f"boxes[{i}]", 2, maps)
        if rows.shape[1] != 4:
            raise ValueError(
                f"boxes[{i}] has shape {tuple(rows.shape)}, expected (L, 4): x1, y1, x2, y2"
            )
    if not boxes:
        return empty((0, 5), maps)
    if not is_tensor(maps):
        return np.concatenate([np.insert(rows, 0, i, axis=1) for i, rows in enumerate(boxes)])
    torch = sys.modules["torch"]
    return torch.cat(
        [torch.cat([torch.full_like(rows[:, :1], i), rows], 1) for i, rows in enumerate(boxes)]
    )
