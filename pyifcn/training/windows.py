"""Windows of a view: which are positive, and the masks they should show."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyifcn.training.config import Config

__all__ = ["AMBIGUOUS", "NEGATIVE", "POSITIVE", "Windows", "assign", "instances", "sample_windows"]

NEGATIVE, AMBIGUOUS, POSITIVE = 0, 1, 2

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Windows of one view that have an instance, and where the others may be drawn from.

    Attributes:
        centres: int64 (P, 2), y and x in feature pixels.
        positive: bool (P,); the rest are ambiguous.
        truth: float32 (P, window, window), the part of each feature's cell that the window's
            instance covers.
        areas: float32 (P,), the whole instance's area in feature cells.
        chance: float32 (h, w), 0 except at the centres of negative windows: those with the
            highest are drawn.
    """

    centres: npt.NDArray[np.int64]
    positive: npt.NDArray[np.bool_]
    truth: Floats
    areas: Floats
    chance: Floats


def instances(layers: Ints) -> tuple[Ints, Ints, Floats, Floats]:
    """Finds what a view shows of each instance.

    Args:
        layers: int32 (L, H, W) of labels, 0 and below for none.

    Returns:
        Labels (N,), their layers (N,), boxes (N, 4) x1 y1 x2 y2 and areas (N,) in pixels.
    """
    depth, y, x = np.nonzero(layers > 0)
    values = layers[depth, y, x]
    order = np.argsort(values, kind="stable")
    values = values[order]
    starts = np.flatnonzero(np.diff(values, prepend=0))
    labels, counts = values[starts], np.diff(starts, append=len(values))
    if not len(labels):
        empty = np.zeros(0, np.int32)
        return empty, empty, np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    depth, y, x = depth[order], y[order], x[order]
    edges = [
        np.minimum.reduceat(x, starts),
        np.minimum.reduceat(y, starts),
        np.maximum.reduceat(x, starts) + 1,
        np.maximum.reduceat(y, starts) + 1,
    ]
    boxes = np.stack(edges, 1).astype(np.float32)
    return labels, depth[starts].astype(np.int32), boxes, counts.astype(np.float32)


def assign(
    boxes: Floats, size: tuple[int, int], stride: int, window: int, config: Config
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """Decides for the window centred at every feature what it is.

    A window belongs to the instance whose centre is nearest, among those whose longer side is
    in ``negative_side`` of the window. It is positive when the centre is within
    ``positive_offset`` on both axes and the side in ``positive_side``, negative when there is
    none within ``negative_offset``.

    Args:
        boxes: float (N, 4) in pixels.
        size: Features (h, w).
        stride: Pixels between features.
        window: Side of a window in features.
        config: The ranges.

    Returns:
        States int8 (h, w) and instances int64 (h, w), meaningless where negative.
    """
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) / (stride * window)
    low, high = config.negative_side
    usable = np.flatnonzero((sides >= low) & (sides <= high))
    distances = np.full(size, np.inf)
    owner = np.zeros(size, np.int64)
    for index in usable.tolist():
        x1, y1, x2, y2 = (boxes[index] / stride).tolist()
        rows = _within((y1 + y2 - 1) / 2, config.negative_offset, size[0])
        columns = _within((x1 + x2 - 1) / 2, config.negative_offset, size[1])
        dy = np.abs(np.arange(rows.start, rows.stop) - (y1 + y2 - 1) / 2)
        dx = np.abs(np.arange(columns.start, columns.stop) - (x1 + x2 - 1) / 2)
        distance = np.maximum(dy[:, None], dx)
        nearer = distance < distances[rows, columns]
        distances[rows, columns][nearer] = distance[nearer]
        owner[rows, columns][nearer] = index
    low, high = config.positive_side
    fits = np.append((sides >= low) & (sides <= high), False)
    state = np.where(distances < config.negative_offset, AMBIGUOUS, NEGATIVE).astype(np.int8)
    state[(distances <= config.positive_offset) & fits[owner]] = POSITIVE
    return state, owner


def _within(centre: float, distance: float, length: int) -> slice:
    """Indices of 0..length within a distance of a centre."""
    first = min(max(math.ceil(centre - distance), 0), length)
    return slice(first, min(max(math.floor(centre + distance) + 1, first), length))


def sample_windows(
    layers: Ints, stride: int, window: int, config: Config, rng: np.random.Generator
) -> Windows:
    """Draws the windows of a view that have an instance.

    Up to ``windows * positives`` positive ones, and a quarter as many ambiguous ones when
    objectness learns the quality of masks.
    """
    labels, depth, boxes, areas = instances(layers)
    height, width = (-(-side // stride) for side in layers.shape[-2:])
    state, owner = assign(boxes, (height, width), stride, window, config)
    middle = layers[:, stride // 2 :: stride, stride // 2 :: stride]
    crowd = np.zeros((height, width), bool)
    crowd[: middle.shape[1], : middle.shape[2]] = (middle < 0).any(0)
    state[crowd & (state == NEGATIVE)] = -1

    wanted = int(config.windows * config.positives)
    drawn = _draw(state == POSITIVE, wanted, rng)
    positives = len(drawn)
    if config.quality:
        drawn = np.concatenate([drawn, _draw(state == AMBIGUOUS, wanted // 4, rng)])
    y, x = np.unravel_index(drawn, (height, width))
    owners = owner[y, x] if len(labels) else np.zeros(0, np.int64)
    return Windows(
        centres=np.stack([y, x], 1),
        positive=np.arange(len(drawn)) < positives,
        truth=_coverage(layers, depth[owners], labels[owners], y, x, stride, window),
        areas=areas[owners] / np.float32(stride**2),
        chance=(state == NEGATIVE) * (1 - rng.random(state.shape, np.float32)),
    )


def _draw(
    where: npt.NDArray[np.bool_], count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    flat = np.flatnonzero(where)
    return rng.choice(flat, count, replace=False) if len(flat) > count else flat


def _coverage(
    layers: Ints,
    depth: Ints,
    labels: Ints,
    y: npt.NDArray[np.int64],
    x: npt.NDArray[np.int64],
    stride: int,
    window: int,
) -> Floats:
    """The part of each cell of each window that carries the window's label."""
    side = window * stride
    around = (window // 2 * stride, side)
    padded = np.pad(layers, ((0, 0), around, around))
    views = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (1, 2))
    pixels = views[depth, y * stride, x * stride] == labels[:, None, None]
    return _cell_means(pixels, stride)


def _cell_means(pixels: npt.NDArray[np.bool_], stride: int) -> Floats:
    """Means over cells of stride x stride pixels, slice by slice: NumPy adds short axes slowly."""
    count, height, width = pixels.shape
    rows = np.zeros((count, height // stride, width), np.uint16)
    for offset in range(stride):
        rows += pixels[:, offset::stride]
    cells = np.zeros((*rows.shape[:2], width // stride), np.float32)
    for offset in range(stride):
        cells += rows[:, :, offset::stride]
    cells /= stride**2
    return cells
