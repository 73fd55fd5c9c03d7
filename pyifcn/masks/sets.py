"""Masks as sets of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyifcn.masks.storage import Storage

if TYPE_CHECKING:
    from typing_extensions import Self


class SetsMixin(Storage):
    """Union, intersection and difference."""

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
