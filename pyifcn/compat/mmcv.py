"""Functions of mmcv.ops and of mmdet.models.layers, the same and fast.

`nms`, `soft_nms`, `batched_nms` and `nms_match` are mmcv.ops', `mask_matrix_nms` is mmdet's (2.x
has it in mmdet.core). Import them from here in their place, or let `pyifcn.accelerate("mmcv",
"mmdet")` do it. They take tensors, and the first, second and fourth NumPy arrays. Names, arguments,
defaults and results are those of mmcv 2.2 and mmdet 3.3, with these differences:

- Boxes and masks of equal score come by index, where the originals leave their order open.
- float64 is computed in float64, where mmcv fails on the CPU. Boxes and scores are of one dtype.
- `soft_nms`: weights are within 2 units of the last place of mmcv's for "gaussian". With `offset=1`
  1 is added to x2 and y2 rather than to the differences: where corners are not whole numbers, that
  may be another last place. "naive" wants a `min_score` of more than 0. An IoU that is NaN changes
  nothing, and a box whose score is NaN leaves.
- `nms` with `offset=1`, and `soft_nms`, run on the CPU alone.
- `batched_nms` has "nms" and "soft_nms" for its type, or any function; rotated boxes it refuses.
- `mask_matrix_nms` takes binary masks, of any dtype, the very areas of the masks, and whole
  numbers as labels, on the CPU. An IoU with an empty mask is 0, where mmdet divides 0 by 0;
  "linear" does not divide by 0 after an exact copy.
- Arguments of a wrong type are a `TypeError` and wrong values a `ValueError`, where the originals
  have assertions.

Example:
    >>> import numpy as np
    >>> from pyifcn.compat.mmcv import nms
    >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
    >>> dets, inds = nms(boxes, np.array([0.8, 0.9, 0.1], np.float32), 0.5)
    >>> inds
    array([1, 2])
    >>> dets[0].round(1)
    array([ 1. ,  0. , 11. , 10. ,  0.9], dtype=float32)
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

import pyifcn
from pyifcn._array import as_int, as_number, describe, empty, widened
from pyifcn._runtime import cpu
from pyifcn.compat._covered import on_cpu
from pyifcn.compat._instance_masks import check_areas, checked_masks, is_binary, lowered
from pyifcn.compat._replacement import Replacement

__all__ = ["batched_nms", "mask_matrix_nms", "nms", "nms_match", "soft_nms"]

P = ParamSpec("P")
R = TypeVar("R")


def _takes_iou_thr(function: Callable[P, R]) -> Callable[P, R]:
    """Lets `iou_threshold` go by its old name too, which mmcv warns of."""

    @functools.wraps(function)
    def renamed(*args: P.args, **kwargs: P.kwargs) -> R:
        if "iou_thr" in kwargs:
            if "iou_threshold" in kwargs:
                raise ValueError("iou_thr and iou_threshold are the same, expected one of them")
            warnings.warn("iou_thr is iou_threshold now", DeprecationWarning, stacklevel=2)
            kwargs["iou_threshold"] = kwargs.pop("iou_thr")
        return function(*args, **kwargs)

    return renamed


@_takes_iou_thr
def nms(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    offset: int = 0,
    score_threshold: float = 0,
    max_num: int = -1,
) -> tuple[Any, Any]:
    """`mmcv.ops.nms`: keeps the best of boxes that overlap.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2, floating: a tensor or a NumPy array.
        scores: (N,) of the same dtype.
        iou_threshold: IoU above which the box with the lower score goes, rounded to float32.
        offset: 0, or 1 where a box from x1 to x2 is x2 - x1 + 1 wide.
        score_threshold: Where more than 0, boxes that do not score more are left out.
        max_num: Where more than 0, the most boxes.

    Returns:
        (K, 5) rows of x1, y1, x2, y2, score, by falling score; and int64 (K,), their indices.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, or a number is out of range.
    """
    _check(boxes, scores, offset)
    threshold = float(np.float32(as_number(iou_threshold, "iou_threshold")))
    if score_threshold > 0:
        chosen = _where(scores > score_threshold)
        inds = chosen[_kept(boxes[chosen], scores[chosen], threshold, offset)]
    else:
        inds = _kept(boxes, scores, threshold, offset)
    if max_num > 0:
        inds = inds[:max_num]
    return _scored(boxes[inds], scores[inds]), inds


@_takes_iou_thr
def soft_nms(
    boxes: Any,
    scores: Any,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    method: str = "linear",
    offset: int = 0,
) -> tuple[Any, Any]:
    """`mmcv.ops.soft_nms`: lowers the scores of boxes that overlap better ones.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2, floating: a tensor or a NumPy array.
        scores: (N,) of the same dtype.
        iou_threshold: For "linear" and "naive", the IoU from which on scores are lowered.
        sigma: For "gaussian", more than 0.
        min_score: Boxes that score less leave, but for the best of all.
        method: "linear", "gaussian", or "naive", which drops boxes as NMS does.
        offset: 0, or 1 where a box from x1 to x2 is x2 - x1 + 1 wide.

    Returns:
        (K, 5) rows of x1, y1, x2, y2, new score, by falling score; and int64 (K,), their indices.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, a number is out of range, or the method is unknown.
    """
    _check(boxes, scores, offset)
    if method not in ("naive", "linear", "gaussian"):
        raise ValueError(f"method is {method!r}, expected 'naive', 'linear' or 'gaussian'")
    threshold = float(np.float32(as_number(iou_threshold, "iou_threshold")))
    least = float(np.float32(as_number(min_score, "min_score")))
    if method == "naive":
        inds, kept = _naive(boxes, scores, threshold, least, offset)
    else:
        wide = boxes if offset == 0 else _with_last_pixel(boxes)
        linear: Any = method
        inds, kept = pyifcn.soft_nms(
            *(wide, scores),
            iou_threshold=threshold,
            sigma=float(np.float32(as_number(sigma, "sigma"))),
            min_score=least,
            method=linear,
        )
    if len(inds) == 0 < len(scores):  # mmcv keeps the best of all in any case
        inds = _where(scores == scores.max())[:1]
        kept = scores[inds]
    return _scored(_detached(boxes)[inds], kept), inds


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor,
    nms_cfg: dict[str, Any] | None,
    class_agnostic: bool = False,
) -> tuple[Tensor, Tensor]:
    """`mmcv.ops.batched_nms`: NMS within each category.

    Args:
        boxes: (N, 4) rows of x1, y1, x2, y2, floating.
        scores: (N,) of the same dtype.
        idxs: (N,), the category of each box.
        nms_cfg: The arguments of NMS, and `type`, "nms" (the default), "soft_nms" or a function;
            `split_thr`, from how many boxes on categories are taken one by one, 10,000; and
            `class_agnostic`. None: boxes are only sorted.
        class_agnostic: Whether boxes of different categories suppress each other.

    Returns:
        (K, 5) rows of x1, y1, x2, y2, score, by falling score; and int64 (K,), their indices.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: Sizes disagree, a number is out of range, or there is no such type.
    """
    if not isinstance(boxes, Tensor):
        raise TypeError(f"boxes is {describe(boxes)}, expected a tensor")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes has shape {tuple(boxes.shape)}, expected (N, 4)")
    if nms_cfg is None:
        scores, inds = scores.sort(descending=True, stable=True)
        return _scored(boxes[inds], scores), inds
    options = dict(nms_cfg)
    apart = boxes
    if not options.pop("class_agnostic", class_agnostic) and len(boxes):
        apart = boxes + (idxs.to(boxes) * (boxes.max() + 1))[:, None]
    suppress = _suppression(options.pop("type", "nms"))
    if len(boxes) < options.pop("split_thr", 10000):
        dets, keep = suppress(apart, scores, **options)
        return _scored(boxes[keep], dets[:, -1]), keep
    most = options.pop("max_num", -1)
    rescored, kept = torch.empty_like(scores), torch.zeros_like(scores, dtype=torch.bool)
    for category in torch.unique(idxs):
        members = torch.nonzero(idxs == category)[:, 0]
        dets, keep = suppress(apart[members], scores[members], **options)
        rescored[members[keep]] = dets[:, -1]
        kept[members[keep]] = True
    keep = torch.nonzero(kept)[:, 0]
    scores, order = rescored[keep].sort(descending=True, stable=True)
    keep = keep[order]
    if most > 0:
        scores, keep = scores[:most], keep[:most]
    return _scored(boxes[keep], scores), keep


def nms_match(dets: Any, iou_threshold: float) -> list[Any]:
    """`mmcv.ops.nms_match`: the boxes that NMS keeps, each with those that it suppresses.

    Args:
        dets: (N, 5) rows of x1, y1, x2, y2, score, floating: a tensor or a NumPy array.
        iou_threshold: IoU from which on the box with the lower score goes, rounded to float32.

    Returns:
        For each box that is kept, by falling score, int64 indices: its own, then those of the
        boxes that it suppresses, by falling score.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: `dets` is not (N, 5), or the threshold is NaN.

    Example:
        >>> import numpy as np
        >>> dets = np.array([[0, 0, 9, 9, 0.8], [1, 0, 10, 9, 0.9], [50, 50, 60, 60, 0.1]])
        >>> nms_match(dets, 0.5)
        [array([1, 0]), array([2])]
    """
    if not isinstance(dets, (np.ndarray, Tensor)):
        raise TypeError(f"dets is {describe(dets)}, expected a tensor or a NumPy array")
    if dets.shape[0] == 0:
        return []
    if dets.ndim != 2 or dets.shape[1] != 5:
        raise ValueError(f"dets has shape {tuple(dets.shape)}, expected (N, 5)")
    threshold = float(np.float32(as_number(iou_threshold, "iou_threshold")))
    rows: Any = dets.detach().cpu() if isinstance(dets, Tensor) else dets
    keep, groups = pyifcn.nms(
        rows[:, :4], rows[:, 4], math.nextafter(threshold, -math.inf), return_groups=True
    )
    keep, groups, scores = np.asarray(keep), np.asarray(groups), np.asarray(widened(rows[:, 4]))
    order = np.argsort(-scores, kind="stable")
    members: dict[int, list[int]] = {int(i): [int(i)] for i in keep}
    for i in order.tolist():
        if groups[i] != i:
            members[int(groups[i])].append(i)
    if isinstance(dets, Tensor):
        return [dets.new_tensor(group, dtype=torch.long) for group in members.values()]
    return [np.array(group, dtype=int) for group in members.values()]


def mask_matrix_nms(
    masks: Tensor,
    labels: Tensor,
    scores: Tensor,
    filter_thr: float = -1,
    nms_pre: int = -1,
    max_num: int = -1,
    kernel: str = "gaussian",
    sigma: float = 2.0,
    mask_area: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`mmdet.models.layers.mask_matrix_nms`: matrix NMS with a choice before and after it.

    Args:
        masks: (N, H, W) of 0 and 1, of any dtype.
        labels: (N,) integers; masks of different labels leave each other alone.
        scores: (N,) floating.
        filter_thr: Where more than 0, masks whose lowered score is less are left out.
        nms_pre: Where more than 0, the most masks that are compared.
        max_num: Where more than 0, the most masks.
        kernel: "gaussian" or "linear".
        sigma: For "gaussian", more than 0.
        mask_area: (N,), how many pixels each has. None: they are counted.

    Returns:
        (K,) the lowered scores, falling, float32 or float64; their labels; their masks; and int64,
        their indices.

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, masks are not binary, or areas are not theirs.
        NotImplementedError: There is no such kernel.
    """
    if not len(labels) == len(masks) == len(scores):
        raise ValueError(
            f"labels, masks and scores are {len(labels)}, {len(masks)} and {len(scores)}, "
            "expected as many of each"
        )
    none = scores.new_zeros(0), labels.new_zeros(0), masks[:0], labels.new_zeros(0)
    if len(labels) == 0:
        return none
    if kernel not in ("gaussian", "linear"):
        raise NotImplementedError(f"kernel is {kernel!r}, expected 'gaussian' or 'linear'")
    scores, keep = scores.sort(descending=True, stable=True)
    if nms_pre > 0:
        scores, keep = scores[:nms_pre], keep[:nms_pre]
    packed = checked_masks(masks[keep], "masks")
    if mask_area is not None:
        check_areas(mask_area[keep], packed, "mask_area")
    scores = lowered(scores, packed, labels[keep], kernel, sigma)
    if filter_thr > 0:
        chosen = scores >= filter_thr
        if not chosen.any():
            return scores.new_zeros(0), *none[1:]
        scores, keep = scores[chosen], keep[chosen]
    scores, order = scores.sort(descending=True, stable=True)
    keep = keep[order]
    if max_num > 0:
        scores, keep = scores[:max_num], keep[:max_num]
    return scores, labels[keep], masks[keep], keep


