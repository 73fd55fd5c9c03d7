"""What YOLACT (github.com/dbolya/yolact) does after its network, the same and fast.

`Detect` is `layers.functions.detection`'s, `postprocess` is `layers.output_utils`', the others are
`layers.box_utils`'. Import them from here in their place, or let `pyifcn.accelerate("yolact")` put
`postprocess` and the three kinds of NMS there, with YOLACT's folder on `sys.path`. Names,
arguments, defaults and results are those of YOLACT, with these differences:

- What its `cfg` says are arguments of `Detect` here, with the values of yolact_base. `postprocess`
  is that of prototypes, a sigmoid and no mask IoU; under another configuration `accelerate` leaves
  the call to YOLACT.
- Of equal scores the lower index comes first; where no detection is left, all is empty, where the
  originals fail.
- A box whose IoU with a better one is NaN stays in `fast_nms` and `cc_fast_nms`: NaN suppresses
  nothing. Boxes and scores are of one floating type; float16 is computed in float32.
- `traditional_nms` compiles nothing, and takes boxes of any floating type, as float32.
- Prototypes are summed in their order: a pixel within 1e-5 of the threshold may be either.
- `postprocess` leaves the dictionary that it gets, and its boxes, as they are; it draws no plots.

Example:
    >>> import torch
    >>> from pyifcn.compat.yolact import Detect
    >>> detect = Detect(2, 0, top_k=200, conf_thresh=0.05, nms_thresh=0.5)
    >>> boxes = torch.tensor([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.4], [0.6, 0.6, 1, 1]])
    >>> scores = torch.tensor([[0.9, 0.8, 0.7]])
    >>> boxes, masks, classes, scores = detect.fast_nms(boxes, torch.zeros(3, 32), scores)
    >>> scores, classes
    (tensor([0.9000, 0.7000]), tensor([0, 0]))
"""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pyifcn
from pyifcn._array import as_int, as_number, describe
from pyifcn.compat._covered import on_cpu, without_gradient
from pyifcn.compat._legacy_nms import cpu_nms
from pyifcn.compat._replacement import Replacement

__all__ = [
    "Detect",
    "crop",
    "decode",
    "intersect",
    "jaccard",
    "postprocess",
    "sanitize_coordinates",
]

Detections = tuple[Tensor, Tensor, Tensor, Tensor]


