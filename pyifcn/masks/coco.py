"""Masks from COCO's codes and polygons, and back to codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from pyifcn import _coco
from pyifcn._array import describe
from pyifcn._runtime import cpu, num_threads
from pyifcn.masks.storage import Storage, checked_size

if TYPE_CHECKING:
    from typing_extensions import Self

Rle = dict[str, Any]


class CocoMixin(Storage):
    """Run-length codes and polygons."""

    @classmethod
    def from_rle(cls, rles: Sequence[Rle], size: Sequence[int] | None = None) -> Self:
        """Masks of COCO's run-length codes.

        They are made on the CPU, in NumPy arrays; `to("cuda")` moves them to a GPU.

        Args:
            rles: Dicts with `size` [h, w] and `counts`, a list of run lengths (column by column,
                starting with background) or the same compressed into a `str` or `bytes`.
            size: (height, width); needed only when `rles` may be empty.

        Returns:
            One mask for each code.

        Raises:
            TypeError: If `rles` is no list.
            ValueError: If a code is malformed or its size differs from the others'; the message
                names it.

        Example:
            >>> from pyifcn import Masks
            >>> codes = [{"size": [2, 3], "counts": "123"}, {"size": [2, 3], "counts": [1, 2, 3]}]
            >>> Masks.from_rle(codes).to_dense().astype(int).tolist()
            [[[0, 1, 0], [1, 0, 0]], [[0, 1, 0], [1, 0, 0]]]
        """
        if isinstance(rles, (Mapping, str, bytes)) or not isinstance(rles, Iterable):
            raise TypeError(f"rles is {describe(rles)}, expected a list of codes")
        *codes, sizes = _coco.rles_to_arrays(rles, "rles")
        if size is None:
            if not len(sizes):
                raise ValueError("size must be given when rles is empty")
            size = sizes[0].tolist()
        size = checked_size(size)
        for i in np.flatnonzero((sizes != size).any(1))[:1].tolist():
            raise ValueError(
                f"rles[{i}] is malformed: size is {sizes[i].tolist()}, not {list(size)}"
            )
        runs = cpu.rle_parse(*codes, sizes, "rles", num_threads())
        return cls._of(size, *cpu.rle_pack(*runs, *size, num_threads()))

    @classmethod
    def from_polygons(cls, polygons: Sequence[Sequence[Any]], size: Sequence[int]) -> Self:
        """Masks of filled polygons, pixel for pixel those that pycocotools draws.

        A mask is the union of its polygons, as of `pycocotools.mask.frPyObjects` and `merge`. What
        reaches outside the image is cut off. The masks are made on the CPU, in NumPy arrays;
        `to("cuda")` moves them to a GPU.

        Args:
            polygons: For each mask a list of polygons, each a flat sequence x0, y0, x1, y1, ... in
                pixels, or points (P, 2). The outline is closed by itself.
            size: (height, width) of the image.

        Returns:
            One mask for each list, without pixels where that is empty.

        Raises:
            TypeError: If an entry of `polygons` is no list.
            ValueError: If a polygon has fewer than 3 points or half of one, or a coordinate that is
                not finite or more than 2^28 pixels from the origin; the message names it.

        Example:
            >>> from pyifcn import Masks
            >>> Masks.from_polygons([[[1, 1, 4, 1, 4, 3]]], (4, 5)).to_dense()[0].astype(int)
            array([[0, 0, 0, 0, 0],
                   [0, 0, 1, 1, 0],
                   [0, 0, 0, 1, 0],
                   [0, 0, 0, 0, 0]])
        """
        size = checked_size(size)
        if isinstance(polygons, (Mapping, str, bytes)) or not isinstance(polygons, Iterable):
            raise TypeError(f"polygons is {describe(polygons)}, expected one list for each mask")
        polygons = list(polygons)
        parts: list[Any] = []
        mask_offsets = np.zeros(len(polygons) + 1, np.int64)
        for i, polygon in enumerate(polygons):
            if isinstance(polygon, (Mapping, str, bytes)) or not isinstance(polygon, Iterable):
                what = describe(polygon)
                raise TypeError(f"polygons[{i}] is {what}, expected a list of polygons")
            parts.extend(polygon)
            if len(parts) > mask_offsets[i] and isinstance(parts[mask_offsets[i]], Real):
                raise TypeError(
                    f"polygons[{i}] is one polygon, expected a list of polygons for each mask"
                )
            mask_offsets[i + 1] = len(parts)
        arrays = _coco.polygons_to_arrays(parts, mask_offsets, "polygons")
        runs = cpu.polygons_draw(*arrays, mask_offsets, *size, "polygons", num_threads())
        return cls._of(size, *cpu.rle_pack(*runs, *size, num_threads()))

    def to_rle(self, compressed: bool = True) -> list[Rle]:
        """COCO's run-length codes, compressed the very strings that pycocotools writes.

        Args:
            compressed: Whether `counts` are strings or lists of run lengths.

        Returns:
            For each mask `{"size": [h, w], "counts": str or list of ints}`.

        Raises:
            ValueError: If the image has 2^32 pixels or more, which the codes cannot count.
        """
        module, execution = self._compiled()
        runs, offsets = module.rle_unpack(*self._arrays, *self.size, execution)
        if compressed:
            text, ends = cpu.rle_write(runs, offsets, num_threads())
            return _coco.arrays_to_rles(text, ends, np.array([self.size], np.int64), True)
        return [
            {"size": list(self.size), "counts": runs[begin:end].tolist()}
            for begin, end in pairwise(offsets.tolist())
        ]
