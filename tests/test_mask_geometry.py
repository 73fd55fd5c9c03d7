"""Crops, moves, flips and resizing of masks against dense arrays."""

from __future__ import annotations

import numpy as np
import pytest

from pyifcn.masks import Masks

SIDES = [1, 7, 31, 63, 64, 65, 127, 128, 129, 200]
SIZES = [(int(5 + side % 11), side) for side in SIDES] + [(1, 1), (90, 3)]


def crop_dense(dense, x1, y1, x2, y2):
    """Half-open, background outside."""
    far = 300
    wide = np.pad(dense, [(0, 0), (far, far), (far, far)])
    return wide[:, y1 + far : y2 + far, x1 + far : x2 + far]


def resize_dense(dense, size):
    """Each pixel from the one under its centre, in Python's integers."""
    index = [
        [(2 * d + 1) * before // (2 * after) for d in range(after)]
        for before, after in zip(dense.shape[1:], size, strict=True)
    ]
    if 0 in dense.shape:
        return np.zeros((len(dense), *size), bool)
    return dense[:, index[0]][:, :, index[1]]


def random_dense(rng, size):
    """Rectangles of noise, at any place; some are empty, some full."""
    height, width = size
    dense = np.zeros((24, height, width), bool)
    for mask in dense:
        x1, x2 = np.sort(rng.integers(0, width + 1, 2))
        y1, y2 = np.sort(rng.integers(0, height + 1, 2))
        mask[y1:y2, x1:x2] = rng.random((y2 - y1, x2 - x1)) < rng.choice([0.02, 0.5, 1])
    dense[:4] = True
    return dense


@pytest.mark.parametrize("size", SIZES)
def test_crop(target, rng, size):
    dense = random_dense(rng, size)
    masks = Masks.from_dense(dense)
    height, width = size
    for _ in range(20):
        x1, x2 = np.sort(rng.integers(-100, width + 100, 2))
        y1, y2 = np.sort(rng.integers(-10, height + 10, 2))
        got = masks.crop((x1, y1, x2, y2))
        assert got.size == (y2 - y1, x2 - x1)
        assert got == Masks.from_dense(crop_dense(dense, x1, y1, x2, y2))
    assert masks.crop((0, 0, width, height)) == masks
    assert masks.crop([10**30, 0, 10**30 + 4, 2]) == Masks.from_dense(np.zeros((24, 2, 4), bool))
    assert masks.crop(np.array([3, -(10**12), 3, -(10**12)])).size == (0, 0)


@pytest.mark.parametrize("size", SIZES)
def test_translate(target, rng, size):
    dense = random_dense(rng, size)
    masks = Masks.from_dense(dense)
    height, width = size
    for dx in [-width - 1, -width, -65, -64, -63, -1, 0, 1, 63, 64, 65, width - 1, width]:
        dy = int(rng.integers(-5, 6))
        moved = crop_dense(dense, -dx, -dy, width - dx, height - dy)
        assert masks.translate(dx, dy) == Masks.from_dense(moved)
    for dx in (10**30, -(10**30)):
        assert masks.translate(dx, 0).area.sum() == masks.translate(0, dx).area.sum() == 0
    assert masks.translate(np.int64(0), np.uint8(0)) == masks


@pytest.mark.parametrize("size", SIZES)
def test_flip(target, rng, size):
    dense = random_dense(rng, size)
    masks = Masks.from_dense(dense)
    assert masks.flip() == masks.flip("horizontal") == Masks.from_dense(dense[:, :, ::-1].copy())
    assert masks.flip("vertical") == Masks.from_dense(dense[:, ::-1].copy())
    assert masks.flip().flip() == masks.flip("vertical").flip("vertical") == masks


@pytest.mark.parametrize("size", SIZES)
def test_resize(target, rng, size):
    dense = random_dense(rng, size)
    masks = Masks.from_dense(dense)
    height, width = size
    for to in [
        *((int(h), int(w)) for h, w in rng.integers(1, 300, (12, 2))),
        (1, 1),
        (2 * height, 3 * width),
        (height, max(width // 2, 1)),
        (0, 5),
        (5, 0),
    ]:
        assert masks.resize(to) == Masks.from_dense(resize_dense(dense, to))
    assert masks.resize(size) == masks


def test_resize_is_nearest_exact_where_torch_is_exact(rng):
    torch = pytest.importorskip("torch")
    dense = random_dense(rng, (32, 128))
    masks = Masks.from_dense(dense)
    for size in [(16, 64), (64, 256), (8, 512), (32, 32), (32, 384), (96, 128)]:
        theirs = torch.nn.functional.interpolate(
            torch.from_numpy(dense)[None].float(), size, mode="nearest-exact"
        )[0]
        assert masks.resize(size) == Masks.from_dense(theirs.bool().numpy())


def test_huge_images_cost_nothing():
    side = 2**31 - 1
    masks = Masks.from_dense(np.ones((2, 3, 70), bool)).crop((5 - side, 4 - side, 5, 4))
    assert masks.size == (side, side)
    assert masks.boxes.tolist() == [[side - 5, side - 4, side, side - 1]] * 2
    assert masks.flip().boxes.tolist() == [[0, side - 4, 5, side - 1]] * 2
    assert masks.flip("vertical").boxes.tolist() == [[side - 5, 1, side, 4]] * 2
    assert masks.translate(4, 0).boxes[0].tolist() == [side - 1, side - 4, side, side - 1]
    few = masks.resize((1000, side))
    assert few.boxes.tolist() == [[0] * 4] * 2
    assert masks.flip().resize((side, side - 1)).boxes[0].tolist() == [0, side - 4, 5, side - 1]
    assert (masks | masks.flip())[:0].resize((1, 1)).size == (1, 1)


def test_empty():
    none = Masks.from_dense(np.zeros((0, 4, 5), bool))
    nothing = Masks.from_dense(np.zeros((2, 0, 5), bool))
    for masks in (none, nothing):
        count = len(masks)
        assert masks.crop((0, 0, 7, 8)) == Masks.from_dense(np.zeros((count, 8, 7), bool))
        assert masks.resize((3, 3)) == Masks.from_dense(np.zeros((count, 3, 3), bool))
        assert masks.flip() == masks.flip("vertical") == masks.translate(1, 2) == masks


def test_torch(rng):
    torch = pytest.importorskip("torch")
    masks = Masks.from_dense(random_dense(rng, (20, 90)))
    tensors = masks.to("cpu")
    for work in (
        lambda m: m.crop((2, 3, 40, 15)),
        lambda m: m.crop(torch.tensor([2, 3, 40, 15])),
        lambda m: m.translate(3, torch.tensor(-2)),
        lambda m: m.flip(),
        lambda m: m.resize((30, 40)),
    ):
        assert work(tensors) == work(masks)
        assert isinstance(work(tensors).words, torch.Tensor)


def test_more_words_than_can_be_counted():
    side = 2**30  # 1,024 masks of 2^54 words are 2^64
    masks = Masks.from_dense(np.ones((1, 1, 1), bool))[np.zeros(1024, int)]
    with pytest.raises(ValueError, match="masks would be too large to address"):
        masks.resize((side, side))


def test_bad_input(rng):
    masks = Masks.from_dense(random_dense(rng, (4, 5)))
    for box in ((1, 2, 3), (0.0, 0, 1, 1), 4, "crop", None):
        with pytest.raises(TypeError, match=r"box is .*, expected four integers"):
            masks.crop(box)
    with pytest.raises(ValueError, match=r"box is \[3, 0, 2, 1\], expected x1 <= x2"):
        masks.crop((3, 0, 2, 1))
    with pytest.raises(ValueError, match="size must be in"):
        masks.crop((0, 0, 1, 2**31))
    with pytest.raises(TypeError, match=r"dy is 0.5, expected an integer"):
        masks.translate(1, 0.5)
    with pytest.raises(ValueError, match="direction is 'diagonal', expected 'horizontal' or"):
        masks.flip("diagonal")
    with pytest.raises(TypeError, match="size must be"):
        masks.resize(4)
    with pytest.raises(ValueError, match="size must be in"):
        masks.resize((-1, 4))