def _check(boxes: Any, scores: Any, offset: int) -> None:
    for name, value in (("boxes", boxes), ("scores", scores)):
        if not isinstance(value, (np.ndarray, Tensor)):
            raise TypeError(f"{name} is {describe(value)}, expected a tensor or a NumPy array")
    if as_int(offset, "offset", 0) > 1:
        raise ValueError(f"offset is {offset}, expected 0 or 1")


def _kept(boxes: Any, scores: Any, threshold: float, offset: int) -> Any:
    if offset == 0:
        return pyifcn.nms(_detached(boxes), _detached(scores), threshold)
    if isinstance(boxes, Tensor) and boxes.device.type != "cpu":
        raise TypeError(f"boxes is on {boxes.device} with offset=1, expected it on the CPU")
    boxes, scores = _plain(boxes), _plain(scores)
    keep = empty((len(scores),), boxes, "int64")
    return keep[: cpu.nms_inclusive(boxes, scores, threshold, keep)]


def _naive(boxes: Any, scores: Any, threshold: float, least: float, offset: int) -> tuple[Any, Any]:
    if not least > 0:
        raise ValueError(f"min_score is {least} with method='naive', expected more than 0")
    chosen = _where(scores >= least)
    below = math.nextafter(threshold, -math.inf)
    inds = chosen[_kept(boxes[chosen], scores[chosen], below, offset)]
    return inds, scores[inds]


