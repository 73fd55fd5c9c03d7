"""Masks from label images and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyifcn._array import as_numpy, describe
from pyifcn._runtime import cpu, num_threads
from pyifcn.masks.storage import Storage, checked_size

if TYPE_CHECKING:
    from typing_extensions import Self

_INT32 = np.iinfo(np.int32)


class LabelsMixin(Storage):
    """Images whose pixels name the mask that they belong to."""

    @classmethod
    def from_labels(cls, image: Any) -> tuple[Self, Any]:
        """A mask for each value of a label image.

        Args:
            image: (H, W) of any integer dtype, NumPy or torch; 0 is background.

        Returns:
            The masks and their values (N,), rising, of the image's dtype.

        Raises:
            TypeError: If the dtype or the rank is another.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> masks, values = Masks.from_labels(np.array([[7, 7, 0], [0, 7, 2]]))
            >>> values.tolist(), masks.area.tolist()
            ([2, 7], [1, 3])
        """
        pixels = as_numpy(image, "image")
        if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
            raise TypeError(f"image is {describe(image)}, expected integers (H, W)")
        size, dtype = checked_size(pixels.shape), pixels.dtype.newbyteorder("=")
        pixels = np.ascontiguousarray(pixels, dtype)
        *made, values = cpu.masks_from_labels(pixels, num_threads())
        masks = cls._of(size, *made, like=image)
        return masks, masks._result(values.view(dtype))

    def to_labels(self, values: Any = None) -> Any:
        """A label image; where masks overlap, the first is on top.

        Args:
            values: int (N,), what to paint each mask with; 1 to N if it is not given.

        Returns:
            int32 (H, W), 0 where no mask is.

        Raises:
            TypeError: If `values` are not integers.
            ValueError: If there are not as many as masks, or one does not fit into int32.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> masks = Masks.from_dense(np.array([[[1, 1, 0]], [[0, 1, 1]]], bool))
            >>> masks.to_labels().tolist(), masks.to_labels([5, -1]).tolist()
            ([[1, 1, 2]], [[5, 5, -1]])
        """
        if values is None:
            values = np.arange(1, len(self) + 1)
        painted = _checked_values(values, len(self))
        out = np.zeros(self._size, np.int32)
        cpu.masks_to_labels(*self._arrays, painted, out, num_threads())
        return self._result(out)


def _checked_values(values: Any, count: int) -> Any:
    array = as_numpy(values, "values")
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"values is {describe(values)}, expected integers ({count},)")
    if array.shape != (count,):
        raise ValueError(f"values has shape {array.shape}, expected ({count},)")
    wrong = np.flatnonzero((array < _INT32.min) | (array > _INT32.max))
    if wrong.size:
        i = wrong[0]
        raise ValueError(f"values[{i}] is {array[i]}, which does not fit into int32")
    return np.ascontiguousarray(array, np.int32)
