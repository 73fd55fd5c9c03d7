"""What is compared: a head on a view of the data, each with the same budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pyifcn.data import Sample
from pyifcn.training import Config, preset

__all__ = ["HEADS", "VIEWS", "Entry", "entries"]

HEADS = ("fcn", "deepmask", "k1", "k3", "k5", "k7", "fcis")
VIEWS = ("crop", "image")

_NETWORKS = {"fcn": "fcn", "deepmask": "deep_mask", "fcis": "fcis"}  # the rest is InstanceFCN
_TITLES = {"fcn": "FCN", "deepmask": "DeepMask", "fcis": "FCIS"}
_PAPER_CROP = 224  # pixels
_AT_OWN_SIZE = ("nuclei", "shapes")  # presets whose networks look at factors of an image's size
_SCALES = (0.375, 0.5, 0.75, 1.0, 1.5, 2.0)  # those of the presets' test pyramid


@dataclass(frozen=True)
class Entry:
    """A network to train.

    Attributes:
        head: One of ``HEADS``; "k5" is InstanceFCN with 5 x 5 maps.
        view: "crop" or "image", as in ``Config``.
    """

    head: str
    view: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return f"{self.head}-{self.view}"

    @property
    def title(self) -> str:
        """What a table calls it."""
        return _TITLES.get(self.head) or f"InstanceFCN, k = {self.grid}"

    @property
    def network(self) -> str:
        """What ``pyifcn.training.network`` calls the head."""
        return _NETWORKS.get(self.head, "instance_fcn")

    @property
    def grid(self) -> int:
        """K of InstanceFCN."""
        return int(self.head[1:]) if self.head[1:].isdigit() else 5

    def config(self, name: str, data: Sequence[Sample], changes: Mapping[str, Any]) -> Config:
        """How it is trained.

        Crops and whole images have one budget: as many steps, and in each about as many pixels
        and as many windows.

        Args:
            name: Of the preset.
            data: The training images; their sizes set the scales of whole images, and how many
                make a batch.
            changes: Fields of ``Config`` that differ from the preset's.
        """
        base = preset(name, self.network)
        if name == "paper":
            base = replace(base, crop=_PAPER_CROP)
        sizes = _sizes(data)
        if name in _AT_OWN_SIZE and "short_sides" not in changes:
            usual = float(np.median(sizes.min(1)))
            base = replace(base, short_sides=tuple(round(usual * scale) for scale in _SCALES))
        base = replace(base, **{**changes, "view": self.view})
        if self.view == "crop":
            return base
        stretch = float(np.mean(sizes.max(1) / sizes.min(1)))
        pixels = float(np.mean(np.square(base.short_sides))) * stretch
        batch = max(1, round(base.batch * base.crop**2 / pixels))
        return replace(base, batch=batch, windows=round(base.windows * base.batch / batch))


def entries(heads: Sequence[str] = HEADS, views: Sequence[str] = VIEWS) -> list[Entry]:
    """Every head on every view.

    Raises:
        ValueError: If a name is unknown, or there is none.
    """
    for what, given, known in (("heads", heads, HEADS), ("views", views, VIEWS)):
        if not given:
            raise ValueError(f"{what} must name at least one of {known}, got none")
        for name in given:
            if name not in known:
                raise ValueError(f"{what} must be among {known}, got {name!r}")
    return [Entry(head, view) for head in dict.fromkeys(heads) for view in dict.fromkeys(views)]


def _sizes(data: Sequence[Sample]) -> npt.NDArray[np.int64]:
    """(height, width) of some images, evenly spread."""
    return np.array([data[i].masks.size for i in range(0, len(data), max(1, len(data) // 16))])