class Detect:
    """`layers.functions.detection.Detect`: a network's predictions as detections.

    Args:
        num_classes: Classes, the background among them.
        bkg_label: Not used, as in YOLACT, whose background is class 0.
        top_k: The most boxes of a class that NMS looks at.
        conf_thresh: A box whose best score is not more is left out.
        nms_thresh: IoU above which the box with the lower score goes, more than 0.
        max_num_detections: `cfg.max_num_detections`, the most detections of an image.
        max_size: `cfg.max_size`, by which `traditional_nms` multiplies boxes.

    Attributes:
        use_fast_nms: Whether calls use `fast_nms`, else `traditional_nms`; False at first.
        use_cross_class_nms: Whether it is `cc_fast_nms` then; False at first.

    Raises:
        ValueError: `nms_thresh` is 0 or less, or a number of detections or a size less than 1.
    """

    def __init__(
        self,
        num_classes: int,
        bkg_label: int,
        top_k: int,
        conf_thresh: float,
        nms_thresh: float,
        *,
        max_num_detections: int = 100,
        max_size: int = 550,
    ) -> None:
        if not as_number(nms_thresh, "nms_thresh") > 0:
            raise ValueError(f"nms_thresh is {nms_thresh}, expected more than 0")
        self.num_classes = num_classes
        self.background_label = bkg_label
        self.top_k = top_k
        self.nms_thresh = nms_thresh
        self.conf_thresh = conf_thresh
        self.use_cross_class_nms = False
        self.use_fast_nms = False
        self.max_num_detections = as_int(max_num_detections, "max_num_detections", 1)
        self.max_size = as_int(max_size, "max_size", 1)

    def __call__(self, predictions: dict[str, Tensor], net: Any) -> list[dict[str, Any]]:
        """The detections of each image of a batch.

        Args:
            predictions: loc (B, P, 4), conf (B, P, C), mask (B, P, K), priors (P, 4) as centre and
                size, and perhaps proto (B, H, W, K).
            net: Handed on.

        Returns:
            For each image a dictionary: net, and detection, which is None or a dictionary of box,
            mask, class, score and perhaps proto.
        """
        loc, priors, proto = predictions["loc"], predictions["priors"], predictions.get("proto")
        shape = loc.shape[0], priors.shape[0], self.num_classes
        conf_preds = predictions["conf"].reshape(shape).transpose(2, 1)
        found = []
        for image in range(len(loc)):
            boxes = decode(loc[image], priors)
            result = self.detect(image, conf_preds, boxes, predictions["mask"], None)
            if result is not None and proto is not None:
                result["proto"] = proto[image]
            found.append({"detection": result, "net": net})
        return found

    def detect(
        self,
        batch_idx: int,
        conf_preds: Tensor,
        decoded_boxes: Tensor,
        mask_data: Tensor,
        inst_data: Any,
    ) -> dict[str, Tensor] | None:
        """The detections of one image.

        Args:
            batch_idx: Which image.
            conf_preds: (B, C, P), class 0 of the background.
            decoded_boxes: (P, 4) rows of x1, y1, x2, y2, that image's.
            mask_data: (B, P, K).
            inst_data: Not used, as in YOLACT.

        Returns:
            box, mask, class and score; None where no score is above `conf_thresh`.
        """
        of_classes = conf_preds[batch_idx, 1:]
        keep = of_classes.amax(0) > self.conf_thresh
        scores, boxes = of_classes[:, keep], decoded_boxes[keep]
        masks = mask_data[batch_idx, keep]
        if scores.shape[1] == 0:
            return None
        if not self.use_fast_nms:
            if self.use_cross_class_nms:
                warnings.warn("there is no traditional NMS across classes", stacklevel=2)
            found = self.traditional_nms(boxes, masks, scores, self.nms_thresh, self.conf_thresh)
        elif self.use_cross_class_nms:
            found = self.cc_fast_nms(boxes, masks, scores, self.nms_thresh, self.top_k)
        else:
            found = self.fast_nms(boxes, masks, scores, self.nms_thresh, self.top_k)
        return dict(zip(("box", "mask", "class", "score"), found, strict=True))

    def fast_nms(
        self,
        boxes: Tensor,
        masks: Tensor,
        scores: Tensor,
        iou_threshold: float = 0.5,
        top_k: int = 200,
        second_threshold: bool = False,
    ) -> Detections:
        """`pyifcn.fast_nms` in each class, of its best boxes.

        Args:
            boxes: (P, 4) rows of x1, y1, x2, y2.
            masks: (P, K).
            scores: (C, P), without the background.
            iou_threshold: IoU above which the box with the lower score goes.
            top_k: The most boxes of a class.
            second_threshold: Whether scores must be above `conf_thresh` too.

        Returns:
            boxes (N, 4), masks (N, K), classes (N,) and scores (N,), best first, at most
            `max_num_detections`.

        Raises:
            TypeError: A tensor has the wrong dtype, rank or device.
            ValueError: Sizes disagree, or the threshold is NaN.
        """
        _check(boxes, masks, scores)
        order = _best(scores.detach(), top_k)
        best, places = scores.gather(1, order).flatten(), order.flatten()
        classes = torch.arange(len(order), device=boxes.device)[:, None].expand_as(order).flatten()
        threshold = _rounded(iou_threshold, boxes)
        keep = pyifcn.fast_nms(boxes[places], best, threshold, idxs=classes)
        if second_threshold:
            keep = keep[best[keep] > self.conf_thresh]
        keep = keep[: self.max_num_detections]
        chosen = places[keep]
        return boxes[chosen], masks[chosen].flatten(1), classes[keep], best[keep]

    def cc_fast_nms(
        self,
        boxes: Tensor,
        masks: Tensor,
        scores: Tensor,
        iou_threshold: float = 0.5,
        top_k: int = 200,
    ) -> Detections:
        """`pyifcn.fast_nms` across classes, each box being of its best one.

        Args:
            boxes: (P, 4) rows of x1, y1, x2, y2.
            masks: (P, ...).
            scores: (C, P), without the background.
            iou_threshold: IoU above which the box with the lower score goes.
            top_k: The most boxes.

        Returns:
            boxes (N, 4), masks (N, ...), classes (N,) and scores (N,), best first.

        Raises:
            TypeError: A tensor has the wrong dtype, rank or device.
            ValueError: Sizes disagree, or the threshold is NaN.
        """
        _check(boxes, masks, scores)
        scores, classes = scores.max(0)
        order = _best(scores.detach()[None], top_k)[0]
        threshold = _rounded(iou_threshold, boxes)
        chosen = order[pyifcn.fast_nms(boxes[order], scores[order], threshold)]
        return boxes[chosen], masks[chosen], classes[chosen], scores[chosen]

    def traditional_nms(
        self,
        boxes: Tensor,
        masks: Tensor,
        scores: Tensor,
        iou_threshold: float = 0.5,
        conf_thresh: float = 0.05,
    ) -> Detections:
        """Greedy NMS in each class, of boxes whose last pixel is inside.

        Args:
            boxes: (P, 4) rows of x1, y1, x2, y2, relative to the image.
            masks: (P, ...).
            scores: (C, P), without the background.
            iou_threshold: IoU from which on the box with the lower score goes.
            conf_thresh: Scores that are not above are left out.

        Returns:
            boxes (N, 4), masks (N, ...), classes (N,) and scores (N,), best first, at most
            `max_num_detections`.

        Raises:
            TypeError: A tensor has the wrong dtype, rank or device.
            ValueError: Sizes disagree, or the threshold is NaN.
        """
        _check(boxes, masks, scores)
        boxes = boxes * self.max_size
        threshold = float(np.float32(as_number(iou_threshold, "iou_threshold")))
        dets = torch.cat([boxes.detach().float(), boxes.new_zeros(len(boxes), 1).float()], 1)
        rows = dets.cpu().numpy()
        places, kept_classes = [], []
        for number, of_class in enumerate(scores.detach()):
            (above,) = torch.nonzero(of_class > conf_thresh, as_tuple=True)
            some = rows[above.cpu().numpy()]
            some[:, 4] = of_class[above].float().cpu().numpy()
            kept = torch.tensor(
                sorted(cpu_nms(some, threshold)), dtype=torch.int64, device=above.device
            )
            places.append(above[kept])
            kept_classes.append(torch.full_like(places[-1], number))
        chosen, classes = torch.cat(places), torch.cat(kept_classes)
        best, order = scores[classes, chosen].sort(descending=True, stable=True)
        order = order[: self.max_num_detections]
        chosen = chosen[order]
        return boxes[chosen] / self.max_size, masks[chosen], classes[order], best[: len(order)]


