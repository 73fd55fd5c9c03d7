"""Matrix NMS as SOLO's code has it, on masks in the order in which they are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import pyifcn
from pyifcn._array import describe
from pyifcn.compat._covered import without_gradient


def checked_masks(masks: Any, name: str) -> pyifcn.Masks:
    """(N, H, W) of 0 and 1, of any dtype.

    Raises:
        TypeError: It is no tensor of three dimensions.
        ValueError: It holds another number.
    """
    if not isinstance(masks, Tensor) or masks.ndim != 3:
        raise TypeError(f"{name} is {describe(masks)}, expected a tensor (N, H, W)")
    if masks.dtype == torch.bool:
        return pyifcn.Masks.from_dense(masks)
    bits = masks != 0
    if not torch.equal(bits.to(masks.dtype), masks):
        raise ValueError(f"{name} holds numbers other than 0 and 1, expected binary masks")
    return pyifcn.Masks.from_dense(bits)


def check_areas(areas: Any, masks: pyifcn.Masks, name: str) -> None:
    """Refuses areas that are not those of the masks.

    Raises:
        ValueError: They are others.
    """
    if len(areas) != len(masks):
        raise ValueError(f"{name} has {len(areas)} elements, expected one for each mask")
    given = areas if isinstance(areas, Tensor) else torch.as_tensor(areas, device="cpu")
    differing = given.reshape(-1).double() != masks.area.double()
    if differing.any():
        i = int(differing.double().argmax())
        raise ValueError(
            f"{name}[{i}] is {float(areas[i])}, but the mask has {int(masks.area[i])} pixels"
        )


def lowered(
    scores: Tensor, masks: pyifcn.Masks, labels: Tensor, kernel: str, sigma: float
) -> Tensor:
    """Scores lowered by the masks before them, in float32, or in float64 where they are."""
    as_good = torch.ones(len(masks), dtype=torch.float64, device="cpu")
    matrix_kernel: Any = kernel
    decay = pyifcn.matrix_nms(masks, as_good, labels, kernel=matrix_kernel, sigma=sigma)
    dtype = torch.promote_types(scores.dtype, torch.float32)
    return scores.to(dtype) * decay.to(dtype)


def is_binary(labels: Any, masks: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether a call has masks in bool, whole numbers as labels and nothing to differentiate."""
    whole = not labels.is_floating_point() and labels.dtype != torch.bool
    return whole and masks.dtype == torch.bool and without_gradient(labels, masks, *args, **kwargs)
