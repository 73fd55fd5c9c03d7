"""Masks from COCO's codes and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyifcn._runtime import cpu, num_threads
from pyifcn.masks.storage import Storage, checked_size

if TYPE_CHECKING:
    from typing_extensions import Self

Rle = dict[str, Any]


class CocoMixin(Storage):
    """Run-length codes."""

    @classmethod
    def from_rle(cls, rles: Sequence[Rle], size: Sequence[int] | None = None) -> Self:
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
        size = checked_size(size)
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

    def to_rle(self) -> list[Rle]:
        """COCO's compressed run-length codes, the very strings that pycocotools writes.

        Returns:
            For each mask `{"size": [h, w], "counts": str}`.
        """
        codes = cpu.rle_encode(*self._arrays, *self.size, num_threads())
        return [{"size": list(self.size), "counts": code} for code in codes]


def _checked_counts(counts: Any) -> str | bytes | npt.NDArray[np.int64]:
    if isinstance(counts, (str, bytes)):
        return counts
    runs = np.asarray(counts)
    if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu"):
        raise ValueError("counts must be a string or a list of ints")
    return np.ascontiguousarray(runs, np.int64)
