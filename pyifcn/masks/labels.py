"""Masks from label images and back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyifcn._array import (
    as_numpy,
    background,
    compiled,
    describe,
    is_tensor,
    kind_of,
    on_gpu,
)
from pyifcn.masks.storage import Storage, checked_size

if TYPE_CHECKING:
    from typing_extensions import Self

_INT32 = np.iinfo(np.int32)
_WITHIN_INT32 = {f"torch.{name}" for name in ("int8", "uint8", "int16", "uint16", "int32")}


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
        pixels: Any = image.detach() if on_gpu(image) else as_numpy(image, "image")
        if pixels.ndim != 2 or kind_of(pixels) not in "iu":
            raise TypeError(f"image is {describe(image)}, expected integers (H, W)")
        size = checked_size(pixels.shape)
        if is_tensor(pixels):
            pixels = pixels.contiguous()
        else:
            pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
        module, execution = compiled(pixels)
        *made, values = module.masks_from_labels(pixels, execution)
        masks = cls._of(size, *made, like=image)
        values = values.view(pixels.dtype)
        return masks, values if is_tensor(values) else masks._result(values)

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
        painted = _checked_values(values, self._arrays[0])
        out = background(self._size, self._arrays[0], "int32")
        module, execution = self._compiled()
        module.masks_to_labels(*self._arrays, painted, out, execution)
        return out


def _checked_values(values: Any, like: Any) -> Any:
    """int32, one for each of `like`'s rows, beside it if that is on a GPU."""
    count = len(like)
    if on_gpu(like):
        torch = sys.modules["torch"]
        if values is None:
            return torch.arange(1, count + 1, dtype=torch.int32, device=like.device)
        if on_gpu(values) and str(values.dtype) in _WITHIN_INT32 and values.shape == (count,):
            return values.to(like.device, torch.int32).contiguous()
        return torch.from_numpy(_int32_of(values, count)).to(like.device)
    return _int32_of(np.arange(1, count + 1) if values is None else values, count)


def _int32_of(values: Any, count: int) -> npt.NDArray[np.int32]:
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