def postprocess(
    det_output: list[dict[str, Any]],
    w: int,
    h: int,
    batch_idx: int = 0,
    interpolation_mode: str = "bilinear",
    visualize_lincomb: bool = False,
    crop_masks: bool = True,
    score_threshold: float = 0,
) -> Any:
    """`layers.output_utils.postprocess`: what `Detect` gives as boxes and masks of the image.

    Args:
        det_output: What `Detect` gives, with prototypes.
        w: Width of the image.
        h: Height of the image.
        batch_idx: Which image of the batch.
        interpolation_mode: "bilinear" or "bicubic".
        visualize_lincomb: False.
        crop_masks: Whether a mask is cut at its box and a pixel around it.
        score_threshold: More than 0: scores must be above it.

    Returns:
        classes (N,), scores (N,), boxes int64 (N, 4) in pixels and masks (N, h, w) of 0 and 1, of
        the dtype of the prototypes; four empty tensors where nothing was detected.

    Raises:
        TypeError: A tensor has the wrong dtype, rank or device.
        ValueError: Sizes disagree, the mode is unknown, or `visualize_lincomb` is set.
    """
    if visualize_lincomb:
        raise ValueError("visualize_lincomb is True, expected False: nothing is plotted here")
    found = det_output[batch_idx]["detection"]
    if found is None:
        return [torch.Tensor()] * 4
    classes, scores = found["class"], found["score"]
    boxes, coefficients = found["box"].detach(), found["mask"].detach()
    if score_threshold > 0:
        keep = scores > score_threshold
        classes, scores, boxes, coefficients = (
            each[keep] for each in (classes, scores, boxes, coefficients)
        )
        if len(scores) == 0:
            return [torch.Tensor()] * 4
    proto = found["proto"].detach()
    windows = _absolute(boxes, proto.shape[1], proto.shape[0], 1) if crop_masks else None
    soft = pyifcn.assemble_prototypes(proto.permute(2, 0, 1), coefficients, windows)
    if len(soft) == 0:
        masks = soft.new_empty((0, h, w))
    else:
        masks = torch.nn.functional.interpolate(
            soft[None], (h, w), mode=interpolation_mode, align_corners=False
        )[0].gt_(0.5)
    return classes, scores, _absolute(boxes, w, h, 0).long(), masks


def intersect(box_a: Tensor, box_b: Tensor) -> Tensor:
    """`layers.box_utils.intersect`: the areas that boxes share.

    Args:
        box_a: (n, A, 4) rows of x1, y1, x2, y2.
        box_b: (n, B, 4).

    Returns:
        (n, A, B).

    Raises:
        TypeError: A tensor has the wrong rank.
    """
    for name, boxes in (("box_a", box_a), ("box_b", box_b)):
        if not isinstance(boxes, Tensor) or boxes.ndim != 3:
            raise TypeError(f"{name} is {describe(boxes)}, expected a tensor (n, boxes, 4)")
    low = torch.max(box_a[:, :, None, :2], box_b[:, None, :, :2])
    high = torch.min(box_a[:, :, None, 2:], box_b[:, None, :, 2:])
    return (high - low).clamp(min=0).prod(3)


