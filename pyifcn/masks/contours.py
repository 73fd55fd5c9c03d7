"""Outlines of masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pyifcn._runtime import cpu, num_threads
from pyifcn.masks.storage import Storage


class ContoursMixin(Storage):
    """Polygons along the edges of pixels."""

    def to_polygons(self) -> list[list[npt.NDArray[np.float64]]]:
        """COCO's polygons, which pycocotools rasterises to these very masks, pixel for pixel.

        They run along the edges of pixels, so that a pixel (y, x) is the square from (x, y) to
        (x + 1, y + 1), clockwise on the screen, and only turn at their points. Each part of a mask
        is a polygon; pixels that share a corner alone are two parts. COCO's polygons have no holes:
        a hole is joined to its outline by a bridge of no width, which any program that fills by
        even and odd leaves unseen.

        Returns:
            For each mask a list of polygons, none for an empty mask, each a float64 NumPy array
            x0, y0, x1, y1, ... of at least four points. `tolist` makes JSON of them.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> masks = Masks.from_dense(np.array([[[1, 1, 0], [0, 1, 0]]], bool))
            >>> [polygon.tolist() for polygon in masks.to_polygons()[0]]
            [[0.0, 0.0, 2.0, 0.0, 2.0, 2.0, 1.0, 2.0, 1.0, 1.0, 0.0, 1.0]]
        """
        polygons: list[list[npt.NDArray[np.float64]]] = cpu.masks_to_polygons(
            *self.numpy()._arrays, num_threads()
        )
        return polygons
