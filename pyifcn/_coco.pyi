from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

def rles_to_arrays(
    rles: Iterable[Any], name: str
) -> tuple[npt.NDArray[np.uint8], Int64, Int64, Int64, Int64]:
    """(text, text_offsets, numbers, number_offsets, sizes (N, 2)): of each code one of the two."""

def arrays_to_rles(
    text: npt.NDArray[np.uint8], offsets: Int64, sizes: Int64, as_str: bool
) -> list[dict[str, Any]]:
    """The dicts of codes that were written one after the other; sizes (N, 2) or one row for all."""

def polygons_to_arrays(
    polygons: Iterable[Any], mask_offsets: Int64 | None, name: str
) -> tuple[npt.NDArray[np.float64], Int64]:
    """(coordinates, offsets) of flat sequences x0, y0, x1, y1... or arrays (P, 2).

    Errors tell of polygon k as `name[i][j]` where mask i has the polygons from mask_offsets[i] on.
    """