def jaccard(box_a: Tensor, box_b: Tensor, iscrowd: bool = False) -> Tensor:
    """`layers.box_utils.jaccard`: the IoU of boxes.

    Args:
        box_a: (A, 4) rows of x1, y1, x2, y2, or (n, A, 4).
        box_b: (B, 4), or (n, B, 4).
        iscrowd: Whether to divide by the area in `box_a` instead of the union.

    Returns:
        (A, B), or (n, A, B).

    Raises:
        TypeError: A tensor has the wrong rank.
    """
    if isinstance(box_a, Tensor) and box_a.ndim == 2:
        return jaccard(box_a[None], box_b[None], iscrowd)[0]
    shared = intersect(box_a, box_b)
    area_a = ((box_a[..., 2] - box_a[..., 0]) * (box_a[..., 3] - box_a[..., 1]))[:, :, None]
    area_b = ((box_b[..., 2] - box_b[..., 0]) * (box_b[..., 3] - box_b[..., 1]))[:, None]
    return shared / (area_a if iscrowd else area_a + area_b - shared)


def decode(loc: Tensor, priors: Tensor, use_yolo_regressors: bool = False) -> Tensor:
    """`layers.box_utils.decode`: a network's offsets from its priors as boxes.

    Args:
        loc: (P, 4) offsets of the centre and logarithms of the size.
        priors: (P, 4) rows of centre and size.
        use_yolo_regressors: Whether offsets are in the units of the image.

    Returns:
        (P, 4) rows of x1, y1, x2, y2.
    """
    centres, sizes = priors[:, :2], priors[:, 2:]
    if use_yolo_regressors:
        centres, sides = loc[:, :2] + centres, sizes * loc[:, 2:].exp()
        return torch.cat([centres - sides / 2, centres + sides / 2], 1)
    sides = sizes * (loc[:, 2:] * 0.2).exp()
    low = centres + loc[:, :2] * 0.1 * sizes - sides / 2
    return torch.cat([low, low + sides], 1)


def sanitize_coordinates(
    _x1: Tensor, _x2: Tensor, img_size: int, padding: int = 0, cast: bool = True
) -> tuple[Tensor, Tensor]:
    """`layers.box_utils.sanitize_coordinates`: relative coordinates in pixels, in order and inside.

    Args:
        _x1: (N,) one side, relative to the image.
        _x2: (N,) the other.
        img_size: The image's length.
        padding: By how many pixels the span grows on both sides.
        cast: Whether to cut the fractions off, before it grows.

    Returns:
        The smaller coordinates, at least 0, and the larger ones, at most `img_size`.
    """
    first, second = _x1 * img_size, _x2 * img_size
    if cast:
        first, second = first.long(), second.long()
    low, high = torch.min(first, second), torch.max(first, second)
    return (low - padding).clamp(min=0), (high + padding).clamp(max=img_size)


def crop(masks: Tensor, boxes: Tensor, padding: int = 1) -> Tensor:
    """`layers.box_utils.crop`: masks with zeros outside their boxes.

    `pyifcn.assemble_prototypes` crops while it assembles, and does not compute what is cut off.

    Args:
        masks: (H, W, N).
        boxes: (N, 4) rows of x1, y1, x2, y2, relative to the masks.
        padding: By how many pixels the boxes grow.

    Returns:
        (H, W, N). A pixel y, x stays where x1 <= x < x2 and y1 <= y < y2.

    Raises:
        TypeError: A tensor has the wrong rank.
    """
    if not isinstance(masks, Tensor) or masks.ndim != 3:
        raise TypeError(f"masks is {describe(masks)}, expected a tensor (H, W, N)")
    height, width, _ = masks.shape
    x1, y1, x2, y2 = _absolute(boxes, width, height, padding).unbind(1)
    x = torch.arange(width, device=masks.device, dtype=x1.dtype)[:, None]
    y = torch.arange(height, device=masks.device, dtype=y1.dtype)[:, None]
    columns, rows = (x >= x1) & (x < x2), (y >= y1) & (y < y2)
    return masks * (rows[:, None] & columns).float()


