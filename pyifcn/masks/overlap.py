"""How much masks cover and share."""

from __future__ import annotations

import math
import sys
from typing import Any, Literal, SupportsFloat

from pyifcn._array import (
    as_dtype,
    as_number,
    as_numpy,
    as_text,
    contiguous,
    describe,
    empty,
    is_tensor,
    kind_of,
    on_gpu,
    zeros,
)
from pyifcn.masks.storage import Storage

Kind = Literal["iou", "iof", "iomin"]


class OverlapMixin(Storage):
    """Area, intersection over union, and suppression by it."""

    @property
    def area(self) -> Any:
        """int64 (N,): the number of pixels of each mask."""
        out = empty((len(self),), self._arrays[0], "int64")
        module, execution = self._compiled()
        module.masks_area(*self._arrays, out, execution)
        return out

    def iou(self, other: OverlapMixin, *, kind: Kind = "iou") -> Any:
        """How much every mask overlaps every mask of `other`: `pyifcn.mask_iou`."""
        yours = self._beside(other, "other")._arrays
        out = zeros((len(self), len(other)), self._arrays[0], "float64")
        module, execution = self._compiled()
        module.masks_iou(*self._arrays, *yours, as_text(kind, "kind"), out, execution)
        return out

    def nms(
        self,
        scores: Any,
        iou_threshold: SupportsFloat,
        *,
        idxs: Any = None,
        return_groups: bool = False,
    ) -> Any:
        """The best of masks that overlap: `pyifcn.mask_nms`."""
        threshold, like = _as_threshold(iou_threshold), self._arrays[0]
        scores = _as_column(scores, "scores", like, "fiu", "float64")
        if idxs is not None:
            idxs = _as_column(idxs, "idxs", like, "iu", "int64")
        keep = empty((len(self),), like, "int64")
        groups = empty((len(self),), like, "int64") if return_groups else None
        module, execution = self._compiled()
        kept = module.masks_nms(*self._arrays, scores, idxs, threshold, keep, groups, execution)
        return keep[:kept] if groups is None else (keep[:kept], groups)


def _as_threshold(value: SupportsFloat) -> float:
    threshold = as_number(value, "iou_threshold")
    if math.isnan(threshold):
        raise ValueError("iou_threshold is nan, expected a number")
    return threshold


def _as_column(values: Any, name: str, like: Any, kinds: str, dtype: str) -> Any:
    """`values`, one for each of `like`'s rows, beside it; given in one of `kinds` of dtypes."""
    if is_tensor(values) and values.is_floating_point():
        values = values.double()  # NumPy has no bfloat16
    if not (on_gpu(values) and on_gpu(like)):
        values = as_numpy(values, name)
    if kind_of(values) not in kinds and 0 not in values.shape:
        raise TypeError(
            f"{name} is {describe(values)}, expected {'numbers' if 'f' in kinds else 'integers'}"
        )
    if tuple(values.shape) != (len(like),):
        raise ValueError(f"{name} has shape {tuple(values.shape)}, expected ({len(like)},)")
    if on_gpu(like):
        values = sys.modules["torch"].as_tensor(values, device=like.device).detach()
    return contiguous(as_dtype(values, dtype), name, 1)
