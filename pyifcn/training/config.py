"""What a training run is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

__all__ = ["CHOICES", "Config", "preset"]


CHOICES = {
    "view": ("image", "crop"),
    "flip": ("horizontal", "all"),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("step", "cosine"),
    "precision": ("float32", "bfloat16", "float16"),
}
_FRACTIONS = ("rotate", "intensity", "copy_paste", "positives", "hardest", "momentum", "average")
_NOT_NEGATIVE = (
    *("elastic", "positive_offset", "negative_offset", "mask_weight"),
    *("warmup", "weight_decay", "clip"),
)


@dataclass(frozen=True)
class Config:
    """Every choice of a training run. The defaults are the paper's, the preset "paper".

    Lengths of windows are fractions of the window's side, offsets are feature pixels; both
    follow DeepMask (Pinheiro et al. 2015), whose 224-pixel window is ours: an object is centred
    within 16 pixels and its longer side is 128 pixels up to a factor 2^(1/4).

    Attributes:
        steps: Optimisation steps.
        batch: Views a step.
        seed: Of everything random; a run is a function of its configuration and data.
        view: "image" scales whole images, as in the paper; "crop" cuts squares in which a
            random instance fills a random part of the window.
        short_sides: Shorter sides of whole images, one drawn a view.
        crop: Side of a cut square in pixels.
        crop_fill: Range of an instance's longer side within the window in a cut square.
        crop_scale: Range of the scale of cut squares, whatever the instance's size.
        flip: "horizontal" or "all", the eight symmetries of the square.
        rotate: Part of the views turned by a random angle.
        elastic: Largest displacement of smooth random warping, in pixels.
        intensity: Strength of random changes of brightness, contrast, noise and blur, 0 to 1.
        copy_paste: Part of the views in which instances of another view are laid on top.
        balanced: Draw images by the root of their number of instances and by how rare their
            kind (size and colour) is, rather than evenly.
        cache: Keep decoded images in memory.
        windows: Windows sampled a view.
        positives: Part of them that is positive, as far as there are enough.
        positive_offset: Largest distance, on each axis, from a positive window's centre to its
            instance's.
        positive_side: Range of the longer side of a positive window's instance.
        negative_offset: Windows farther than this from every instance are negative; between
            the two they are neither.
        negative_side: Instances outside this range make no window ambiguous.
        hardest: Part of the negatives taken by falling objectness, not at random.
        mask_negatives: Train negative windows' masks towards empty.
        mask_weight: Weight of the mask term, the mean over a window's pixels.
        quality: Train objectness towards the IoU of the assembled mask with its truth, on
            positive and ambiguous windows, rather than towards 1 on positives.
        optimizer: "sgd" or "adamw".
        learning_rate: At the start.
        schedule: "step" divides by 10 after four fifths, "cosine" falls to nothing.
        warmup: Steps in which the learning rate grows from nothing.
        weight_decay: Of all weights but biases and normalisation.
        momentum: Of SGD.
        clip: Largest norm of the gradient; 0 for none.
        average: Decay of the running mean of the weights that is saved; 0 for none.
        precision: "float32", or "bfloat16" or "float16" for mixed precision.
        joint_norm: Of several processes, normalise batches by the statistics of all views together,
            as one process would. Otherwise each normalises by its own views and running statistics
            are averaged: processes wait less for each other, and their number shows.
        workers: Threads that prepare views.
        save_every: Steps between checkpoints.

    Raises:
        TypeError: If a value is of another type than the default.
        ValueError: If a value is not one of those named, or out of range.
    """

    steps: int = 40_000
    batch: int = 8
    seed: int = 0
    view: str = "image"
    short_sides: tuple[int, ...] = (119, 178, 267, 400, 600, 900)
    crop: int = 160
    crop_fill: tuple[float, float] = (0.28, 0.84)
    crop_scale: tuple[float, float] = (0.25, 4.0)
    flip: str = "horizontal"
    rotate: float = 0.0
    elastic: float = 0.0
    intensity: float = 0.0
    copy_paste: float = 0.0
    balanced: bool = False
    cache: bool = False
    windows: int = 256
    positives: float = 0.5
    positive_offset: float = 1.5
    positive_side: tuple[float, float] = (0.48, 0.68)
    negative_offset: float = 3.0
    negative_side: tuple[float, float] = (0.286, 1.14)
    hardest: float = 0.0
    mask_negatives: bool = False
    mask_weight: float = 1.0
    quality: bool = False
    optimizer: str = "sgd"
    learning_rate: float = 1e-3
    schedule: str = "step"
    warmup: int = 0
    weight_decay: float = 5e-4
    momentum: float = 0.9
    clip: float = 0.0
    average: float = 0.0
    precision: str = "float32"
    joint_norm: bool = True
    workers: int = 2
    save_every: int = 500

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name), field.default)
        for name, values in CHOICES.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {values}, got {getattr(self, name)!r}")
        for name in ("steps", "batch", "crop", "windows", "workers", "save_every"):
            if not 1 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in _FRACTIONS:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, got {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number from 0 on, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in 0..2^64 - 1, got {self.seed}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a positive number, got {self.learning_rate}")
        for name in ("crop_fill", "crop_scale", "positive_side", "negative_side"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ValueError(f"{name} must be a range of positive numbers, got {low}, {high}")
        if not self.short_sides or not all(1 <= side < math.inf for side in self.short_sides):
            raise ValueError(f"short_sides must be positive numbers, got {self.short_sides}")


def _check_type(name: str, value: Any, default: Any) -> None:
    if isinstance(default, tuple):
        right = isinstance(value, (tuple, list)) and all(isinstance(v, Real) for v in value)
        kind = "a tuple of numbers"
    else:
        right = isinstance(value, str if isinstance(default, str) else Real)
        kind = {str: "text", bool: "True or False"}.get(type(default), "a number")
    if not right:
        raise TypeError(f"{name} must be {kind}, got {value!r}")


# What crops of few images are learned from.
_CROPS = Config(
    view="crop",
    cache=True,
    hardest=0.5,
    mask_weight=2.0,
    quality=True,
    optimizer="adamw",
    learning_rate=3e-3,
    schedule="cosine",
    weight_decay=1e-2,
    clip=5.0,
    average=0.998,
)

_NUCLEI = replace(
    _CROPS,
    steps=4000,
    batch=16,
    crop=128,
    crop_fill=(0.2, 0.84),
    crop_scale=(0.25, 2.0),
    flip="all",
    rotate=0.5,
    elastic=3.0,
    intensity=0.8,
    balanced=True,
    windows=160,
    positive_side=(0.2, 0.8),
    negative_side=(0.13, 1.05),
    warmup=200,
    precision="bfloat16",
)

_SHAPES = replace(
    _NUCLEI,
    steps=1000,
    batch=8,
    rotate=0.0,
    elastic=0.0,
    intensity=0.3,
    balanced=False,
    warmup=50,
    average=0.98,
    precision="float32",
)

_PHOTOS = replace(
    _CROPS,
    steps=3000,
    crop=256,
    crop_fill=(0.3, 0.84),
    crop_scale=(0.1, 4.0),
    rotate=0.2,
    intensity=0.5,
    copy_paste=0.5,
    windows=128,
    positive_side=(0.28, 0.8),
    negative_side=(0.2, 1.05),
    warmup=50,
)

_PRESETS = {"paper": Config(), "photos": _PHOTOS, "nuclei": _NUCLEI, "shapes": _SHAPES}
_OF_HEADS = {"fcis": {"mask_weight": 10.0}}


def preset(name: str, head: str = "instance_fcn", **changes: Any) -> Config:
    """The configuration called ``name`` with some fields changed.

    Args:
        name: "paper", "photos" (photographs, of which there are few), "nuclei" or "shapes", for
            ``SyntheticShapes``.
        head: What ``network`` calls it; masks of FCIS weigh 10, as in its paper.
        **changes: Fields of ``Config``.

    Raises:
        ValueError: No preset has that name.

    Example:
        >>> preset("nuclei", steps=10).batch
        16
    """
    if name not in _PRESETS:
        raise ValueError(f"preset must be one of {sorted(_PRESETS)}, got {name!r}")
    return replace(_PRESETS[name], **{**_OF_HEADS.get(head, {}), **changes})
