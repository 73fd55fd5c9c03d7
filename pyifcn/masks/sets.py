"""Masks as sets of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyifcn.masks.storage import Storage

if TYPE_CHECKING:
    from typing_extensions import Self


class SetsMixin(Storage):
    """Union, intersection, differences and complement."""

    __array_ufunc__ = None  # so that NumPy leaves `array | masks` alone, which is a TypeError

    def union(self, other: Storage) -> Self:
        """The pixels of either mask, one by one; also `masks | other`.

        Args:
            other: As many masks as these, or one to join with each; these may be one too.

        Returns:
            As many masks as there are on the larger side.

        Raises:
            TypeError: If `other` is no `Masks`.
            ValueError: If the image sizes or the numbers of masks differ.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> a = Masks.from_dense(np.array([[[1, 1, 0, 0]]], bool))
            >>> b = Masks.from_dense(np.array([[[0, 1, 1, 0]], [[0, 0, 0, 1]]], bool))
            >>> (a | b).area.tolist(), (a & b).area.tolist(), (a - b).area.tolist()
            ([3, 3], [1, 0], [1, 2])
        """
        return self._combined("union", other)

    def intersection(self, other: Storage) -> Self:
        """The pixels of both masks, one by one; also `masks & other`. As `union` else."""
        return self._combined("intersection", other)

    def difference(self, other: Storage) -> Self:
        """The pixels that the other mask lacks; also `masks - other`. As `union` else."""
        return self._combined("difference", other)

    def symmetric_difference(self, other: Storage) -> Self:
        """The pixels of just one mask of two; also `masks ^ other`. As `union` else."""
        return self.union(other)._combined("difference", self.intersection(other))

    def complement(self) -> Self:
        """The pixels of the image that a mask lacks; also `~masks`.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> masks = Masks.from_dense(np.array([[[1, 1, 0, 0]], [[0, 0, 0, 0]]], bool))
            >>> (~masks).area.tolist()
            [2, 4]
        """
        whole = self._of(self._size, *_whole(self._size), like=self)
        return whole._combined("difference", self)

    def merge(self, intersect: bool = False) -> Self:
        """All masks as one: their union, or their intersection.

        Args:
            intersect: Keep the pixels that all masks share.

        Returns:
            One mask, empty if there was none.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> masks = Masks.from_dense(np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], bool))
            >>> masks.merge().area.tolist(), masks.merge(intersect=True).area.tolist()
            ([3], [1])
        """
        module, execution = self._compiled()
        made = module.masks_merge(*self._arrays, bool(intersect), execution)
        return self._of(self._size, *made, like=self)

    def _combined(self, op: str, other: Storage) -> Self:
        yours = self._beside(other, "other")._arrays
        module, execution = self._compiled()
        made = module.masks_combine(op, *self._arrays, *yours, execution)
        return self._of(self._size, *made, like=self)

    def __or__(self, other: Any) -> Self:
        return self.union(other) if isinstance(other, Storage) else NotImplemented

    def __and__(self, other: Any) -> Self:
        return self.intersection(other) if isinstance(other, Storage) else NotImplemented

    def __sub__(self, other: Any) -> Self:
        return self.difference(other) if isinstance(other, Storage) else NotImplemented

    def __xor__(self, other: Any) -> Self:
        return self.symmetric_difference(other) if isinstance(other, Storage) else NotImplemented

    def __invert__(self) -> Self:
        return self.complement()


def _whole(size: tuple[int, int]) -> tuple[npt.NDArray[Any], ...]:
    """The arrays of one mask, all pixels of an image."""
    height, width = size
    if not height or not width:
        return np.zeros((1, 4), np.int32), np.zeros(2, np.int64), np.zeros(0, np.uint64)
    words = np.full((height, -(-width // 64)), ~np.uint64(0))
    words[:, -1] >>= np.uint64(-width % 64)
    box = np.array([[0, 0, width, height]], np.int32)
    return box, np.array([0, words.size], np.int64), words.ravel()
