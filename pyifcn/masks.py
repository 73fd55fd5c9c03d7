"""`Masks`: the binary masks of one image, kept as bits inside their tight boxes."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]
Rle = dict[str, Any]

_WORD = 64


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
        if boxes.shape[1] != 4:
            raise ValueError(f"boxes must have 4 columns, got shape {boxes.shape}")
        height, width = self.size
        x1, y1, x2, y2 = boxes.astype(np.int64).T
        inside = (x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2) & (x2 <= width) & (y2 <= height)
        bad = np.flatnonzero(~(inside | (boxes == 0).all(1)))
        if len(bad):
            raise ValueError(
                f"boxes[{bad[0]}] is {boxes[bad[0]].tolist()}, "
                f"not a box inside the image of {height} x {width}"
            )
        counts = (y2 - y1) * _words_across(x1, x2)
        expected = np.concatenate([[0], np.cumsum(counts)])
        if not np.array_equal(offsets, expected):
            raise ValueError("offsets do not follow from boxes")
        if len(words) != expected[-1]:
            raise ValueError(f"words must have {expected[-1]} elements, got {len(words)}")
        self.boxes, self.offsets, self.words = boxes, offsets, words

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
        size = array.shape[1], array.shape[2]
        return _packed([(mask != 0, 0, 0) for mask in array], size)

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
        height, width = size = _checked_size(size)
        boxes = np.asarray(boxes)
        if len(boxes) != len(crops):
            raise ValueError(f"boxes has {len(boxes)} rows for {len(crops)} crops")
        placed = []
        for i, crop in enumerate(crops):
            if crop.ndim != 2 or crop.dtype != np.bool_:
                raise TypeError(f"crops[{i}] must be bool (h, w), got {_describe(crop)}")
            x, y = int(boxes[i, 0]), int(boxes[i, 1])
            crop = crop[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
            placed.append((crop, max(x, 0), max(y, 0)))
        return _packed(placed, size)

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
        placed = []
        for i, rle in enumerate(rles):
            try:
                if tuple(rle["size"]) != size:
                    raise ValueError(f"size is {rle['size']}, not {list(size)}")
                placed.append(_decode_runs(_read_counts(rle["counts"]), size))
            except (KeyError, TypeError, ValueError) as error:
                what = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise ValueError(f"rles[{i}] is malformed: {what}") from None
        return _packed(placed, size)

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
        counts = np.concatenate([np.diff(m.offsets) for m in masks])
        return cls(
            size,
            np.concatenate([m.boxes for m in masks]),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.concatenate([m.words for m in masks]),
        )

    @property
    def area(self) -> npt.NDArray[np.int64]:
        """int64 (N,): the number of pixels of each mask."""
        total = np.concatenate([[0], np.cumsum(_popcount(self.words), dtype=np.int64)])
        return np.asarray(total[self.offsets[1:]] - total[self.offsets[:-1]], dtype=np.int64)

    def crop(self, i: int) -> Bool:
        """Mask i inside its tight box: bool (h, w)."""
        x1, _, x2, _ = self.boxes[i].tolist()
        rows = self._rows(i)
        bits = np.unpackbits(rows.astype("<u8").view(np.uint8), axis=1, bitorder="little")
        start = x1 % _WORD
        return bits[:, start : start + x2 - x1].astype(bool)

    def to_dense(self) -> Bool:
        """Bool (N, H, W)."""
        dense = np.zeros((len(self), *self.size), dtype=bool)
        for i, (x1, y1, x2, y2) in enumerate(self.boxes.tolist()):
            dense[i, y1:y2, x1:x2] = self.crop(i)
        return dense

    def to_rle(self) -> list[Rle]:
        """COCO's compressed run-length codes, the very strings that pycocotools writes.

        Returns:
            For each mask `{"size": [h, w], "counts": str}`.
        """
        return [
            {"size": list(self.size), "counts": _write_counts(self._runs(i))}
            for i in range(len(self))
        ]

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
        if kind not in ("iou", "iof", "iomin"):
            raise ValueError(f"kind must be 'iou', 'iof' or 'iomin', got {kind!r}")
        if self.size != other.size:
            raise ValueError(f"masks differ in size: {self.size} and {other.size}")
        result = np.zeros((len(self), len(other)))
        low = np.maximum(self.boxes[:, None, :2], other.boxes[None, :, :2])
        high = np.minimum(self.boxes[:, None, 2:], other.boxes[None, :, 2:])
        pairs = np.nonzero((low < high).all(2))
        inter = np.array(
            [
                self._intersection(i, other, j)
                for i, j in zip(*map(np.ndarray.tolist, pairs), strict=True)
            ],
            dtype=np.float64,
        )
        mine, yours = self.area[pairs[0]], other.area[pairs[1]]
        if kind == "iou":
            over = mine + yours - inter
        elif kind == "iof":
            over = mine.astype(np.float64)
        else:
            over = np.minimum(mine, yours).astype(np.float64)
        result[pairs] = inter / over
        return result

    def nms(self, scores: Array, iou_threshold: float) -> npt.NDArray[np.int64]:
        """Greedy non-maximum suppression on the masks' IoU.

        Args:
            scores: float (N,).
            iou_threshold: A mask is dropped when its IoU with a better kept one is above this.

        Returns:
            int64 (K,): the kept masks' indices, best first; among equal scores the lower first.

        Raises:
            ValueError: If there are not as many scores as masks.
        """
        scores = np.asarray(scores)
        if scores.shape != (len(self),):
            raise ValueError(f"scores must have shape ({len(self)},), got {scores.shape}")
        order = np.argsort(-scores, kind="stable")
        ranked = self[order]
        over = ranked.iou(ranked) > iou_threshold
        dropped = np.zeros(len(order), dtype=bool)
        keep = []
        for i in range(len(order)):
            if not dropped[i]:
                keep.append(i)
                dropped |= over[i]
        return order[keep].astype(np.int64)

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
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        shift = self.offsets[chosen] - offsets[:-1]
        words = self.words[np.repeat(shift, counts) + np.arange(offsets[-1])]
        return Masks(self.size, self.boxes[chosen], offsets, words)

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

    def _rows(self, i: int) -> npt.NDArray[np.uint64]:
        x1, y1, x2, y2 = self.boxes[i].tolist()
        return self.words[self.offsets[i] : self.offsets[i + 1]].reshape(
            y2 - y1, _words_across(x1, x2)
        )

    def _intersection(self, i: int, other: Masks, j: int) -> int:
        ax1, ay1, ax2, ay2 = self.boxes[i].tolist()
        bx1, by1, bx2, by2 = other.boxes[j].tolist()
        top, bottom = max(ay1, by1), min(ay2, by2)
        left, right = max(ax1, bx1) // _WORD, (min(ax2, bx2) - 1) // _WORD + 1
        a = self._rows(i)[top - ay1 : bottom - ay1, left - ax1 // _WORD : right - ax1 // _WORD]
        b = other._rows(j)[top - by1 : bottom - by1, left - bx1 // _WORD : right - bx1 // _WORD]
        return int(_popcount(a & b).sum())

    def _runs(self, i: int) -> npt.NDArray[np.int64]:
        """Lengths of the runs of mask i over the whole image, column by column."""
        height, width = self.size
        x1, y1, _, _ = self.boxes[i].tolist()
        columns = self.crop(i).T
        if columns.shape[1] < height:  # a gap, so that no run crosses from one column to the next
            columns = np.pad(columns, ((0, 0), (0, 1)))
        step = max(columns.shape[1], 1)
        edges = np.flatnonzero(np.diff(columns.ravel(), prepend=False, append=False))
        edges = (edges // step + x1) * height + edges % step + y1
        if len(edges) and edges[-1] == height * width:
            edges = edges[:-1]
        runs: npt.NDArray[np.int64] = np.diff(edges, prepend=0, append=height * width)
        return runs


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


def _words_across(x1: Any, x2: Any) -> Any:
    """How many words of the image's grid the half-open columns x1..x2 touch."""
    return (x2 + _WORD - 1) // _WORD - x1 // _WORD


