"""Assembling score maps in regions of interest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsFloat, SupportsIndex

from pyifcn._array import as_int
from pyifcn.ops.ps_roi import pool_rois

if TYPE_CHECKING:
    from pyifcn._array import AnyArray


def assemble_rois(
    score_maps: AnyArray,
    boxes: AnyArray | Sequence[AnyArray],
    size: SupportsIndex = 21,
    *,
    grid: SupportsIndex = 7,
    spatial_scale: SupportsFloat = 1.0,
    pair: bool = False,
) -> AnyArray:
    """Assembles one mask for each class in each RoI.

    Position-sensitive pooling as FCIS has it. Cell (i, j) of a RoI's K x K grid reads channel
    (c K + i) K + j of class c, and has (size / K)^2 bins, each the mean of the pixels that it
    touches. Along each axis the RoI is cut into `size` bins from s round(x1) to
    s (round(x2) + 1), x2 being the last pixel inside it, and at least 0.1 pixels large.
    Differentiable in `score_maps`, in a fixed order of sums.

    Source: Li et al., Fully Convolutional Instance-aware Semantic Segmentation, CVPR 2017,
    section 3, and the operator PSROIPooling of its code.

    Args:
        score_maps: (B, C * K * K, H, W), or with `pair` (B, C * 2 * K * K, H, W), float16,
            bfloat16, float32 or float64; half types are computed in float32.
        boxes: (N, 5) of the same dtype, rows of image, x1, y1, x2, y2 in pixels of the image; or
            for each image an array of (L, 4), rows of x1, y1, x2, y2. A box with NaN in it gives
            zeros.
        size: Bins along a side, a multiple of K.
        grid: K, cells along a side.
        spatial_scale: Pixels of the maps for one pixel of the image.
        pair: Each class has two masks next to each other, as FCIS's inside and outside scores:
            softmax over the pair gives the mask, the mean of its maximum the class's score.

    Returns:
        (N, C, size, size), or with `pair` (N, C, 2, size, size), of the same kind, dtype and
        device as `score_maps`; a bin outside the map is 0.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: The channels are no multiple of K * K, with `pair` of 2 * K * K, `size` is no
            multiple of K, a box is of an image that is not there, or `spatial_scale` is not
            positive. On a GPU the bins of a box of no image are NaN instead.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> maps = np.stack([np.full((6, 6), k, np.float32) for k in range(4)])[None]
        >>> box = np.array([[0, 1, 1, 4, 4]], np.float32)
        >>> pyifcn.assemble_rois(maps, box, size=4, grid=2)[0, 0]
        array([[0., 0., 1., 1.],
               [0., 0., 1., 1.],
               [2., 2., 3., 3.],
               [2., 2., 3., 3.]], dtype=float32)
    """
    cells = as_int(grid, "grid", 1)
    side = as_int(size, "size", 1)
    if side % cells:
        raise ValueError(f"size is {side}, expected a multiple of grid, {cells}")
    masks = pool_rois("assemble", score_maps, boxes, (cells, cells), (side, side), spatial_scale)
    if not pair:
        return masks
    if masks.shape[1] % 2:
        raise ValueError(
            f"score_maps has {score_maps.shape[1]} channels, with pair expected a multiple of "
            f"2 * {cells} * {cells}"
        )
    return masks.reshape(masks.shape[0], masks.shape[1] // 2, 2, side, side)
