"""A network, with how it is asked, in a form that goes to another process or machine."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from pyifcn._array import as_numpy
from pyifcn.masks import Masks

if TYPE_CHECKING:
    from pyifcn.models import Network
    from pyifcn.ops.propose import Proposals


class HostInstances(NamedTuple):
    """`pyifcn.models.Instances` in host memory: what was found in an image, best first.

    Attributes:
        masks: N masks of the image's size.
        scores: float32 (N,).
        labels: int64 (N,), categories by the data set's ids; 1 of a network that knows none.
    """

    masks: Masks
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def find(
    model: Network,
    image: npt.NDArray[np.uint8],
    *,
    max_proposals: int | None = None,
    score_threshold: float | None = None,
    all_proposals: bool = False,
) -> HostInstances:
    """The instances of an image in host memory.

    Args:
        model: The network.
        image: uint8 (H, W, 3) RGB.
        max_proposals: At most so many; what the network's settings say if None.
        score_threshold: Leave out lower scores; what the settings say if None, and for
            `all_proposals` no score is too low.
        all_proposals: Keep repeated and doubtful proposals too.

    Returns:
        N masks with their scores and labels, best first.

    Example:
        >>> from pyifcn.models import load
        >>> masks, scores, labels = find(load("nuclei"), np.zeros((32, 48, 3), np.uint8))
        >>> masks.size, len(scores)
        ((32, 48), 0)
    """
    propose = getattr(model, "propose", None)
    threshold = score_threshold or 0 if all_proposals else score_threshold
    if propose is None:  # what it finds doubtful is all that it has besides
        masks, scores, labels = model.predict(image, score_threshold=threshold)
        return _host(masks[:max_proposals], scores[:max_proposals], labels[:max_proposals])
    if all_proposals:
        found = cast("Proposals[Any]", propose(image, max_proposals=max_proposals))
        found = found[found.scores >= threshold]
        masks, scores = found.masks, found.scores
    else:
        masks, scores = model.segment(image, max_proposals=max_proposals, score_threshold=threshold)
    return _host(masks, scores, np.ones(len(masks), np.int64))


def _host(masks: Masks, scores: Any, labels: Any) -> HostInstances:
    return HostInstances(masks.numpy(), as_numpy(scores, "scores"), as_numpy(labels, "labels"))


class Finder:
    """Finds the instances of images, on whichever machine it is sent to.

    It travels with the bytes of its weights, not with a path that another machine lacks.

    Args:
        weights: Shipped weights by name, or a file that training wrote.
        device: "cpu" or "cuda"; the GPU if None and there is one.
        max_proposals: As in `find`, like the two below.
        score_threshold: Leave out lower scores.
        all_proposals: Keep repeated and doubtful proposals too.

    Raises:
        OSError: If there is no such file or it cannot be read.
        ValueError: If the file holds no network.

    Example:
        >>> masks, scores, labels = Finder("nuclei")(np.zeros((32, 48, 3), np.uint8))
        >>> len(masks)
        0
    """

    def __init__(
        self,
        weights: str = "nuclei",
        *,
        device: str | None = None,
        max_proposals: int | None = None,
        score_threshold: float | None = None,
        all_proposals: bool = False,
    ) -> None:
        from pyifcn.models import load
        from pyifcn.models.weights import weights_file

        self.device = device
        self._options: dict[str, Any] = {
            "max_proposals": max_proposals,
            "score_threshold": score_threshold,
            "all_proposals": all_proposals,
        }
        self._content = weights_file(weights).read_bytes()
        self._loaded: Network | None = load(weights)  # now, so that wrong weights fail at once

    @cached_property
    def model(self) -> Network:
        """The network, on its device."""
        return (self._loaded or self._load()).to(_device(self.device))

    def _load(self) -> Network:
        from pyifcn.models import load

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "weights.safetensors"
            file.write_bytes(self._content)
            return load(file)

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in vars(self).items() if key != "model"}
        return {**state, "_loaded": None}

    def __call__(self, image: npt.NDArray[np.uint8]) -> HostInstances:
        """The instances of an image, as `find` gives them."""
        return find(self.model, image, **self._options)

    @property
    def settings(self) -> dict[str, Any]:
        """All that the result depends on beside the image; the weights as a digest."""
        return {"weights": hashlib.sha256(self._content).hexdigest()[:16], **self._options}


def _device(asked: str | None) -> str:
    import torch

    return asked or ("cuda" if torch.cuda.is_available() else "cpu")
