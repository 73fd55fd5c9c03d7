"""Assembling instance masks from prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyifcn._array import (
    as_dtype_of,
    as_float64,
    as_read,
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


def assemble_prototypes(
    prototypes: AnyArray,
    coefficients: AnyArray,
    boxes: AnyArray | None = None,
    *,
    images: AnyArray | None = None,
    sigmoid: bool = True,
) -> AnyArray:
    """Assembles one mask for each detection, a linear combination of prototypes inside its box.

    Inside the box, pixel (y, x) is the sigmoid of the sum over k of `coefficients[n, k] *
    prototypes[k, y, x]`; outside it is 0 and costs nothing but its writing. Pixel (y, x) lies
    inside where `x1 <= x < x2` and `y1 <= y < y2`, as in the `crop` of YOLACT, which first
    widens its boxes by a pixel on each side, and in Ultralytics' `crop_mask`. Sums are made in the
    order of the prototypes, the gradient's in the order of the detections, so that every
    instruction set, GPU and number of threads gives the same bits. Differentiable in
    `prototypes` and `coefficients`; float16 and bfloat16 are computed in float32.

    Source: Bolya et al., YOLACT, ICCV 2019, section 3.1.

    Args:
        prototypes: (K, H, W), float16, bfloat16, float32 or float64; or (B, K, H, W) with `images`.
        coefficients: (N, K) of the same dtype.
        boxes: (N, 4) numbers, rows of x1, y1, x2, y2 in pixels of the prototypes. A box with NaN in
            it holds no pixel. None: all pixels.
        images: (N,) integers, the image of each detection.
        sigmoid: False for the sums themselves, for a loss on logits.

    Returns:
        (N, H, W) of the same kind, dtype and device as `prototypes`.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or a detection is of an image that is not there. On a GPU,
            where to look would be to wait, such a detection's mask is NaN instead.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> prototypes = np.stack([np.eye(4), np.ones((4, 4))]).astype(np.float32)
        >>> coefficients = np.array([[8, -4]], np.float32)
        >>> masks = pyifcn.assemble_prototypes(prototypes, coefficients, np.array([[1, 0, 4, 3]]))
        >>> masks.round(2)[0]
        array([[0.  , 0.02, 0.02, 0.02],
               [0.  , 0.98, 0.02, 0.02],
               [0.  , 0.02, 0.98, 0.02],
               [0.  , 0.  , 0.  , 0.  ]], dtype=float32)
    """
    alone = images is None
    maps = contiguous(prototypes, "prototypes", 3)[None] if alone else prototypes
    arrays = [array for array in (maps, coefficients, boxes, images) if array is not None]
    if runs_directly(*arrays):
        return run_assemble_prototypes(maps, coefficients, boxes, images, bool(sigmoid))
    return torch_ops().assemble_prototypes(maps, coefficients, boxes, images, bool(sigmoid))


def run_assemble_prototypes(
    prototypes: Any, coefficients: Any, boxes: Any, images: Any, sigmoid: bool
) -> Any:
    """`assemble_prototypes` of (B, K, H, W) on the compiled module."""
    maps, *others = arguments = _arguments(prototypes, coefficients, boxes, images)
    module, execution = compiled(maps)
    out = empty((others[0].shape[0], *maps.shape[2:]), maps)
    module.assemble_prototypes(*arguments, sigmoid, out, execution)
    return as_dtype_of(out, prototypes)


def run_assemble_prototypes_backward(
    grad_out: Any, out: Any, prototypes: Any, coefficients: Any, boxes: Any, images: Any
) -> tuple[Any, Any]:
    """Gradients of the prototypes and of the coefficients; `out` is None without sigmoid."""
    arguments = _arguments(prototypes, coefficients, boxes, images)
    maps, rows = arguments[:2]
    module, execution = compiled(maps)
    grad_out = as_read(contiguous(grad_out, "grad_out", 3, maps), module)
    if out is not None:
        out = as_read(contiguous(out, "out", 3, maps), module)
    dtype = str(maps.dtype).removeprefix("torch.")
    grad_maps, grad_rows = zeros(tuple(maps.shape), maps, dtype), empty(tuple(rows.shape), rows)
    module.assemble_prototypes_backward(grad_out, out, *arguments, grad_maps, grad_rows, execution)
    return as_dtype_of(grad_maps, prototypes), as_dtype_of(grad_rows, prototypes)


def _arguments(prototypes: Any, coefficients: Any, boxes: Any, images: Any) -> list[Any]:
    """In C order, and of types that the compiled module reads."""
    maps = contiguous(prototypes, "prototypes", 4)
    rows = contiguous(coefficients, "coefficients", 2, maps)
    module, _ = compiled(maps)
    if boxes is not None:
        boxes = as_float64(contiguous(boxes, "boxes", 2, maps), "boxes")
    if images is not None:
        images = contiguous_int64(images, "images", 1, maps)
    return [as_read(maps, module), as_read(rows, module), boxes, images]
