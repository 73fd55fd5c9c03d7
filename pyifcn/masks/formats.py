"""Masks from dense pixels and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, SupportsIndex

import numpy as np
import numpy.typing as npt

from pyifcn._array import as_numpy, background, compiled, describe, empty, is_tensor, on_gpu
from pyifcn._runtime import cpu, num_threads
from pyifcn.masks.storage import Storage, checked_size

if TYPE_CHECKING:
    from typing_extensions import Self


class FormatsMixin(Storage):
    """Dense arrays of whole images, and patches of them."""

    @classmethod
    def from_dense(cls, array: Any) -> Self:
        """Masks of a dense array.

        Args:
            array: bool or uint8 (N, H, W), NumPy or torch, in any order in memory; everything but
                zero is inside.

        Returns:
            N masks of size (H, W).

        Raises:
            TypeError: If the dtype or the rank is another.
        """
        return cls._from_dense(array, "array")

    @classmethod
    def _from_dense(cls, array: Any, name: str) -> Self:
        dense = array
        if is_tensor(array):
            dense = array.detach() if on_gpu(array) else as_numpy(array, name)
        elif isinstance(array, np.ndarray):
            dense = np.asarray(array)
        dtype = str(getattr(dense, "dtype", None)).removeprefix("torch.")
        if dtype not in ("bool", "uint8") or dense.ndim != 3:
            raise TypeError(f"{name} is {describe(array)}, expected bool or uint8 (N, H, W)")
        size = checked_size(dense.shape[1:])
        module, execution = compiled(dense)
        return cls._of(size, *module.masks_from_dense(dense, execution), like=array)

    @classmethod
    def from_patches(cls, patches: Sequence[Any], boxes: Any, size: Sequence[int]) -> Self:
        """Masks placed into an image, cut at its border and tightened.

        They are made on the CPU and then moved to where `boxes` are.

        Args:
            patches: N arrays bool (h, w), each of its own size, NumPy or torch.
            boxes: int (N, 2) or (N, 4); the first two columns are the x, y of a patch's corner.
            size: (height, width) of the image.

        Returns:
            N masks, in arrays like `boxes`.

        Raises:
            TypeError: If a patch is not bool (h, w), or `boxes` are not integers.
            ValueError: If there are not as many boxes as patches.
        """
        size = checked_size(size)
        if not isinstance(patches, Iterable):
            raise TypeError(f"patches is {describe(patches)}, expected a list of bool (h, w)")
        arrays = tuple(patches)
        places = as_numpy(boxes, "boxes")
        if places.size == 0 and places.ndim == 1:
            places = places.reshape(0, 4)
        is_int = places.dtype.kind in "iu" or places.size == 0
        if places.ndim != 2 or places.shape[1] < 2 or not is_int:
            raise TypeError(f"boxes is {describe(boxes)}, expected integers (N, 2) or (N, 4)")
        if len(places) != len(arrays):
            raise ValueError(f"boxes has {len(places)} rows for {len(arrays)} patches")
        if set(map(type, arrays)) != {np.ndarray}:
            arrays = tuple(as_numpy(p, "patches") if is_tensor(p) else p for p in arrays)
        if places.dtype == np.uint64:
            places = np.minimum(places, np.uint64(2**31))
        corners = np.ascontiguousarray(places[:, :2].astype(np.int64).clip(-(2**31), 2**31))
        return cls._of(
            size, *cpu.masks_from_patches(arrays, corners, *size, num_threads()), like=boxes
        )

    @classmethod
    def from_soft(
        cls,
        masks: Any,
        boxes: Any,
        size: Sequence[int],
        *,
        threshold: SupportsFloat = 0.5,
        convention: Literal["torchvision", "detectron2"] = "torchvision",
    ) -> Self:
        """Soft masks pasted into boxes, as `pyifcn.paste_masks` does it.

        Args:
            masks: float (N, h, w).
            boxes: float (N, 4), x1 y1 x2 y2 in pixels of the image.
            size: (height, width) of the image.
            threshold: At least 0.
            convention: As in `pyifcn.paste_masks`.

        Returns:
            N masks.
        """
        from pyifcn.ops.paste_masks import paste_masks

        size = checked_size(size)
        pasted = paste_masks(masks, boxes, size, threshold=threshold, convention=convention)
        return cls._of(pasted.size, *pasted._arrays)

    def patch(self, i: SupportsIndex) -> Any:
        """Mask i inside its tight box: bool (h, w)."""
        i = self._place(i)
        x1, y1, x2, y2 = self._arrays[0][i].tolist()
        out = empty((y2 - y1, x2 - x1), self._arrays[0], "bool")
        module, _ = self._compiled()
        module.masks_patch(*self._arrays, i, out)
        return out

    def to_dense(self) -> Any:
        """Bool (N, H, W)."""
        out = background((len(self), *self.size), self._arrays[0], "bool")
        module, execution = self._compiled()
        module.masks_to_dense(*self._arrays, out, execution)
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Bool (N, H, W), for `numpy.asarray`.

        Raises:
            TypeError: If the masks are on a GPU.
            ValueError: If no copy is allowed: bits are no pixels.
        """
        if on_gpu(self._arrays[0]):
            raise TypeError(f"masks are on {self.device}, expected the CPU; call numpy() first")
        if copy is False:
            raise ValueError("copy is False, but masks have no pixels that could be shared")
        return as_numpy(self.to_dense(), "masks").astype(dtype or bool, copy=False)