def _suppression(kind: Any) -> Callable[..., tuple[Any, Any]]:
    if callable(kind):
        function: Callable[..., tuple[Any, Any]] = kind
        return function
    known: dict[Any, Callable[..., tuple[Any, Any]]] = {"nms": nms, "soft_nms": soft_nms}
    if kind not in known:
        raise ValueError(f"nms_cfg['type'] is {kind!r}, expected 'nms', 'soft_nms' or a function")
    return known[kind]


def _where(chosen: Any) -> Any:
    return torch.nonzero(chosen)[:, 0] if isinstance(chosen, Tensor) else np.flatnonzero(chosen)


def _scored(boxes: Any, scores: Any) -> Any:
    if isinstance(boxes, Tensor):
        return torch.cat([boxes, scores[:, None]], 1)
    return np.concatenate([boxes, np.asarray(scores)[:, None]], 1)


def _detached(values: Any) -> Any:
    return values.detach() if isinstance(values, Tensor) else values


def _plain(values: Any) -> Any:
    """In C order, of a type that the compiled module reads."""
    values = widened(_detached(values))
    return values.contiguous() if isinstance(values, Tensor) else np.ascontiguousarray(values)


def _with_last_pixel(boxes: Any) -> Any:
    last = [0, 0, 1, 1]
    return boxes + (
        boxes.new_tensor(last) if isinstance(boxes, Tensor) else np.array(last, boxes.dtype)
    )


