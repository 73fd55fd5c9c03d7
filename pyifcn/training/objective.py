"""What each kind of network is trained towards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pyifcn.models import FCIS, FCN, Network, WindowNetwork
from pyifcn.training.config import Config
from pyifcn.training.loss import window_loss
from pyifcn.training.regions import Regions, region_loss, regions
from pyifcn.training.rois import Objects, objects, roi_loss
from pyifcn.training.windows import Windows, sample_windows

__all__ = ["Objective", "objective"]


class Objective(Protocol):
    """How the trainer teaches a network.

    Attributes:
        parts: Names of what ``loss`` returns.
    """

    parts: tuple[str, ...]

    def targets(
        self,
        layers: npt.NDArray[np.int32],
        labels: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Any:
        """What one view should be seen as; runs on the threads that prepare views.

        Args:
            layers: int32 (L, H, W) as in ``Scene``.
            labels: int64, the category of instance i + 1 at i.
            rng: Source of everything random.
        """

    def loss(self, outputs: tuple[Tensor, ...], targets: Sequence[Any]) -> dict[str, Tensor]:
        """The loss of a batch, under "loss", and its parts, means as ``mean_over_batch`` has them.

        Nothing random happens here: what is to be drawn stands in the targets.

        Args:
            outputs: What ``Network.score`` gave.
            targets: What ``targets`` gave for each view; the views stand at the top left of the
                batch's planes.
        """


def objective(model: Network, config: Config) -> Objective:
    """The objective of a network.

    Raises:
        TypeError: If nothing is known of this kind of network.
    """
    for kind, make in _OBJECTIVES.items():
        if isinstance(model, kind):
            return make(model, config)
    raise TypeError(f"model is {type(model).__name__}, which pyifcn.training cannot train")


class _Windows:
    """Masks and objectness of sampled windows: InstanceFCN and DeepMask."""

    parts = ("loss", "objectness", "mask", "quality")

    def __init__(self, model: WindowNetwork, config: Config) -> None:
        self.model = model
        self.config = config

    def targets(
        self,
        layers: npt.NDArray[np.int32],
        labels: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Windows:
        return sample_windows(layers, self.model.stride, self.model.window, self.config, rng)

    def loss(self, outputs: tuple[Tensor, ...], targets: Sequence[Windows]) -> dict[str, Tensor]:
        maps, scores = outputs
        return window_loss(maps, scores, targets, self.config, masks_at=self.model.masks_at)


class _Regions:
    """The category of each pixel: FCN."""

    parts = ("loss", "accuracy")

    def __init__(self, model: FCN, config: Config) -> None:
        self.stride = model.stride
        self.classes = list(model.categories)

    def targets(
        self,
        layers: npt.NDArray[np.int32],
        labels: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Regions:
        return regions(layers, class_of(labels, self.classes), 1 + len(self.classes), self.stride)

    def loss(self, outputs: tuple[Tensor, ...], targets: Sequence[Regions]) -> dict[str, Tensor]:
        return region_loss(outputs[0], targets)


class _RoIs:
    """RoIs, and their categories, masks and boxes: FCIS."""

    parts = ("loss", "objectness", "anchor", "class", "mask", "box")

    def __init__(self, model: FCIS, config: Config) -> None:
        self.model = model
        self.config = config
        self.classes = list(model.categories)

    def targets(
        self,
        layers: npt.NDArray[np.int32],
        labels: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Objects:
        classes = class_of(labels, self.classes)
        return objects(self.model, layers, classes, self.config, rng)

    def loss(self, outputs: tuple[Tensor, ...], targets: Sequence[Objects]) -> dict[str, Tensor]:
        return roi_loss(self.model, outputs, targets, self.config)


_OBJECTIVES: dict[type, Any] = {WindowNetwork: _Windows, FCN: _Regions, FCIS: _RoIs}


def class_of(labels: npt.NDArray[np.int64], known: Sequence[int]) -> npt.NDArray[np.int64]:
    """Classes, from 1 on, of labels: their places among the known ones, which rise.

    Raises:
        ValueError: If a label is not known.
    """
    places = np.searchsorted(known, labels)
    wrong = places >= len(known)
    wrong |= np.asarray(known)[np.minimum(places, len(known) - 1)] != labels
    if wrong.any():
        raise ValueError(f"label {labels[wrong][0]} is none of the network's categories")
    return np.asarray(places + 1, np.int64)
