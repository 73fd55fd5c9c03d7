"""Instance mask proposals from score maps and objectness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

from pyifcn._array import (
    as_dtype,
    as_int,
    as_number,
    as_numpy,
    as_text,
    compiled,
    contiguous,
    describe,
    empty,
    is_tensor,
)
from pyifcn.masks import Masks
from pyifcn.ops.assemble import Cells

if TYPE_CHECKING:
    import torch

    AnyArray = TypeVar("AnyArray", npt.NDArray[Any], torch.Tensor)
else:
    AnyArray = TypeVar("AnyArray")


class Level(NamedTuple):
    """One level of a pyramid: its stride in image pixels, and its maps' height and width."""

    stride: float
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Proposals(Generic[AnyArray]):
    """One image's mask proposals, best first.

    `proposals[index]` chooses some of them by a slice, indices or bools.

    Attributes:
        scores: float32 (N,), the sigmoid of the objectness logit.
        boxes: float32 (N, 4), x1 y1 x2 y2 in image pixels: the tight half-open box of the binary
            mask's cells, clipped to the image.
        logits: float32 (N, size, size), the assembled mask logits; -inf outside the maps.
        windows: int64 (N, 3), rows of (level, y, x): where each was assembled.
        levels: The pyramid that `windows` refers to.
        image_size: (height, width) in pixels.
        mask_threshold: A logit above it is foreground.
    """

    scores: AnyArray
    boxes: AnyArray
    logits: AnyArray
    windows: AnyArray
    levels: tuple[Level, ...]
    image_size: tuple[int, int]
    mask_threshold: float

    @cached_property
    def masks(self) -> Masks:
        """The masks at the image's resolution, rendered when first asked for.

        Cell (i, j) of the window centred at (y, x) covers the square of `stride` image pixels at
        row y - size // 2 + i and column x - size // 2 + j of the level's grid, and its logit stands
        at the square's centre. A pixel whose centre lies in a cell of the window that is inside the
        maps takes the bilinear interpolation of those cells, the outermost of them reaching to
        their own edges, and is foreground where it is above `mask_threshold`; everything else is
        background. NaN counts as the lowest logit. Computed in float32: first along x, then
        along y. The `Masks` is of the kind and device of `logits`.
        """
        logits = contiguous(self.logits, "logits", 3)
        windows = contiguous(self.windows, "windows", 2, logits)
        levels = [tuple(level) for level in self.levels]
        module, execution = compiled(logits)
        arrays = module.render(
            logits, windows, levels, *self.image_size, self.mask_threshold, execution
        )
        return Masks._of(self.image_size, *arrays, like=logits)

    def to_supervision(self) -> Any:
        """The proposals as `supervision.Detections`, to be drawn, filtered or tracked.

        Returns:
            Detections with `xyxy`, dense bool `mask` (N, H, W), `confidence`, and 0 for `class_id`.

        Raises:
            ImportError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError(
                f"to_supervision needs supervision, which cannot be imported: {error}"
            ) from error
        return supervision.Detections(
            xyxy=as_numpy(self.boxes, "boxes"),
            mask=self.masks.numpy().to_dense(),
            confidence=as_numpy(self.scores, "scores"),
            class_id=np.zeros(len(self), int),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Proposals[AnyArray]:
        """The chosen proposals; an int chooses one."""
        if not isinstance(index, slice):
            index = self._places(index)
        chosen = replace(
            self,
            scores=self.scores[index],
            boxes=self.boxes[index],
            logits=self.logits[index],
            windows=self.windows[index],
        )
        if "masks" in self.__dict__:
            chosen.__dict__["masks"] = self.masks[index]
        return chosen

    def _places(self, index: Any) -> Any:
        """Where the proposals of an index are, as one of the arrays' kind.

        It is looked at on the CPU: one out of range would end the process's use of a GPU.
        """
        windows: Any = self.windows
        places = np.arange(len(self))[as_numpy(index, "index") if is_tensor(index) else index]
        return windows.new_tensor(places.reshape(-1)) if is_tensor(windows) else places.reshape(-1)

    def __repr__(self) -> str:
        return f"Proposals({len(self)}, image_size={self.image_size})"


def propose(
    score_maps: Sequence[AnyArray],
    objectness: Sequence[AnyArray],
    *,
    strides: Sequence[float],
    image_size: Sequence[int] | Sequence[Sequence[int]],
    size: SupportsIndex = 21,
    mask_threshold: float = 0.0,
    iou_threshold: float = 0.8,
    max_proposals: SupportsIndex = 1000,
    cells: Cells = "nearest",
) -> list[Proposals[AnyArray]]:
    """Proposes instance masks from the score maps of an image pyramid.

    Takes the windows of all levels in falling objectness (ties: the earlier level, then row-major),
    assembles each as `assemble` does, binarises it, and keeps it unless the IoU of its tight box
    with that of one kept before is above `iou_threshold`, until `max_proposals` are kept. The
    answer is that of assembling every window first and then running NMS. Windows with a NaN
    objectness and those with an empty mask are never proposed; a logit that is NaN or outside the
    maps is background. Not differentiable.

    Source: Dai et al., Instance-sensitive Fully Convolutional Networks, ECCV 2016, section 3.3.

    Args:
        score_maps: For each level (B, K * K, H, W) logits, float16, bfloat16, float32 or float64,
            NumPy or torch.
        objectness: For each level (B, H, W) logits.
        strides: For each level the image pixels that one pixel of its maps stands for, taken as
            float32.
        image_size: (height, width) in pixels, for all images or one for each.
        size: Side of a window in pixels of the maps, at least K.
        mask_threshold: A mask's pixel is where the logit is above this.
        iou_threshold: In 0..1. Boxes in image pixels are compared before they are clipped.
        max_proposals: The most proposals for an image.
        cells: As in `assemble`.

    Returns:
        For each image `Proposals`, its arrays of the kind and device of `score_maps`.

    Raises:
        TypeError: An argument has the wrong dtype, rank or device.
        ValueError: The levels disagree, K * K is no square, `size` is less than K, a threshold or a
            stride is out of range or NaN.

    Example:
        >>> import numpy as np
        >>> import pyifcn
        >>> maps = np.full((1, 4, 16, 16), -1, np.float32)
        >>> maps[:, :, 5:9, 6:10] = 1
        >>> objectness = np.zeros((1, 16, 16), np.float32)
        >>> objectness[0, 7, 8] = 2
        >>> (found,) = pyifcn.propose(
        ...     [maps], [objectness], strides=[8], image_size=(120, 128), size=6, iou_threshold=0
        ... )
        >>> found.boxes
        array([[48., 40., 80., 72.]], dtype=float32)
        >>> found.masks.area
        array([1000])
    """
    for name, given in (
        ("score_maps", score_maps),
        ("objectness", objectness),
        ("strides", strides),
    ):
        if not hasattr(given, "__len__"):
            raise TypeError(f"{name} is {describe(given)}, expected a list with a place a level")
    if not len(score_maps) == len(objectness) == len(strides):
        raise ValueError(
            f"score_maps, objectness and strides have {len(score_maps)}, {len(objectness)} and "
            f"{len(strides)} levels, expected as many of each"
        )
    if not len(score_maps):
        raise ValueError("score_maps has 0 levels, expected at least 1")
    side, most = as_int(size, "size", 1), as_int(max_proposals, "max_proposals", 0)
    as_text(cells, "cells")
    mask_threshold = as_number(mask_threshold, "mask_threshold")
    iou_threshold = as_number(iou_threshold, "iou_threshold")
    if not math.isfinite(mask_threshold):
        raise ValueError(f"mask_threshold is {mask_threshold}, expected a finite number")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold is {iou_threshold}, expected 0 to 1")
    maps = [_plain(m, f"score_maps[{i}]", 4) for i, m in enumerate(score_maps)]
    like = maps[0]
    maps = [contiguous(m, f"score_maps[{i}]", 4, like) for i, m in enumerate(maps)]
    logits = [
        contiguous(_plain(o, f"objectness[{i}]", 3), f"objectness[{i}]", 3, like)
        for i, o in enumerate(objectness)
    ]
    sizes = _image_sizes(image_size, like.shape[0])
    levels = tuple(
        Level(_stride(stride, i), *m.shape[2:])
        for i, (stride, m) in enumerate(zip(strides, maps, strict=True))
    )
    module, execution = compiled(like)
    most = min(most, sum(level.height * level.width for level in levels))
    windows = empty((len(sizes), most, 3), like, "int64")
    boxes = empty((len(sizes), most, 4), like, "float32")
    scores = empty((len(sizes), most), like, "float32")
    counts = module.propose(
        maps,
        logits,
        [level.stride for level in levels],
        np.array(sizes, np.int64).reshape(-1, 2),
        side,
        cells,
        mask_threshold,
        iou_threshold,
        windows,
        boxes,
        scores,
        execution,
    )
    found = []
    for image, count in enumerate(counts):
        chosen = windows[image, :count]
        assembled = empty((count, side, side), like)
        module.propose_logits(maps, chosen, image, cells, assembled, execution)
        found.append(
            Proposals(
                scores[image, :count],
                boxes[image, :count],
                as_dtype(assembled, "float32"),
                chosen,
                levels,
                sizes[image],
                mask_threshold,
            )
        )
    return found


def _plain(value: Any, name: str, rank: int) -> Any:
    """`value` in C order, without what autograd recorded of it."""
    array = contiguous(value, name, rank)
    return array.detach() if is_tensor(array) else array


def _stride(value: Any, level: int) -> float:
    try:
        stride = float(np.float32(value))
    except (TypeError, ValueError):
        raise TypeError(f"strides[{level}] is {describe(value)}, expected a number") from None
    if not 2**-20 <= stride <= 2**20:
        raise ValueError(f"strides[{level}] is {value}, expected 2^-20 to 2^20")
    return stride


def _image_sizes(image_size: Any, images: int) -> list[tuple[int, int]]:
    """(height, width) of each image, given as one for all or one for each."""
    sized = [hasattr(row, "__len__") for row in _rows(image_size)]
    rows = _rows(image_size) if all(sized) else [image_size] * images
    if len(rows) != images:
        raise ValueError(f"image_size has {len(rows)} rows, expected {images}")
    sizes = []
    for row in rows:
        if len(_rows(row)) != 2:
            raise TypeError(f"image_size is {image_size}, expected (height, width)")
        height, width = (as_int(side, "image_size", 0) for side in row)
        if max(height, width) >= 2**31:
            raise ValueError(f"image_size is {(height, width)}, expected less than 2^31")
        sizes.append((height, width))
    return sizes


def _rows(image_size: Any) -> list[Any]:
    try:
        return list(image_size)
    except TypeError:
        raise TypeError(f"image_size is {describe(image_size)}, expected (height, width)") from None
