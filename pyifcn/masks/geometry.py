"""Masks cut out, moved, mirrored and resized."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

from pyifcn._array import describe
from pyifcn.masks.storage import Storage, checked_size

if TYPE_CHECKING:
    from typing_extensions import Self

_FAR = 2**31  # as far as no mask is moved and still seen


class GeometryMixin(Storage):
    """What happens to the masks when it happens to their image."""

    def crop(self, box: Sequence[SupportsIndex] | Any) -> Self:
        """The masks in a part of the image, which becomes the image.

        Args:
            box: x1, y1, x2, y2 in pixels, half-open integers. It may reach beyond the image, where
                all is background.

        Returns:
            The same number of masks, of size (y2 - y1, x2 - x1); some may be empty.

        Raises:
            TypeError: If `box` is not four integers.
            ValueError: If x2 < x1 or y2 < y1, or a side is 2^31 or more.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> masks = Masks.from_dense(np.array([[[1, 1, 0], [0, 1, 1]]], bool))
            >>> masks.crop((1, -1, 4, 2)).to_dense().astype(int).tolist()
            [[[0, 0, 0], [1, 0, 0], [1, 1, 0]]]
        """
        try:
            x1, y1, x2, y2 = (operator.index(corner) for corner in box)
        except (TypeError, ValueError):
            raise TypeError(f"box is {describe(box)}, expected four integers") from None
        if x2 < x1 or y2 < y1:
            raise ValueError(f"box is {[x1, y1, x2, y2]}, expected x1 <= x2 and y1 <= y2")
        return self._shifted(-x1, -y1, checked_size((y2 - y1, x2 - x1)))

    def translate(self, dx: SupportsIndex, dy: SupportsIndex) -> Self:
        """The masks moved within the image; what leaves it is cut.

        Args:
            dx: How many pixels to the right; to the left if negative.
            dy: How many pixels down; up if negative.

        Returns:
            The same number of masks of the same size; some may be empty.

        Raises:
            TypeError: If `dx` or `dy` is no integer.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> masks = Masks.from_dense(np.array([[[1, 1, 0], [0, 1, 1]]], bool))
            >>> masks.translate(1, 0).to_dense().astype(int).tolist()
            [[[0, 1, 1], [0, 0, 1]]]
        """
        return self._shifted(_offset(dx, "dx"), _offset(dy, "dy"), self._size)

    def flip(self, direction: Literal["horizontal", "vertical"] = "horizontal") -> Self:
        """The masks mirrored.

        Args:
            direction: "horizontal" exchanges left and right, "vertical" top and bottom.

        Returns:
            The same number of masks of the same size.

        Raises:
            ValueError: If `direction` is another.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> masks = Masks.from_dense(np.array([[[1, 1, 0], [0, 0, 1]]], bool))
            >>> masks.flip().to_dense().astype(int).tolist()
            [[[0, 1, 1], [1, 0, 0]]]
        """
        if direction not in ("horizontal", "vertical"):
            raise ValueError(f"direction is {direction!r}, expected 'horizontal' or 'vertical'")
        horizontal = direction == "horizontal"
        module, execution = self._compiled()
        made = module.masks_flip(*self._arrays, horizontal, *self._size, execution)
        return self._of(self._size, *made, like=self)

    def resize(self, size: Sequence[int]) -> Self:
        """The masks in an image of another size, each pixel from the one under its centre.

        Pixel d of a side comes from pixel floor((2 d + 1) in / (2 out)), in integers: what torch
        calls "nearest-exact", but exact at every size.

        Args:
            size: (height, width) in pixels.

        Returns:
            The same number of masks; small ones may come out empty.

        Raises:
            TypeError: If `size` is not two integers.
            ValueError: If a side is negative or 2^31 or more.

        Example:
            >>> import numpy as np
            >>> from pyifcn import Masks
            >>> masks = Masks.from_dense(np.array([[[1, 1, 0], [0, 0, 1]]], bool))
            >>> masks.resize((2, 6)).to_dense().astype(int).tolist()
            [[[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]]
        """
        size = checked_size(size)
        module, execution = self._compiled()
        made = module.masks_resize(*self._arrays, *self._size, *size, execution)
        return self._of(size, *made, like=self)

    def _shifted(self, dx: int, dy: int, size: tuple[int, int]) -> Self:
        dx, dy = (min(max(offset, -_FAR), _FAR) for offset in (dx, dy))
        module, execution = self._compiled()
        made = module.masks_shift(*self._arrays, dx, dy, *size, execution)
        return self._of(size, *made, like=self)


def _offset(value: SupportsIndex, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {describe(value)}, expected an integer") from None
