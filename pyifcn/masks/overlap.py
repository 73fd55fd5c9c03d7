"""How much masks cover and share."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from pyifcn._runtime import cpu, num_threads
from pyifcn.masks.storage import Storage


class OverlapMixin(Storage):
    """Area, intersection over union, and suppression by it."""

    @property
    def area(self) -> Any:
        """int64 (N,): the number of pixels of each mask."""
        out = np.empty(len(self), np.int64)
        cpu.masks_area(*self._arrays, out, num_threads())
        return self._result(out)

    def iou(self, other: OverlapMixin, *, kind: Literal["iou", "iof", "iomin"] = "iou") -> Any:
        """How much every mask overlaps every mask of `other`.

        Args:
            other: M masks of the same image size.
            kind: What the intersection is divided by: "iou" the union, "iof" the area of this
                object's mask (what COCO does for a crowd `other`), "iomin" the smaller area.

        Returns:
            float64 (N, M) in 0..1; 0 where the masks do not meet.

        Raises:
            ValueError: If the sizes differ or `kind` is unknown.
        """
        if self.size != other.size:
            raise ValueError(f"masks differ in size: {self.size} and {other.size}")
        out = np.zeros((len(self), len(other)))
        cpu.masks_iou(*self._arrays, *other._arrays, kind, out, num_threads())
        return self._result(out)

    def nms(self, scores: Any, iou_threshold: float) -> Any:
        """Greedy non-maximum suppression on the masks' IoU.

        Args:
            scores: float (N,).
            iou_threshold: A mask is dropped when its IoU with a better kept one is above this.

        Returns:
            int64 (K,): the kept masks' indices, best first; among equal scores the lower first.

        Raises:
            ValueError: If there are not as many scores as masks, or the threshold is NaN.
        """
        scores, iou_threshold = np.asarray(scores, np.float64), float(iou_threshold)
        if math.isnan(iou_threshold):
            raise ValueError("iou_threshold is nan, expected a number")
        if scores.shape != (len(self),):
            raise ValueError(f"scores must have shape ({len(self)},), got {scores.shape}")
        order = np.argsort(-scores, kind="stable")
        keep = np.empty(len(order), np.bool_)
        cpu.masks_nms(*self._arrays, order, iou_threshold, keep)
        return self._result(order[keep])
