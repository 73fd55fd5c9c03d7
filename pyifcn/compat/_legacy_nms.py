"""The NMS of detectors before 2018, whose boxes have their last pixel inside."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pyifcn._array import as_number, describe
from pyifcn._runtime import cpu

Dets = npt.NDArray[Any]


def nms(dets: Dets, thresh: float) -> list[int]:
    """Keeps the best of boxes that overlap; one goes where its IoU is more than the threshold.

    Args:
        dets: (N, 5), rows of x1, y1, x2, y2, score, in pixels; x2 and y2 are of the last pixel
            inside. float32 is computed in float32, anything else in float64.
        thresh: IoU above which the box with the lower score goes, rounded to the dtype of `dets`.

    Returns:
        Indices of the boxes that are kept, by falling score, equal scores by index.

    Raises:
        TypeError: `dets` is no array of numbers, or the threshold none.
        ValueError: `dets` is not (N, 5), or the threshold is NaN.

    Example:
        >>> import numpy as np
        >>> from pyifcn.compat.fcis import nms
        >>> nms(np.array([[0, 0, 9, 9, 0.8], [1, 0, 10, 9, 0.9]], np.float32), 0.5)
        [1]
    """
    dets = _checked(dets)
    number = _threshold(thresh)
    return _run(dets, float(np.float32(number)) if dets.dtype == np.float32 else number)


def cpu_nms(dets: Dets, thresh: float) -> list[int]:
    """As `nms`, but a box goes where its IoU is at least the threshold.

    Args:
        dets: float32 (N, 5), rows of x1, y1, x2, y2, score.
        thresh: IoU from which on the box with the lower score goes; not rounded.

    Returns:
        Indices of the boxes that are kept, by falling score, equal scores by index.

    Raises:
        TypeError: `dets` is no array of numbers, or the threshold none.
        ValueError: `dets` is not float32 (N, 5), or the threshold is NaN.
    """
    dets = _single(dets)
    return _run(dets, math.nextafter(_threshold(thresh), -math.inf))


def gpu_nms(dets: Dets, thresh: float, device_id: int = 0) -> list[int]:
    """As `nms`, of float32.

    Args:
        dets: float32 (N, 5), rows of x1, y1, x2, y2, score.
        thresh: IoU above which the box with the lower score goes, rounded to float32.
        device_id: Not used: it runs on the CPU.

    Returns:
        Indices of the boxes that are kept, by falling score, equal scores by index.

    Raises:
        TypeError: `dets` is no array of numbers, or the threshold none.
        ValueError: `dets` is not float32 (N, 5), or the threshold is NaN.
    """
    return nms(_single(dets), thresh)


def py_nms_wrapper(thresh: float) -> Callable[[Dets], list[int]]:
    """`nms` with its threshold, a function of `dets` alone."""
    return lambda dets: nms(dets, thresh)


def cpu_nms_wrapper(thresh: float) -> Callable[[Dets], list[int]]:
    """`cpu_nms` with its threshold, a function of `dets` alone."""
    return lambda dets: cpu_nms(dets, thresh)


def gpu_nms_wrapper(thresh: float, device_id: int) -> Callable[[Dets], list[int]]:
    """`gpu_nms` with its threshold, a function of `dets` alone."""
    return lambda dets: gpu_nms(dets, thresh, device_id)


def _threshold(thresh: Any) -> float:
    number = as_number(thresh, "thresh")
    if math.isnan(number):
        raise ValueError("thresh is NaN")
    return number


def _checked(dets: Any) -> Dets:
    if not isinstance(dets, np.ndarray) or dets.dtype.kind not in "fiu":
        raise TypeError(f"dets is {describe(dets)}, expected a NumPy array of numbers")
    if dets.ndim != 2 or dets.shape[1] != 5:
        raise ValueError(f"dets has shape {dets.shape}, expected (N, 5): x1, y1, x2, y2, score")
    return dets if dets.dtype == np.float32 else dets.astype(np.float64)


def _single(dets: Any) -> Dets:
    checked = _checked(dets)
    if checked.dtype != np.float32:
        raise ValueError(f"dets is {describe(dets)}, expected float32")
    return checked


def _run(dets: Dets, threshold: float) -> list[int]:
    boxes, scores = np.ascontiguousarray(dets[:, :4]), np.ascontiguousarray(dets[:, 4])
    keep = np.empty(len(dets), np.int64)
    kept: list[int] = keep[: cpu.nms_inclusive(boxes, scores, threshold, keep)].tolist()
    return kept
