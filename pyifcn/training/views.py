"""Batches of views by step, prepared by threads ahead of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from pyifcn.data import Sample
from pyifcn.models import Network, WindowNetwork
from pyifcn.training import distributed
from pyifcn.training.config import Config
from pyifcn.training.copy_paste import View, copy_paste
from pyifcn.training.objective import Objective
from pyifcn.training.view import Scene, make_scene, make_view

__all__ = ["Views"]

_AHEAD = 4  # steps


class Views:
    """What a network is trained on: a batch for each step, following from the seed and the step.

    Args:
        model: The network, for its preprocessing and its windows' size.
        objective: Makes targets of what a view shows.
        data: The images.
        config: How to look at them.

    Raises:
        ValueError: If a batch has fewer views than there are processes, or crops are smaller than
            the network's windows.
    """

    def __init__(
        self, model: Network, objective: Objective, data: Sequence[Sample], config: Config
    ) -> None:
        self.data = data
        self.config = config
        self.preprocess = model.preprocess
        self.objective = objective
        self.extent = model.stride * model.window
        windows = config.view == "crop" and isinstance(model, WindowNetwork)
        if windows and config.crop < self.extent:
            raise ValueError(
                f"crop must be at least the {self.extent} pixels of a window, got {config.crop}"
            )
        self.places = distributed.places(config.batch)
        self._scenes: dict[int, Scene] = {}
        self._chances = self._balance() if config.balanced else None

    def view(self, step: int, place: int) -> tuple[Tensor, Any]:
        """One view of a step's batch: planes float32 (C, h, w) and its targets."""
        config = self.config
        rng = np.random.default_rng((config.seed, step, place))
        view = self._draw(rng)
        if config.copy_paste and rng.random() < config.copy_paste:
            view = copy_paste(self._draw(rng), view, rng)
        return view.planes, self.objective.targets(view.layers, view.labels, rng)

    def batches(self, first: int, last: int) -> Iterator[tuple[Tensor, list[Any]]]:
        """Yields the batches of steps ``first`` up to ``last``: planes (B, C, H, W), targets.

        Of several processes each yields the views of its own places.
        """
        pending: list[list[Future[tuple[Tensor, Any]]]] = []
        pool = ThreadPoolExecutor(self.config.workers)
        try:
            for step in range(first, last):
                while len(pending) < min(_AHEAD, last - step):
                    ahead = step + len(pending)
                    pending.append([pool.submit(self.view, ahead, place) for place in self.places])
                views = [future.result() for future in pending.pop(0)]
                yield _stack([planes for planes, _ in views]), [targets for _, targets in views]
        finally:
            pool.shutdown(cancel_futures=True)

    def _draw(self, rng: np.random.Generator) -> View:
        scene = self._scene(int(rng.choice(len(self.data), p=self._chances)))
        return View(*make_view(scene, self.config, self.extent, rng), scene.labels)

    def _scene(self, index: int) -> Scene:
        return self._scenes.get(index) or self._prepare(index, self.data[index])

    def _prepare(self, index: int, sample: Sample) -> Scene:
        scene = make_scene(sample, self.preprocess)
        if self.config.cache:
            self._scenes[index] = scene
        return scene

    def _balance(self) -> npt.NDArray[np.float64]:
        """How often to draw each image: by the root of its instances and of its kind's rarity."""
        kinds: list[tuple[Any, ...]] = []
        counts: list[int] = []
        hidden = None if distributed.is_first() else True
        for index in tqdm(range(len(self.data)), "looking at images", leave=False, disable=hidden):
            sample = self.data[index]
            if self.config.cache:
                self._prepare(index, sample)
            coloured = bool((sample.image[..., 0] != sample.image[..., 2]).any())
            bright = bool(np.median(sample.image) > 127)
            kinds.append((sample.image.shape, coloured, bright))
            counts.append(max(len(sample.masks), 1))
        common = Counter(kinds)
        weights = np.sqrt(counts) / np.sqrt([common[kind] for kind in kinds])
        return np.asarray(weights / weights.sum(), np.float64)


def _stack(planes: list[Tensor]) -> Tensor:
    """A batch of planes (C, h, w), padded with zeros on the right and below."""
    sides = [max(p.shape[axis] for p in planes) for axis in (-2, -1)]
    height, width = distributed.largest(sides)
    return torch.stack(
        [F.pad(p, (0, width - p.shape[-1], 0, height - p.shape[-2])) for p in planes]
    )
