"""What a `Masks` is made of: its arrays, how they are kept whole, chosen from and joined."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from pyifcn._array import as_numpy, compiled, describe, is_tensor, on_gpu
from pyifcn._runtime import cpu

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self

_DTYPES = {"boxes": "int32", "offsets": "int64", "words": "uint64"}
_RANKS = {"boxes": 2, "offsets": 1, "words": 1}


class Storage:
    """The arrays of masks, NumPy's or torch's, which never change."""

    _size: tuple[int, int]
    _arrays: tuple[Any, Any, Any]  # boxes, offsets, words, as compiled code takes them

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, size: Sequence[int], boxes: Any = None, offsets: Any = None, words: Any = None
    ) -> None:
        if boxes is None or offsets is None or words is None:
            raise TypeError(
                "Masks takes size, boxes, offsets and words, as it stores them; "
                "Masks.from_dense, from_rle and others make one of what you have"
            )
        size = checked_size(size)
        arrays = {"boxes": boxes, "offsets": offsets, "words": words}
        for name, array in arrays.items():
            _check_array(name, array, like=boxes)
        copies = [_copy(array) for array in arrays.values()]
        host = [array.cpu() if is_tensor(array) else array for array in copies]
        cpu.masks_check(*host, *size)
        self._set(size, copies)

    def _set(self, size: tuple[int, int], arrays: Sequence[Any]) -> None:
        # What compiled code reads without another look is not to be written to.
        for array in arrays:
            if not is_tensor(array):
                array.flags.writeable = False
        self._size, self._arrays = size, (arrays[0], arrays[1], arrays[2])

    @classmethod
    def _of(
        cls,
        size: tuple[int, int],
        boxes: Any,
        offsets: Any,
        words: Any,
        *,
        like: Any = None,
    ) -> Self:
        """Masks of arrays that are known to be right and that nobody else holds.

        NumPy arrays are kept as torch tensors where `like`, an array or masks, is made of those.
        """
        arrays: Sequence[Any] = (boxes, offsets, words)
        if isinstance(like, Storage):
            like = like._arrays[0]
        if is_tensor(like) and not is_tensor(boxes):
            arrays = [_as_tensor(array, like.device) for array in arrays]
        masks = object.__new__(cls)
        masks._set(size, arrays)
        return masks

    def _result(self, array: npt.NDArray[Any]) -> Any:
        """A new NumPy array as one of these masks' kind."""
        return _as_tensor(array, self.device) if self._is_torch else array

    @property
    def _is_torch(self) -> bool:
        return is_tensor(self._arrays[0])

    def _compiled(self) -> tuple[Any, Any]:
        """The compiled module for the masks' device, and what its functions take last."""
        return compiled(self._arrays[0])

    def _beside(self, other: Any, name: str) -> Storage:
        """`other`, if it can be worked on together with these masks.

        Raises:
            TypeError: It is no `Masks`, or one is on a GPU and the other not there.
            ValueError: The image sizes differ.
        """
        if not isinstance(other, Storage):
            raise TypeError(f"{name} is {describe(other)}, expected Masks")
        if self._size != other._size:
            raise ValueError(f"masks differ in size: {self._size} and {other._size}")
        if str(self.device) != str(other.device):
            raise TypeError(f"{name} is on {other.device}, expected it on {self.device}")
        return other

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self._size

    @property
    def boxes(self) -> Any:
        """int32 (N, 4): the tight half-open boxes, x1 y1 x2 y2; of an empty mask 0 0 0 0."""
        return _shown(self._arrays[0])

    @property
    def offsets(self) -> Any:
        """int64 (N + 1,): the first word of each mask, and the number of words."""
        return _shown(self._arrays[1])

    @property
    def words(self) -> Any:
        """uint64 (offsets[-1],): the bits."""
        return _shown(self._arrays[2])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(int(array.nbytes) for array in self._arrays)

    @property
    def device(self) -> str | torch.device:
        """Where the arrays are: a `torch.device`, or "cpu" of masks in NumPy arrays."""
        device: str | torch.device = self._arrays[0].device if self._is_torch else "cpu"
        return device

    def to(self, device: str | int | torch.device) -> Self:
        """The masks in torch tensors on a device; these themselves if they are there.

        Args:
            device: As torch names it.

        Raises:
            TypeError: It names no device.
        """
        import torch

        try:
            device = torch.device(device)
        except (TypeError, RuntimeError):
            raise TypeError(f"device is {describe(device)}, expected a device of torch") from None
        if self._is_torch and self._arrays[0].device == torch.empty(0, device=device).device:
            return self
        arrays = [
            array.to(device) if self._is_torch else _as_tensor(array.copy(), device)
            for array in self._arrays
        ]
        masks = object.__new__(type(self))
        masks._set(self._size, arrays)
        return masks

    def numpy(self) -> Self:
        """The masks in NumPy arrays; these themselves if they are."""
        if not self._is_torch:
            return self
        masks = object.__new__(type(self))
        masks._set(self._size, [array.cpu().numpy() for array in self._arrays])
        return masks

    @classmethod
    def cat(cls, masks: Iterable[Self]) -> Self:
        """The masks of several `Masks` of the same image size, one after the other.

        Args:
            masks: At least one `Masks`; the result is of the kind of the first.

        Raises:
            TypeError: If one is no `Masks`.
            ValueError: If `masks` is empty or the sizes differ.
        """
        if not isinstance(masks, Iterable):
            raise TypeError(f"masks is {describe(masks)}, expected a list of Masks")
        masks = list(masks)
        if not masks:
            raise ValueError("masks must not be empty")
        for i, other in enumerate(masks):
            if not isinstance(other, Storage):
                raise TypeError(f"masks[{i}] is {describe(other)}, expected Masks")
        size = masks[0]._size
        for other in masks:
            if other._size != size:
                raise ValueError(f"masks differ in size: {size} and {other._size}")
        if any(str(other.device) != str(masks[0].device) for other in masks):
            masks = [other.to(masks[0].device) for other in masks]
        module, _ = masks[0]._compiled()
        return cls._of(size, *module.masks_cat([m._arrays for m in masks]), like=masks[0])

    def __len__(self) -> int:
        return len(self._arrays[0])

    def __iter__(self) -> Iterator[Self]:
        if not on_gpu(self._arrays[0]):
            return (self[i] for i in range(len(self)))
        module, _ = self._compiled()
        each = module.masks_split(*self._arrays)
        return (self._of(self._size, *arrays) for arrays in each)

    def __getitem__(self, index: Any) -> Self:
        """A `Masks` of the chosen masks, by an int, a slice, ints or bools of rank 1."""
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step == 1:
                return self._slice(begin, max(begin, end))
            return self._take(np.arange(begin, end, step))
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            i = self._place(index)
            return self._slice(i, i + 1)
        if self._is_torch and on_gpu(index) and index.ndim == 1:
            return self._take_on_gpu(index)
        if isinstance(index, tuple):
            raise TypeError(f"index is {index!r}, expected one for the masks alone")
        chosen = as_numpy(index, "index")
        if chosen.size == 0 and chosen.dtype.kind != "b":
            chosen = chosen.astype(np.int64)
        if chosen.ndim == 0 and chosen.dtype.kind in "iu":
            return self[int(chosen)]
        if chosen.ndim != 1 or chosen.dtype.kind not in "iub":
            raise TypeError(f"index is {describe(index)}, expected ints or bools of rank 1")
        if chosen.dtype.kind != "b":
            return self._take(chosen)
        if len(chosen) != len(self):
            raise IndexError(f"index has {len(chosen)} bools for {len(self)} masks")
        return self._take(np.flatnonzero(chosen))

    def _take_on_gpu(self, index: torch.Tensor) -> Self:
        if (index.is_floating_point() or index.is_complex()) and len(index):
            raise TypeError(f"index is {describe(index)}, expected ints or bools of rank 1")
        if str(index.dtype) == "torch.bool":
            if len(index) != len(self):
                raise IndexError(f"index has {len(index)} bools for {len(self)} masks")
        else:
            index = index.long()
        module, _ = self._compiled()
        return self._of(self._size, *module.masks_take(*self._arrays, index.detach()), like=self)

    def _slice(self, begin: int, end: int) -> Self:
        module, _ = self._compiled()
        return self._of(self._size, *module.masks_slice(*self._arrays, begin, end), like=self)

    def _place(self, index: SupportsIndex) -> int:
        """Where the mask of an index is, which may count from the end."""
        try:
            return range(len(self))[operator.index(index)]
        except TypeError:
            raise TypeError(f"index is {describe(index)}, expected an integer") from None
        except IndexError:
            raise IndexError(f"index {index} is out of range for {len(self)} masks") from None

    def _take(self, index: npt.NDArray[np.integer[Any]]) -> Self:
        if index.dtype == np.uint64:
            index = np.minimum(index, np.uint64(2**63 - 1))
        index = np.ascontiguousarray(index, np.int64)
        module, _ = self._compiled()
        return self._of(self._size, *module.masks_take(*self._arrays, index), like=self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Storage):
            return NotImplemented
        if self._size != other._size or len(self) != len(other):
            return False
        if on_gpu(self._arrays[0]) and self.device == other.device:
            module, _ = self._compiled()
            return bool(module.masks_equal(*self._arrays, *other._arrays))
        return all(map(np.array_equal, self.numpy()._arrays, other.numpy()._arrays))

    def __repr__(self) -> str:
        where = f", device='{self.device}'" if self._is_torch else ""
        return f"{type(self).__name__}({len(self)}, size={self._size}, {_told(self.nbytes)}{where})"

    def __getstate__(self) -> tuple[Any, ...]:
        # NumPy's arrays, for torch does not pickle uint64.
        return self._size, *self.numpy()._arrays, str(self.device) if self._is_torch else None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *fields, device = state
        masks = type(self)(*fields)
        self._set(masks._size, (masks if device is None else masks.to(device))._arrays)