def _suppresses(boxes: Any, scores: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether a call is one that `nms` takes as mmcv does."""
    arrays = isinstance(boxes, np.ndarray) and isinstance(scores, np.ndarray)
    return (
        (arrays or on_cpu(boxes, scores))
        and boxes.dtype == scores.dtype
        and (boxes.ndim, scores.ndim) == (2, 1)
        and len(boxes) == len(scores)
    )


def _softens(
    boxes: Any,
    scores: Any,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    method: str = "linear",
    *args: Any,
    **kwargs: Any,
) -> bool:
    """Whether a call is one that `soft_nms` takes as mmcv does."""
    return _suppresses(boxes, scores) and (method != "naive" or min_score > 0)


def _matches(dets: Any, iou_threshold: Any) -> bool:
    """Whether a call is one that `nms_match` takes as mmcv does."""
    return (isinstance(dets, np.ndarray) or on_cpu(dets)) and dets.ndim == 2


def _batches(
    boxes: Any, scores: Any, idxs: Any, nms_cfg: Any, class_agnostic: bool = False
) -> bool:
    """Whether a call is one that `batched_nms` takes as mmcv does."""
    kind = "nms" if nms_cfg is None else nms_cfg.get("type", "nms")
    return (
        isinstance(boxes, Tensor)
        and on_cpu(boxes, scores, idxs)
        and _suppresses(boxes, scores)
        and boxes.shape[1] == 4
        and kind in ("nms", "soft_nms")
    )


def _is_binary(masks: Any, labels: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether a call is one that `mask_matrix_nms` takes as mmdet does."""
    return is_binary(labels, masks, *args, **kwargs)


REPLACEMENTS = (
    Replacement("mmcv.ops.nms.nms", nms, _suppresses),
    Replacement("mmcv.ops.nms.soft_nms", soft_nms, _softens),
    Replacement("mmcv.ops.nms.batched_nms", batched_nms, _batches),
    Replacement("mmcv.ops.nms.nms_match", nms_match, _matches),
    Replacement("mmdet.models.layers.matrix_nms.mask_matrix_nms", mask_matrix_nms, _is_binary),
)
