"""Pasting soft masks into boxes of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, overload

import pyifcn._runtime as _runtime
from pyifcn._array import (
    as_dtype,
    as_number,
    as_text,
    background,
    compiled,
    contiguous,
    detached,
    runs_directly,
    torch_ops,
    widened,
)
from pyifcn.masks import Masks
from pyifcn.masks.storage import checked_size

if TYPE_CHECKING:
    from pyifcn._array import AnyArray

Convention = Literal["torchvision", "detectron2"]


@overload
def paste_masks(
    masks: AnyArray,
    boxes: AnyArray,
    image_size: Sequence[int],
    *,
    threshold: SupportsFloat | None = ...,
    convention: Convention = ...,
    out: Literal["masks"] = ...,
) -> Masks: ...
@overload
def paste_masks(
    masks: AnyArray,
    boxes: AnyArray,
    image_size: Sequence[int],
    *,
    threshold: SupportsFloat | None = ...,
    convention: Convention = ...,
    out: Literal["bool", "uint8", "float32", "float64"],
) -> AnyArray: ...
def paste_masks(
    masks: Any,
    boxes: Any,
    image_size: Sequence[int],
    *,
    threshold: SupportsFloat | None = 0.5,
    convention: Convention = "torchvision",
    out: Literal["masks", "bool", "uint8", "float32", "float64"] = "masks",
) -> Any:
    """Pastes each soft mask into its box on the image and compares it with the threshold.

    The masks are interpolated bilinearly, between zeros outside. Where a value is within 1e-5 of
    the threshold apart, a pixel is set as the convention's library sets it:

    - "torchvision", `torchvision.models.detection.roi_heads.paste_masks_in_image`: a ring of
      zeros is put around the mask, the box grows with it and is cut to whole pixels, and the mask
      is stretched over those; set where the value is more than the threshold.
    - "detectron2", `detectron2.layers.paste_masks_in_image`: the mask is sampled at the centre of
      each pixel, up to a pixel outside the box; set where the value is at least the threshold.

    A box outside the image, without pixels, or with NaN or an infinity in it gives an empty mask.
    NaN in a mask counts as background, but for the values themselves, where it stays NaN. Beside
    the result, memory grows with H + W alone, and of a dense result on the CPU the system gives
    memory only where boxes are. float16 and bfloat16 are computed in float32; nothing is
    differentiable.

    Args:
        masks: (N, h, w) or (N, 1, h, w), float16, bfloat16, float32 or float64.
        boxes: (N, 4) rows of x1, y1, x2, y2 in pixels of the image, of one of these dtypes.
        image_size: (H, W) of the image in pixels.
        threshold: At least 0. None: no comparison, but the values: as they are in "float32" and
            "float64", times 255 and cut to whole numbers in "uint8".
        convention: Whose results these are.
        out: "masks" for a `Masks`, which takes no more memory than its bits; "bool", or "uint8"
            with 0 and 1, for a dense (N, H, W); with `threshold=None` "uint8", or "float32" or
            "float64", in which the values are then computed.

    Returns:
        N masks of the same kind and device as `masks`.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, a mask has a side of 0 or more than 2^24, the threshold is
            negative or NaN, or there is no such convention or `out`.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> soft = np.array([[[0.9, 0.9], [0.9, 0.1]]], np.float32)
        >>> box = np.array([[1, 1, 5, 5]], np.float32)
        >>> pyifcn.paste_masks(soft, box, (6, 7), out="uint8")[0]
        array([[0, 0, 0, 0, 0, 0, 0],
               [0, 0, 1, 1, 1, 0, 0],
               [0, 1, 1, 1, 1, 1, 0],
               [0, 1, 1, 1, 1, 0, 0],
               [0, 1, 1, 1, 0, 0, 0],
               [0, 0, 1, 0, 0, 0, 0]], dtype=uint8)
        >>> pyifcn.paste_masks(soft, box, (480, 640))
        Masks(1, size=(480, 640), 72 bytes)
    """
    size = checked_size(image_size, "image_size")
    if out not in ("masks", "bool", "uint8", "float32", "float64"):
        raise ValueError(
            f"out is {out!r}, expected 'masks', 'bool', 'uint8', 'float32' or 'float64'"
        )
    if threshold is None and out in ("masks", "bool"):
        raise ValueError(f"threshold is None with out='{out}', expected a number")
    if threshold is not None and out in ("float32", "float64"):
        raise ValueError(f"threshold is {threshold!r} with out='{out}', expected None")
    if threshold is not None:
        threshold = as_number(threshold, "threshold")
    as_text(convention, "convention")
    if getattr(masks, "ndim", 3) == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    masks, boxes = detached(masks), detached(boxes)
    if out == "masks":
        assert threshold is not None
        return _paste_packed(masks, boxes, size, threshold, convention)
    if runs_directly(masks, boxes):
        return run_paste_masks(masks, boxes, *size, threshold, convention, out)
    return torch_ops().paste_masks(masks, boxes, *size, threshold, convention, out)


def run_paste_masks(
    masks: Any,
    boxes: Any,
    height: int,
    width: int,
    threshold: float | None,
    convention: str,
    out: str,
) -> Any:
    """`paste_masks` into dense arrays on the compiled module."""
    soft, places, module, execution = _arguments(masks, boxes)
    count = soft.shape[0]
    if count * height * width >= 2**63:
        raise ValueError(
            f"image_size is {(height, width)}: {count} such images are too large to address"
        )
    images = background((count, height, width), soft, out)
    if out in ("float32", "float64"):
        module.paste_values(as_dtype(soft, out), places, convention, images, execution)
        return images
    module.paste_dense(soft, places, threshold, convention, images, execution)
    return images


def _paste_packed(
    masks: Any, boxes: Any, size: tuple[int, int], threshold: float, convention: str
) -> Masks:
    soft, places, module, execution = _arguments(masks, boxes)
    arrays = module.paste_masks(soft, places, *size, threshold, convention, execution)
    return Masks._of(size, *arrays, like=soft)


def _arguments(masks: Any, boxes: Any) -> tuple[Any, Any, Any, Any]:
    """What compiled code takes, and the module with what its functions take last."""
    soft = contiguous(masks, "masks", 3)
    places = widened(contiguous(boxes, "boxes", 2, soft))
    module, execution = compiled(soft)
    if module is _runtime.cpu:  # a GPU reads half types
        soft = widened(soft)
    return soft, places, module, execution
