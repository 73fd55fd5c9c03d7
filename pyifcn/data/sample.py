"""One image with its instances."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pyifcn.masks import Masks


@dataclass
class Truth:
    """The annotated instances of one image, without its pixels.

    Attributes:
        masks: N masks.
        labels: int64 (N,), the category of each.
        crowd: bool (N,), True where a mask stands for a group that was not told apart.
        areas: float64 (N,), the pixel areas that the annotations state, by which COCO's evaluator
            sorts instances into small, medium and large; None means those of the masks.
        image_id: The image's id in its data set.
        file_name: The image's file name in its data set.
    """

    masks: Masks
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64] | None = None
    image_id: int | str = 0
    file_name: str = ""


@dataclass
class Sample:
    """One image and its annotated instances.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        masks: N masks of size (H, W).
        labels: int64 (N,), the category of each.
        crowd: bool (N,), True where a mask stands for a group that was not told apart.
        image_id: The image's id in its data set.
        file_name: The image's file name in its data set.
        areas: float64 (N,) or None, as in `Truth`.
        info: Everything else that the data set records of the image.
    """

    image: npt.NDArray[np.uint8]
    masks: Masks
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    image_id: int | str = 0
    file_name: str = ""
    areas: npt.NDArray[np.float64] | None = None
    info: dict[str, Any] = field(default_factory=dict)
