"""How much masks cover and share."""

from __future__ import annotations

import math
from typing import Any, Literal, SupportsFloat

import numpy as np
import numpy.typing as npt

from pyifcn._array import as_number, as_numpy, as_text, describe, is_tensor
from pyifcn._runtime import cpu, num_threads
from pyifcn.masks.storage import Storage

Kind = Literal["iou", "iof", "iomin"]


class OverlapMixin(Storage):
    """Area, intersection over union, and suppression by it."""

    @property
    def area(self) -> Any:
        """int64 (N,): the number of pixels of each mask."""
        out = np.empty(len(self), np.int64)
        cpu.masks_area(*self._arrays, out, num_threads())
        return self._result(out)

    def iou(self, other: OverlapMixin, *, kind: Kind = "iou") -> Any:
        """How much every mask overlaps every mask of `other`: `pyifcn.mask_iou`."""
        if not isinstance(other, Storage):
            raise TypeError(f"other is {describe(other)}, expected Masks")
        if self.size != other.size:
            raise ValueError(f"masks differ in size: {self.size} and {other.size}")
        out = np.zeros((len(self), len(other)))
        cpu.masks_iou(*self._arrays, *other._arrays, as_text(kind, "kind"), out, num_threads())
        return self._result(out)

    def nms(
        self,
        scores: Any,
        iou_threshold: SupportsFloat,
        *,
        idxs: Any = None,
        return_groups: bool = False,
    ) -> Any:
        """The best of masks that overlap: `pyifcn.mask_nms`."""
        threshold, count = _as_threshold(iou_threshold), len(self)
        scores = _as_column(scores, "scores", count, "fiu").astype(np.float64)
        if idxs is not None:
            idxs = _as_column(idxs, "idxs", count, "iu").astype(np.int64)
        keep = np.empty(count, np.int64)
        groups = np.empty(count, np.int64) if return_groups else None
        kept = cpu.masks_nms(*self._arrays, scores, idxs, threshold, keep, groups, num_threads())
        keep = self._result(keep[:kept].copy())
        return keep if groups is None else (keep, self._result(groups))


def _as_threshold(value: SupportsFloat) -> float:
    threshold = as_number(value, "iou_threshold")
    if math.isnan(threshold):
        raise ValueError("iou_threshold is nan, expected a number")
    return threshold


def _as_column(values: Any, name: str, count: int, kinds: str) -> npt.NDArray[Any]:
    """`values`, one for each mask, as a NumPy array of one of `kinds` of dtypes."""
    if is_tensor(values) and values.is_floating_point():
        values = values.double()  # NumPy has no bfloat16
    values = as_numpy(values, name)
    if values.dtype.kind not in kinds and values.size:
        raise TypeError(
            f"{name} is {describe(values)}, expected {'numbers' if 'f' in kinds else 'integers'}"
        )
    if values.shape != (count,):
        raise ValueError(f"{name} has shape {values.shape}, expected ({count},)")
    return values
