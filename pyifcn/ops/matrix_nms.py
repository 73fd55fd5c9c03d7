"""Matrix non-maximum suppression of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

from pyifcn._array import (
    as_dtype,
    as_number,
    as_text,
    compiled,
    contiguous,
    contiguous_int64,
    describe,
    empty,
    is_tensor,
)
from pyifcn.masks import Masks, as_masks

if TYPE_CHECKING:
    from pyifcn._array import AnyArray


def matrix_nms(
    masks: Masks | Any,
    scores: AnyArray,
    labels: AnyArray,
    *,
    kernel: Literal["gaussian", "linear"] = "gaussian",
    sigma: SupportsFloat = 2.0,
) -> AnyArray:
    """Lowers the scores of masks that overlap better ones of their label, all at once.

    The score of mask j is multiplied by the least, over the better masks i of its label, of
    f(o_ij) / f(c_i): o_ij is their IoU, c_i the greatest IoU of mask i with one better than it,
    and f(o) is exp(-sigma * o * o) for "gaussian", 1 - o for "linear". The factor is at most 1.
    Masks are better by score, equal ones by index. A mask that is an exact copy of a better one
    (c_i = 1, where "linear" would divide by 0) leaves it to that to lower others.

    No N x N matrix is held: pairs whose boxes meet are counted for 256 masks at once, on a GPU
    twice.

    Source: Wang et al., SOLOv2, NeurIPS 2020, section 3.3.

    Args:
        masks: N masks: a `Masks`, or bool or uint8 (N, H, W).
        scores: (N,) float16, bfloat16, float32 or float64.
        labels: (N,) integers; masks of different labels leave each other alone.
        kernel: f, how an overlap lowers a score.
        sigma: For "gaussian", more than 0.

    Returns:
        (N,) the lowered scores in the order of `masks`, of the kind and dtype of `scores`. The
        factor is computed in float64, its exponential the same on every machine.

    Raises:
        TypeError: An argument has the wrong dtype or rank, or is not where the masks are.
        ValueError: Sizes disagree, the kernel is unknown, or `sigma` is not positive and
            finite.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> dense = np.zeros((2, 4, 6), bool)
        >>> dense[0, 1:3, 2:5] = dense[1, 1:4, 2:5] = True
        >>> scores, labels = np.array([0.8, 0.9]), np.array([3, 3])
        >>> pyifcn.matrix_nms(dense, scores, labels).round(3)
        array([0.329, 0.9  ])
    """
    masks, number = as_masks(masks, "masks"), as_number(sigma, "sigma")
    as_text(kernel, "kernel")
    scores = contiguous(scores, "scores", 1, masks._arrays[0])
    labels = contiguous_int64(labels, "labels", 1, scores)
    for name, values in (("scores", scores), ("labels", labels)):
        if len(values) != len(masks):
            raise ValueError(
                f"{name} has {len(values)} elements, expected one for each of {len(masks)} masks"
            )
    dtype = str(scores.dtype).removeprefix("torch.")
    if "float" not in dtype:
        raise TypeError(
            f"scores is {describe(scores)}, expected float16, bfloat16, float32 or float64"
        )
    wide: Any = as_dtype(scores, "float64")
    if is_tensor(wide):
        wide = wide.detach()
    lowered = empty((len(masks),), wide)
    module, execution = compiled(wide)
    module.matrix_nms(*masks._arrays, wide, labels, kernel, number, lowered, execution)
    return as_dtype(lowered, dtype)
