"""What a user writes: `mypy --strict` finds every type that it needs, and no fault."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import pyifcn


def best(
    boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    keep = pyifcn.nms(boxes, scores, iou_threshold=0.5)
    result: npt.NDArray[np.float32] = boxes[keep]
    return result


def grouped(boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> int:
    keep, groups = pyifcn.nms(boxes, scores, 0.5, return_groups=True)
    return len(keep) + len(groups)


def shared_area(first: pyifcn.Masks, second: pyifcn.Masks) -> int:
    both = (first | second).crop((0, 0, 10, 10)).flip("horizontal")
    return int(both.area.sum())


def windows(score_maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    result: npt.NDArray[np.float32] = pyifcn.assemble(score_maps, np.zeros((1, 3), int), size=21)
    return result


version: str = pyifcn.__version__
targets: list[str] = pyifcn.available_targets()