def _packed(placed: Sequence[tuple[Bool, int, int]], size: tuple[int, int]) -> Masks:
    """`Masks` of crops that lie at (x, y) inside the image and need not be tight."""
    boxes = np.zeros((len(placed), 4), dtype=np.int32)
    words = [np.empty(0, dtype=np.uint64)]
    for i, (crop, x, y) in enumerate(placed):
        rows = np.flatnonzero(crop.any(1))
        columns = np.flatnonzero(crop.any(0))
        if len(rows):
            top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            boxes[i] = x + left, y + top, x + right, y + bottom
            start = (x + int(left)) % _WORD
            across = -(-(start + int(right - left)) // _WORD)
            bits = np.zeros((bottom - top, across * _WORD), dtype=bool)
            bits[:, start : start + right - left] = crop[top:bottom, left:right]
            packed = np.packbits(bits, axis=1, bitorder="little").view("<u8")
            words.append(packed.astype(np.uint64).ravel())
    counts = [0, *(len(part) for part in words[1:])]
    filled = np.zeros(len(placed), dtype=np.int64)
    filled[boxes[:, 2] > 0] = counts[1:]
    offsets = np.concatenate([[0], np.cumsum(filled)]).astype(np.int64)
    return Masks(size, boxes, offsets, np.concatenate(words))


def _popcount(words: npt.NDArray[np.uint64]) -> Array:
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(words))
    octets = np.ascontiguousarray(words)[..., None].view(np.uint8)
    return np.asarray(_BITS[octets].sum(-1))


