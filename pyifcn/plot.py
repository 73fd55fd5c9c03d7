"""Pictures of instance masks and of how they are assembled (need Pillow)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    from PIL import Image, ImageDraw, ImageFont
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "PIL":
        raise
    raise ImportError(
        f'pyifcn.plot needs {error.name}; install it with: pip install "pyifcn[data]"'
    ) from None

from pyifcn.masks import Masks
from pyifcn.ops.assemble import assemble

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]

# Strong colours that stay apart on grey, on photographs and to most colour-blind eyes.
_PALETTE = np.array(
    [
        (56, 166, 255),
        (255, 143, 31),
        (44, 206, 115),
        (255, 83, 112),
        (176, 122, 255),
        (255, 214, 51),
        (0, 207, 213),
        (255, 121, 213),
        (160, 214, 60),
        (122, 144, 255),
        (255, 176, 130),
        (0, 178, 150),
    ],
    dtype=np.uint8,
)
_NEAR = 8  # pixels between boxes up to which masks are told apart by colour
# From low to high: night blue over violet and orange to pale yellow.
_HEAT = np.array(
    [
        (10, 8, 32),
        (50, 18, 92),
        (115, 29, 109),
        (184, 55, 84),
        (237, 105, 37),
        (251, 180, 30),
        (252, 255, 200),
    ],
    dtype=np.float32,
)
_INK = (38, 42, 51)
_FAINT = (148, 155, 168)
_PAPER = (255, 255, 255)


def overlay(
    image: Pixels,
    masks: Masks,
    *,
    scale: int | None = None,
    alpha: float = 0.45,
    outline: float | None = None,
) -> Pixels:
    """Masks in colour over their image, outlined; neighbours get different colours.

    Args:
        image: uint8 RGB (H, W, 3).
        masks: masks of size (H, W). The first lie on top.
        scale: how many times larger the picture is than the image; None takes what makes a small
            image about 1000 pixels wide, at most 4.
        alpha: how much of the colour covers the image, 0..1.
        outline: its width in pixels of the picture; None takes (1 + scale) / 2.

    Returns:
        uint8 RGB (scale H, scale W, 3).

    Raises:
        TypeError: ``image`` is not uint8 (H, W, 3), or ``masks`` are not `Masks`.
        ValueError: ``masks`` are of another size.

    Example:
        >>> image = np.zeros((4, 6, 3), np.uint8)
        >>> overlay(image, Masks.from_dense(np.ones((1, 4, 6), bool)), scale=2).shape
        (8, 12, 3)
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"image must be a uint8 array (H, W, 3), got {type(image).__name__}")
    if not isinstance(masks, Masks):
        raise TypeError(
            f"masks must be Masks, which Masks.from_dense makes, got {type(masks).__name__}"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    if masks.size != (height, width):
        raise ValueError(f"masks are of size {masks.size}, the image of {(height, width)}")
    masks = masks.numpy()
    if scale is None:
        scale = int(np.clip(round(1000 / max(width, 1)), 1, 4))
    canvas = np.asarray(
        Image.fromarray(image).resize((width * scale, height * scale), Image.Resampling.BICUBIC)
    ).astype(np.float32)
    colors = _PALETTE[_color_apart(masks)].astype(np.float32)
    halves = 1 + scale if outline is None else round(2 * outline)
    for i in reversed(range(len(masks))):
        x1, y1, x2, y2 = (scale * masks.boxes[i]).tolist()
        if x1 < x2:
            _paint(canvas[y1:y2, x1:x2], masks.patch(i), colors[i], alpha, halves)
    return canvas.round().clip(0, 255).astype(np.uint8)


def _paint(
    part: Floats, mask: npt.NDArray[np.bool_], color: Floats, alpha: float, halves: int
) -> None:
    """Tint one mask on its part of the canvas, and outline it ``halves`` half pixels wide."""
    # Twice as fine as the canvas, so that edges can be smoothed.
    scale = 2 * part.shape[0] // mask.shape[0]
    padded = Image.fromarray(np.pad(mask, 1).astype(np.uint8) * 255)
    fine = padded.resize((padded.width * scale, padded.height * scale), Image.Resampling.BICUBIC)
    solid = np.asarray(fine)[scale:-scale, scale:-scale] >= 128
    rim = solid & ~_eroded(solid, halves)
    light = part.mean(axis=2, keepdims=True) / 255  # the tint keeps the image's light and shade
    part += alpha * _coverage(solid) * (color * (0.5 + 0.5 * light) - part)
    part += _coverage(rim) * (color - part)


def _coverage(fine: npt.NDArray[np.bool_]) -> Floats:
    """The part of every 2x2 block that is set: (2h, 2w) -> (h, w, 1)."""
    height, width = fine.shape
    blocks = fine.reshape(height // 2, 2, width // 2, 2, 1)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def _eroded(solid: npt.NDArray[np.bool_], steps: int) -> npt.NDArray[np.bool_]:
    for step in range(steps):
        padded = np.pad(solid, 1)
        solid = solid & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        if step % 2:  # squares and diamonds in turn make an even outline
            solid &= padded[:-2, :-2] & padded[2:, 2:] & padded[:-2, 2:] & padded[2:, :-2]
    return solid


def _color_apart(masks: Masks) -> npt.NDArray[np.int64]:
    """A palette index for each mask, unlike those of the masks near it."""
    colors = _PALETTE.astype(np.float64)
    alike = 1e3 / (30 + ((colors[:, None] - colors) ** 2).sum(-1))
    boxes = masks.boxes.astype(np.int64)
    chosen = np.full(len(masks), -1, dtype=np.int64)
    used = np.zeros(len(colors))
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        near = (
            (boxes[:, 0] < x2 + _NEAR)
            & (boxes[:, 2] > x1 - _NEAR)
            & (boxes[:, 1] < y2 + _NEAR)
            & (boxes[:, 3] > y1 - _NEAR)
        )
        others = chosen[near & (chosen >= 0)]
        chosen[i] = np.argmin(alike[others].sum(0) + 1e-3 * used)
        used[chosen[i]] += 1
    return chosen


def panels(
    rows: Sequence[Sequence[tuple[str, Pixels]]], *, columns: int = 4, side: int = 400
) -> Pixels:
    """Pictures with titles, side by side.

    Args:
        rows: titles and pictures uint8 (H, W, 3); a longer row goes on below, in lines of about
            one length.
        columns: how many stand side by side at most.
        side: of the square that a picture is fitted into, in pixels.

    Returns:
        uint8 RGB.

    Raises:
        ValueError: If columns or side is not positive.

    Example:
        >>> panels([[("a", np.zeros((4, 8, 3), np.uint8))]], side=100).shape
        (136, 140, 3)
    """
    for name, value in (("columns", columns), ("side", side)):
        if value < 1:
            raise ValueError(f"{name} must be positive, got {value}")
    lines = [
        [(text, _fitted(pixels, side)) for text, pixels in line]
        for row in rows
        for line in _lines(row, columns)
    ]
    gap, title = 20, 46
    font = ImageFont.load_default(20)
    width = gap + max((len(line) for line in lines), default=0) * (side + gap)
    heights = [title + max(picture.height for _, picture in line) + gap for line in lines]
    canvas = Image.new("RGB", (width, gap + sum(heights)), _PAPER)
    pen = ImageDraw.Draw(canvas)
    top = gap
    for line, height in zip(lines, heights, strict=True):
        for place, (text, picture) in enumerate(line):
            left = gap + place * (side + gap)
            pen.text((left, top + title - 14), text, font=font, fill=_INK, anchor="ls")
            canvas.paste(picture, (left, top + title))
        top += height
    return np.asarray(canvas)


def _lines(
    row: Sequence[tuple[str, Pixels]], columns: int
) -> Iterator[Sequence[tuple[str, Pixels]]]:
    """A row in as few lines as it needs, as equal as they can be."""
    if row:
        length = math.ceil(len(row) / math.ceil(len(row) / columns))
        for start in range(0, len(row), length):
            yield row[start : start + length]


def _fitted(pixels: Pixels, side: int) -> Image.Image:
    """A picture whose longer side is ``side``."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width, 1)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    smooth = Image.Resampling.NEAREST if scale > 8 else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize(size, smooth)


def score_map_figure(
    image: Pixels,
    score_maps: Floats,
    window: tuple[int, int],
    *,
    scale: float,
    size: int = 21,
    mask_threshold: float = 0.0,
) -> Pixels:
    """How one mask is assembled from instance-sensitive score maps (the paper's Figure 1).

    From left to right: the image with the window, the K x K maps with the cell that each one
    contributes, the assembled window, and its mask on the image.

    Args:
        image: uint8 RGB (H, W, 3).
        score_maps: logits (K*K, h, w).
        window: centre (y, x) on the maps, in their pixels.
        scale: image pixels a map pixel.
        size: side of the window in map pixels.
        mask_threshold: logits above it are inside the mask.

    Returns:
        uint8 RGB, 2360 x 1260.
    """
    maps = np.asarray(score_maps, dtype=np.float32)
    return _Figure(image, maps, window, scale, size, mask_threshold).draw()


_WIDTH, _HEIGHT = 2360, 1260
_MARGIN, _TOP, _SIDE, _GRID = 60, 96, 472, 1064


@dataclass
class _Figure:
    image: Pixels
    maps: Floats
    window: tuple[int, int]
    scale: float
    size: int
    threshold: float

    def __post_init__(self) -> None:
        self.grid = round(len(self.maps) ** 0.5)
        self.edges = [
            -(-(2 * self.size * i - self.grid) // (2 * self.grid)) for i in range(self.grid)
        ]
        self.edges = [max(edge, 0) for edge in self.edges] + [self.size]
        self.canvas = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
        self.pen = ImageDraw.Draw(self.canvas)

    def draw(self) -> Pixels:
        left, middle, right = _MARGIN, (_WIDTH - _GRID) // 2, _WIDTH - _MARGIN - _SIDE
        lower = _TOP + _GRID - _SIDE
        self._draw_image(left, _TOP)
        self._draw_zoom(left, lower)
        self._draw_maps(middle, _TOP)
        assembled = self._assembled()
        self._draw_assembled(assembled, right, _TOP)
        self._draw_mask(assembled, right, lower)
        gap = middle - left - _SIDE
        self._arrow((middle - gap + 16, lower + _SIDE // 2), (middle - 16, lower + _SIDE // 2))
        self._arrow((right - gap + 16, _TOP + _SIDE // 2), (right - 16, _TOP + _SIDE // 2))
        for column in (left, right):
            middle = column + _SIDE // 2
            self._arrow((middle, _TOP + _SIDE + 12), (middle, lower - 52))
        return np.asarray(self.canvas)

    def _corner(self, size: float) -> tuple[float, float]:
        """Top left of a square of map pixels around the window, x and y."""
        y, x = self.window
        middle = -(self.size // 2) + self.size / 2
        return x + middle - size / 2, y + middle - size / 2

    def _cut(
        self, picture: Image.Image, per_map_pixel: float, size: float, side: int
    ) -> Image.Image:
        """A square of ``size`` map pixels around the window, ``side`` wide."""
        x, y = self._corner(size)
        box = [value * per_map_pixel for value in (x, y, x + size, y + size)]
        return picture.transform(
            (side, side), Image.Transform.EXTENT, tuple(box), Image.Resampling.BICUBIC, fillcolor=0
        )

    def _draw_image(self, left: int, top: int) -> None:
        self._title("image", left, top)
        height, width = self.image.shape[:2]
        side = min(height, width)
        x, y = (value * self.scale for value in self._corner(self.size))
        window = self.size * self.scale
        x0 = min(max(x + window / 2 - side / 2, 0), width - side)
        y0 = min(max(y + window / 2 - side / 2, 0), height - side)
        square = Image.fromarray(self.image).resize(
            (_SIDE, _SIDE), Image.Resampling.LANCZOS, box=(x0, y0, x0 + side, y0 + side)
        )
        self.canvas.paste(square, (left, top))
        ratio = _SIDE / side
        x, y, window = left + (x - x0) * ratio, top + (y - y0) * ratio, window * ratio
        self.pen.rectangle((x, y, x + window, y + window), outline=_PAPER, width=3)

    def _draw_zoom(self, left: int, top: int) -> None:
        self._title(
            f"a window of {self.size} x {self.size}, in {self.grid} x {self.grid} cells", left, top
        )
        self.canvas.paste(
            self._cut(Image.fromarray(self.image), self.scale, self.size, _SIDE), (left, top)
        )
        self._cells(left, top, _SIDE, 2)

    def _draw_maps(self, left: int, top: int) -> None:
        self._title(f"{self.grid} x {self.grid} instance-sensitive score maps", left, top)
        gap = 14
        side = (_GRID - gap * (self.grid - 1)) // self.grid
        around = 1.7 * self.size
        step = side / around
        for i in range(self.grid):
            for j in range(self.grid):
                x, y = left + j * (side + gap), top + i * (side + gap)
                tile = self._cut(
                    Image.fromarray(_sigmoid(self.maps[i * self.grid + j])), 1, around, side
                )
                colored = heat(np.asarray(tile))
                start = (around - self.size) / 2
                cell = [
                    round(step * (start + edge))
                    for edge in (self.edges[j], self.edges[i], self.edges[j + 1], self.edges[i + 1])
                ]
                dimmed = (colored * 0.5).astype(np.uint8)
                inside = np.s_[cell[1] : cell[3], cell[0] : cell[2]]
                dimmed[inside] = colored[inside]
                self.canvas.paste(Image.fromarray(dimmed), (x, y))
                low, high = round(step * start), round(step * (start + self.size))
                self.pen.rectangle((x + low, y + low, x + high, y + high), outline=_FAINT, width=1)
                self.pen.rectangle(
                    (x + cell[0] - 3, y + cell[1] - 3, x + cell[2] + 2, y + cell[3] + 2),
                    outline=self._color(i, j),
                    width=3,
                )

    def _draw_assembled(self, assembled: Floats, left: int, top: int) -> None:
        self._title("assembled: each cell from its own map", left, top)
        shown = Image.fromarray(heat(_sigmoid(assembled))).resize(
            (_SIDE, _SIDE), Image.Resampling.NEAREST
        )
        self.canvas.paste(shown, (left, top))
        self._cells(left, top, _SIDE, 3)

    def _draw_mask(self, assembled: Floats, left: int, top: int) -> None:
        self._title("instance mask", left, top)
        picture = self._cut(Image.fromarray(self.image), self.scale, self.size, _SIDE)
        soft = Image.fromarray(assembled).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        mask = Masks.from_dense((np.asarray(soft) > self.threshold)[None])
        shown = overlay(np.asarray(picture), mask, scale=1, outline=3)
        self.canvas.paste(Image.fromarray(shown), (left, top))

    def _assembled(self) -> Floats:
        y, x = self.window
        window = np.array([[0, y, x]])
        return np.asarray(assemble(self.maps[None], window, self.size, pad_value=-10.0)[0])

    def _cells(self, left: int, top: int, side: int, width: int) -> None:
        lines = [round(edge * side / self.size) for edge in self.edges]
        for i in range(self.grid):
            for j in range(self.grid):
                box = (
                    left + lines[j],
                    top + lines[i],
                    left + lines[j + 1] - 1,
                    top + lines[i + 1] - 1,
                )
                self.pen.rectangle(box, outline=self._color(i, j), width=width)

    def _color(self, i: int, j: int) -> tuple[int, int, int]:
        """The colour of a cell: four corners' colours, mixed by its place in the grid."""
        corners = np.array(
            [[(64, 156, 255), (255, 92, 138)], [(38, 214, 142), (255, 190, 46)]], float
        )
        v, u = (i + 0.5) / self.grid, (j + 0.5) / self.grid
        row = corners[0] * (1 - v) + corners[1] * v
        red, green, blue = (row[0] * (1 - u) + row[1] * u).astype(int).tolist()
        return red, green, blue

    def _title(self, text: str, left: int, top: int) -> None:
        self.pen.text(
            (left, top - 14), text, font=ImageFont.load_default(27), fill=_INK, anchor="ls"
        )

    def _arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        direction = np.subtract(end, start)
        direction = direction / np.hypot(*direction)
        across = np.array([-direction[1], direction[0]])
        neck = np.subtract(end, 18 * direction)
        self.pen.line([start, tuple(neck)], fill=_FAINT, width=5)
        head = [tuple(end), tuple(neck + 10 * across), tuple(neck - 10 * across)]
        self.pen.polygon(head, fill=_FAINT)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), dtype=np.float32)


def heat(values: Floats) -> Pixels:
    """Values in 0..1, any shape, as colours: uint8 (..., 3), from night blue to pale yellow."""
    at = np.clip(values, 0, 1) * (len(_HEAT) - 1)
    low = np.minimum(at.astype(int), len(_HEAT) - 2)
    part = (at - low)[..., None]
    colors = _HEAT[low] * (1 - part) + _HEAT[low + 1] * part
    return np.asarray(colors.round(), dtype=np.uint8)