def checked_size(size: Sequence[int], name: str = "size") -> tuple[int, int]:
    """`size` as (height, width) in ints.

    Raises:
        TypeError: It is no pair of integers.
        ValueError: A side is negative or 2^31 or more.
    """
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be (height, width), got {size!r}") from None
    if height < 0 or width < 0 or max(height, width) >= 2**31:
        raise ValueError(f"{name} must be in 0..2^31 - 1, got {(height, width)}")
    return height, width


def _check_array(name: str, array: Any, like: Any) -> None:
    dtype, rank = _DTYPES[name], _RANKS[name]
    is_array = isinstance(array, np.ndarray) or is_tensor(array)
    if not is_array or array.ndim != rank or str(array.dtype).removeprefix("torch.") != dtype:
        raise TypeError(f"{name} is {describe(array)}, expected {dtype} of rank {rank}")
    if is_tensor(array) != is_tensor(like) or (is_tensor(array) and array.device != like.device):
        raise TypeError(f"{name} is not of the library and on the device of boxes")


def _copy(array: Any) -> Any:
    if is_tensor(array):
        return array.detach().clone(memory_format=sys.modules["torch"].contiguous_format)
    return np.array(array, order="C")


def _as_tensor(array: npt.NDArray[Any], device: Any) -> Any:
    tensor = sys.modules["torch"].from_numpy(array)
    return tensor.to(device)


def _shown(array: Any) -> Any:
    """The array for others, who cannot write to it."""
    return array.clone() if is_tensor(array) else array.view()


def _told(count: int) -> str:
    """A number of bytes in words."""
    for unit in ("GB", "MB", "kB"):
        scale = 1000 ** (" kMG".index(unit[0]))
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"