_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint8)


def _decode_runs(runs: npt.NDArray[np.int64], size: tuple[int, int]) -> tuple[Bool, int, int]:
    """The columns of an image that the runs touch: bool (H, columns), and its corner x, y."""
    height, width = size
    if (runs < 0).any():
        raise ValueError("a negative run")
    if runs.sum() != height * width:
        raise ValueError(f"counts sum to {runs.sum()}, not {height} * {width}")
    ends = np.cumsum(runs)[1::2]
    starts = ends - runs[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(ends):
        return np.zeros((0, 0), dtype=bool), 0, 0
    left, right = int(starts[0]) // height, (int(ends[-1]) - 1) // height + 1
    steps = np.zeros((right - left) * height + 1, dtype=np.int8)
    np.add.at(steps, starts - left * height, 1)
    np.add.at(steps, ends - left * height, -1)
    flat = np.cumsum(steps[:-1], dtype=np.int8).astype(bool)
    return flat.reshape(right - left, height).T, left, 0


def _read_counts(counts: Any) -> npt.NDArray[np.int64]:
    """Run lengths from a list, or from COCO's string.

    A number is written in digits of 5 bits, lowest first, bit 5 meaning that another digit
    follows and bit 4 of the last being the sign; from the fourth on it is the difference to the
    number two before.
    """
    if not isinstance(counts, str | bytes):
        runs = np.asarray(counts)
        if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu"):
            raise ValueError("counts must be a string or a list of ints")
        return runs.astype(np.int64)
    coded = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    digits = np.frombuffer(coded, dtype=np.uint8).astype(np.int64) - 48
    if ((digits < 0) | (digits > 63)).any() or (len(digits) and digits[-1] & 32):
        raise ValueError("counts is not a run-length string")
    if not len(digits):
        return np.zeros(0, dtype=np.int64)
    last = (digits & 32) == 0
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(digits)) - np.repeat(first, np.diff(first, append=len(digits)))
    if place.max() > 11:
        raise ValueError("counts holds a number over 60 bits")
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    values -= np.where(digits[last] & 16, np.int64(1) << (5 * (place[last] + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _write_counts(runs: npt.NDArray[np.int64]) -> str:
    """COCO's string of run lengths, the inverse of `_read_counts`."""
    values = runs.copy()
    values[3:] -= runs[1:-2]
    digits = []
    for value in values.tolist():
        while True:
            digit, value = value & 31, value >> 5
            if value == (-1 if digit & 16 else 0):
                digits.append(digit + 48)
                break
            digits.append(digit + 80)
    return bytes(digits).decode("ascii")