def _absolute(boxes: Tensor, width: int, height: int, padding: int) -> Tensor:
    """Boxes relative to the image in pixels, sanitized."""
    x1, x2 = sanitize_coordinates(boxes[:, 0], boxes[:, 2], width, padding, cast=False)
    y1, y2 = sanitize_coordinates(boxes[:, 1], boxes[:, 3], height, padding, cast=False)
    return torch.stack([x1, y1, x2, y2], 1)


def _check(boxes: Tensor, masks: Tensor, scores: Tensor) -> None:
    for name, value in (("boxes", boxes), ("scores", scores)):
        if not isinstance(value, Tensor) or value.ndim != 2 or not value.is_floating_point():
            raise TypeError(f"{name} is {describe(value)}, expected a floating tensor of rank 2")
    if boxes.shape[1] != 4:
        raise ValueError(f"boxes has shape {tuple(boxes.shape)}, expected (P, 4)")
    if scores.shape[0] == 0:
        raise ValueError(f"scores has shape {tuple(scores.shape)}, expected at least one class")
    for name, count in (("masks", len(masks)), ("scores", scores.shape[1])):
        if count != len(boxes):
            raise ValueError(f"{name} has {count} elements, expected one for each of {len(boxes)}")


def _best(scores: Tensor, top_k: int) -> Tensor:
    """The indices of each row's `top_k` best scores, as of a stable sort's first columns.

    To find few takes much less than to sort, but says nothing of equal ones: so it is done on
    integers of which no two are equal, a score's bits above its index.
    """
    count = scores.shape[1]
    if scores.dtype == torch.float64:
        return scores.argsort(dim=1, descending=True, stable=True)[:, :top_k]
    bits = (scores.float() + 0.0).masked_fill(scores.isnan(), torch.nan).view(torch.int32)
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    keys = (rising << 32) + torch.arange(count - 1, -1, -1, device=scores.device)
    return keys.topk(len(range(count)[:top_k]), dim=1).indices


def _rounded(threshold: float, boxes: Tensor) -> float:
    """As torch rounds a number that it compares with a tensor."""
    number = as_number(threshold, "iou_threshold")
    return number if boxes.dtype == torch.float64 else float(np.float32(number))


def _settings(detect: Any) -> Any:
    """What our methods read of their `self`, of YOLACT's `Detect` and its configuration."""
    cfg = sys.modules["layers.functions.detection"].cfg
    return SimpleNamespace(
        conf_thresh=detect.conf_thresh,
        max_num_detections=cfg.max_num_detections,
        max_size=cfg.max_size,
    )


def _fast_nms(
    self: Any,
    boxes: Tensor,
    masks: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    top_k: int = 200,
    second_threshold: bool = False,
) -> Detections:
    return Detect.fast_nms(
        _settings(self), boxes, masks, scores, iou_threshold, top_k, second_threshold
    )


def _traditional_nms(
    self: Any,
    boxes: Tensor,
    masks: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.5,
    conf_thresh: float = 0.05,
) -> Detections:
    return Detect.traditional_nms(_settings(self), boxes, masks, scores, iou_threshold, conf_thresh)


def _suppresses(self: Any, boxes: Any, masks: Any, scores: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether a call is one that our NMS takes as YOLACT's does."""
    return (
        on_cpu(boxes, masks, scores)
        and boxes.dtype == scores.dtype == torch.float32
        and boxes.ndim == scores.ndim == 2
        and len(boxes) > 0
    )


def _postprocesses(
    det_output: Any,
    w: Any,
    h: Any,
    batch_idx: int = 0,
    interpolation_mode: str = "bilinear",
    visualize_lincomb: bool = False,
    crop_masks: bool = True,
    score_threshold: float = 0,
) -> bool:
    """Whether a call, under YOLACT's configuration, is one that `postprocess` takes as it does."""
    module: Any = sys.modules["layers.output_utils"]
    try:
        found = det_output[batch_idx]["detection"]
        tensors = found["box"], found["mask"], found["proto"]
    except (IndexError, KeyError, TypeError):
        return False
    cfg = module.cfg
    return (
        cfg.mask_type == module.mask_type.lincomb
        and cfg.eval_mask_branch
        and not cfg.use_maskiou
        and not cfg.mask_proto_debug
        and cfg.mask_proto_mask_activation is module.activation_func.sigmoid
        and not visualize_lincomb
        and without_gradient(*tensors)
    )


REPLACEMENTS = (
    Replacement("layers.functions.detection.Detect.fast_nms", _fast_nms, _suppresses),
    Replacement("layers.functions.detection.Detect.cc_fast_nms", Detect.cc_fast_nms, _suppresses),
    Replacement("layers.functions.detection.Detect.traditional_nms", _traditional_nms, _suppresses),
    Replacement("layers.output_utils.postprocess", postprocess, _postprocesses),
)
