"""`Masks`: the binary masks of one image, kept as bits inside their tight boxes."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from pyifcn._runtime import cpu, num_threads

Array = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]
Rle = dict[str, Any]


class Masks:
    """N binary masks of one image.

    Mask i occupies the rows y1..y2 of its tight half-open box. A row is the 64-bit words of the
    image's own 64-pixel grid that cover the box, so pixel (y, x) is bit `x % 64` of word
    `x // 64 - x1 // 64` of row `y - y1`, and the words of two masks always line up. Bits outside
    the box are zero.

    Args:
        size: (height, width) of the image in pixels.
        boxes: int32 (N, 4), x1 y1 x2 y2 half-open, tight; an empty mask has 0 0 0 0.
        offsets: int64 (N + 1,), the first word of each mask, and the number of words.
        words: uint64 (offsets[-1],).

    Raises:
        TypeError: If an array has the wrong dtype or rank.
        ValueError: If the arrays disagree, or a box lies outside the image.

    Example:
        >>> dense = np.zeros((2, 4, 6), bool)
        >>> dense[0, 1:3, 2:5] = dense[1, 1:4, 2:5] = True
        >>> masks = Masks.from_dense(dense)
        >>> masks
        Masks(2, size=(4, 6))
        >>> masks.area.tolist(), masks.boxes.tolist()
        ([6, 9], [[2, 1, 5, 3], [2, 1, 5, 4]])
        >>> masks.iou(masks).round(2).tolist()
        [[1.0, 0.67], [0.67, 1.0]]
    """

    size: tuple[int, int]
    boxes: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    words: npt.NDArray[np.uint64]

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        size: tuple[int, int],
        boxes: npt.NDArray[np.int32],
        offsets: npt.NDArray[np.int64],
        words: npt.NDArray[np.uint64],
    ) -> None:
        self.size = _checked_size(size)
        for name, array, dtype, rank in (
            ("boxes", boxes, np.int32, 2),
            ("offsets", offsets, np.int64, 1),
            ("words", words, np.uint64, 1),
        ):
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != rank:
                raise TypeError(
                    f"{name} must be a {np.dtype(dtype).name} array of rank {rank}, "
                    f"got {_describe(array)}"
                )
        self._set(*(np.ascontiguousarray(array) for array in (boxes, offsets, words)))
        cpu.masks_check(*self._arrays, *self.size)

    def _set(self, boxes: Array, offsets: Array, words: Array) -> None:
        # What is read by compiled code, without another look, is not to be written to.
        self.boxes, self.offsets, self.words = boxes.view(), offsets.view(), words.view()
        for array in self._arrays:
            array.flags.writeable = False

    @classmethod
    def _of(cls, size: tuple[int, int], boxes: Array, offsets: Array, words: Array) -> Masks:
        """Masks of arrays that are known to be right."""
        masks = object.__new__(cls)
        masks.size = size
        masks._set(boxes, offsets, words)
        return masks

    @property
    def _arrays(self) -> tuple[Array, Array, Array]:
        return self.boxes, self.offsets, self.words

    @classmethod
    def from_dense(cls, array: Array) -> Masks:
        """Masks of a dense array.

        Args:
            array: bool or uint8 (N, H, W); everything but zero is inside.

        Returns:
            N masks of size (H, W).

        Raises:
            TypeError: If the dtype or the rank is another.
        """
        array = np.asarray(array)
        if array.ndim != 3 or array.dtype not in (np.bool_, np.uint8):
            raise TypeError(f"array must be bool or uint8 (N, H, W), got {_describe(array)}")
        size = _checked_size(array.shape[1:])
        return cls._of(size, *cpu.masks_from_dense(np.ascontiguousarray(array), num_threads()))

    @classmethod
    def from_crops(cls, crops: Sequence[Bool], boxes: Array, size: tuple[int, int]) -> Masks:
        """Masks placed into an image, cut at its border and tightened.

        Args:
            crops: N arrays bool (h, w), each of its own size.
            boxes: int (N, 2) or (N, 4); the first two columns are the x, y of a crop's corner.
            size: (height, width) of the image.

        Returns:
            N masks.

        Raises:
            TypeError: If a crop is not bool (h, w).
            ValueError: If there are not as many boxes as crops.
        """
        size = _checked_size(size)
        boxes = np.asarray(boxes)
        is_int = boxes.dtype.kind in "iu" or boxes.size == 0
        if boxes.ndim != 2 or boxes.shape[1] < 2 or not is_int:
            raise TypeError(f"boxes must be int (N, 2) or (N, 4), got {_describe(boxes)}")
        if len(boxes) != len(crops):
            raise ValueError(f"boxes has {len(boxes)} rows for {len(crops)} crops")
        for i, crop in enumerate(crops):
            if not isinstance(crop, np.ndarray) or crop.ndim != 2 or crop.dtype != np.bool_:
                raise TypeError(f"crops[{i}] must be bool (h, w), got {_describe(crop)}")
        corners = np.ascontiguousarray(boxes[:, :2].astype(np.int64).clip(-(2**31), 2**31))
        crops = [np.ascontiguousarray(crop) for crop in crops]
        return cls._of(size, *cpu.masks_from_crops(crops, corners, *size))

    @classmethod
    def from_rle(cls, rles: Sequence[Rle], size: tuple[int, int] | None = None) -> Masks:
        """Masks of COCO's run-length codes.

        Args:
            rles: Dicts with `size` [h, w] and `counts`, a list of run lengths (column by column,
                starting with background) or the same compressed into a `str` or `bytes`.
            size: (height, width); needed only when `rles` may be empty.

        Returns:
            One mask for each code.

        Raises:
            ValueError: If a code is malformed or its size differs from the others'.
        """
        if size is None:
            if not len(rles):
                raise ValueError("size must be given when rles is empty")
            size = rles[0]["size"][0], rles[0]["size"][1]
        size = _checked_size(size)
        codes = []
        for i, rle in enumerate(rles):
            try:
                if tuple(rle["size"]) != size:
                    raise ValueError(f"size is {rle['size']}, not {list(size)}")
                codes.append(_checked_counts(rle["counts"]))
            except (KeyError, TypeError, ValueError) as error:
                what = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise ValueError(f"rles[{i}] is malformed: {what}") from None
        return cls._of(size, *cpu.rle_decode(codes, *size, num_threads()))

    @classmethod
    def cat(cls, masks: Sequence[Masks]) -> Masks:
        """The masks of several `Masks` of the same image size, one after the other.

        Args:
            masks: At least one `Masks`.

        Raises:
            ValueError: If `masks` is empty or the sizes differ.
        """
        if not masks:
            raise ValueError("masks must not be empty")
        size = masks[0].size
        for other in masks:
            if other.size != size:
                raise ValueError(f"masks differ in size: {size} and {other.size}")
        return cls._of(
            size,
            np.concatenate([m.boxes for m in masks]),
            _offsets(np.concatenate([np.diff(m.offsets) for m in masks])),
            np.concatenate([m.words for m in masks]),
        )

    @property
    def area(self) -> npt.NDArray[np.int64]:
        """int64 (N,): the number of pixels of each mask."""
        out = np.empty(len(self), np.int64)
        cpu.masks_area(*self._arrays, out, num_threads())
        return out

    def crop(self, i: SupportsIndex) -> Bool:
        """Mask i inside its tight box: bool (h, w)."""
        i = range(len(self))[i]
        x1, y1, x2, y2 = self.boxes[i].tolist()
        out = np.empty((y2 - y1, x2 - x1), np.bool_)
        cpu.masks_crop(*self._arrays, i, out)
        return out

    def to_dense(self) -> Bool:
        """Bool (N, H, W)."""
        out = np.zeros((len(self), *self.size), np.bool_)
        cpu.masks_to_dense(*self._arrays, out, num_threads())
        return out

    def to_rle(self) -> list[Rle]:
        """COCO's compressed run-length codes, the very strings that pycocotools writes.

        Returns:
            For each mask `{"size": [h, w], "counts": str}`.
        """
        codes = cpu.rle_encode(*self._arrays, *self.size, num_threads())
        return [{"size": list(self.size), "counts": code} for code in codes]

    def iou(
        self, other: Masks, *, kind: Literal["iou", "iof", "iomin"] = "iou"
    ) -> npt.NDArray[np.float64]:
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
        return out

    def nms(self, scores: Array, iou_threshold: float) -> npt.NDArray[np.int64]:
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
        return order[keep]

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Masks]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | slice | Sequence[int] | Array) -> Masks:
        """A `Masks` of the chosen masks; an int chooses one."""
        if isinstance(index, slice):
            chosen = np.arange(len(self))[index]
        else:
            chosen = np.atleast_1d(np.asarray(index))
            if chosen.size == 0:
                chosen = chosen.astype(np.int64)
            if chosen.ndim != 1 or chosen.dtype.kind not in "iub":
                raise TypeError(f"index must be ints or bools of rank 1, got {_describe(chosen)}")
            chosen = np.arange(len(self))[chosen]
        counts = np.diff(self.offsets)[chosen]
        offsets = _offsets(counts)
        shift = self.offsets[chosen] - offsets[:-1]
        words = self.words[np.repeat(shift, counts) + np.arange(offsets[-1])]
        return Masks._of(self.size, self.boxes[chosen], offsets, words)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return (
            self.size == other.size
            and np.array_equal(self.boxes, other.boxes)
            and np.array_equal(self.words, other.words)
        )

    def __repr__(self) -> str:
        return f"Masks({len(self)}, size={self.size})"

    def __getstate__(self) -> tuple[Any, ...]:
        return self.size, *self._arrays

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]


def _checked_size(size: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        raise TypeError(f"size must be (height, width), got {size!r}") from None
    if height < 0 or width < 0 or max(height, width) >= 2**31:
        raise ValueError(f"size must be in 0..2^31 - 1, got {(height, width)}")
    return height, width


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def _offsets(counts: Array) -> npt.NDArray[np.int64]:
    """Where each mask's words begin, and where the last's end."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _checked_counts(counts: Any) -> str | bytes | npt.NDArray[np.int64]:
    if isinstance(counts, (str, bytes)):
        return counts
    runs = np.asarray(counts)
    if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu"):
        raise ValueError("counts must be a string or a list of ints")
    return np.ascontiguousarray(runs, np.int64)
