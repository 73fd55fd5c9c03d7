"""Union, intersection, differences and complement of masks against dense arrays."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from pyifcn.masks import Masks

SIZES = [(1, 1), (9, 7), (16, 63), (17, 64), (9, 65), (5, 127), (31, 128), (33, 129), (3, 700)]
DENSE = {
    "union": np.logical_or,
    "intersection": np.logical_and,
    "difference": lambda a, b: a & ~b,
    "symmetric_difference": np.logical_xor,
}


def random_dense(rng, count, size):
    """Rectangles of noise, at any place; some are empty, some full."""
    height, width = size
    dense = np.zeros((count, height, width), bool)
    for mask in dense:
        x1, x2 = np.sort(rng.integers(0, width + 1, 2))
        y1, y2 = np.sort(rng.integers(0, height + 1, 2))
        mask[y1:y2, x1:x2] = rng.random((y2 - y1, x2 - x1)) < rng.choice([0.02, 0.5, 1])
    dense[: count // 6] = True
    rng.shuffle(dense)
    return dense


@pytest.mark.parametrize("op", DENSE)
@pytest.mark.parametrize("size", SIZES)
def test_elementwise(target, rng, size, op):
    for count, other in [(70, 70), (1, 40), (40, 1), (1, 1), (0, 0), (0, 1), (1, 0)]:
        a, b = random_dense(rng, count, size), random_dense(rng, other, size)
        got = getattr(Masks.from_dense(a), op)(Masks.from_dense(b))
        assert got == Masks.from_dense(DENSE[op](a, b))


@pytest.mark.parametrize("intersect", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_merge(target, rng, size, intersect):
    for count in (1, 2, 3, 20):
        dense = random_dense(rng, count, size) | random_dense(rng, count, size)
        masks = Masks.from_dense(dense)
        expected = dense.all(0) if intersect else dense.any(0)
        assert masks.merge(intersect) == Masks.from_dense(expected[None])
        code = coco.merge(masks.to_rle(), intersect)
        assert masks.merge(intersect).to_rle()[0]["counts"].encode() == code["counts"]
    assert masks[:0].merge(intersect).to_dense().tolist() == np.zeros((1, *size), bool).tolist()


def test_large_masks_in_bands_of_several_threads(target, rng):
    dense = random_dense(rng, 1, (1500, 2000)), random_dense(rng, 1, (1500, 2000))
    a, b = map(Masks.from_dense, dense)
    for op, combine in DENSE.items():
        assert getattr(a, op)(b) == Masks.from_dense(combine(*dense))
    both = Masks.cat([a, b, a])
    assert both.merge() == a | b
    assert both.merge(intersect=True) == a & b


def test_operators(rng):
    a, b = (Masks.from_dense(random_dense(rng, 12, (20, 90))) for _ in range(2))
    assert a | b == a.union(b)
    assert a & b == a.intersection(b)
    assert a - b == a.difference(b)
    assert a ^ b == a.symmetric_difference(b)
    assert ~a == a.complement()
    assert (a - b) | (a & b) == a
    assert np.array_equal((a | b).area, a.area + b.area - (a & b).area)
    for wrong in (3, None, np.ones((12, 20, 90), bool)):
        with pytest.raises(TypeError):
            a | wrong
        with pytest.raises(TypeError):
            a ^ wrong


@pytest.mark.parametrize("size", [*SIZES, (0, 5), (5, 0)])
def test_complement(target, rng, size):
    for count in (0, 1, 7):
        dense = random_dense(rng, count, size)
        masks = Masks.from_dense(dense)
        assert ~masks == Masks.from_dense(~dense)
        assert ~~masks == masks


def test_torch_and_numpy(rng):
    torch = pytest.importorskip("torch")
    dense = random_dense(rng, 8, (20, 90))
    a, b = Masks.from_dense(dense), Masks.from_dense(dense[::-1].copy())
    both = a.to("cpu") | b
    assert both == a | b
    assert isinstance(both.words, torch.Tensor)
    assert isinstance((a | b.to("cpu")).words, np.ndarray)
    assert isinstance(a.to("cpu").merge().words, torch.Tensor)
    assert isinstance((~a.to("cpu")).words, torch.Tensor)


def test_bad_input(rng):
    a = Masks.from_dense(random_dense(rng, 3, (4, 5)))
    with pytest.raises(ValueError, match=r"masks differ in size: \(4, 5\) and \(5, 4\)"):
        a | Masks.from_dense(np.ones((3, 5, 4), bool))
    with pytest.raises(ValueError, match="other has 2 masks, expected 3 or 1"):
        a & a[:2]
    with pytest.raises(ValueError, match="other has 0 masks, expected 3 or 1"):
        a - a[:0]
    with pytest.raises(TypeError, match="other is 'a', expected Masks"):
        a.union("a")


def test_more_words_than_can_be_counted():
    side = 2**30  # 1,024 masks of 2^54 words are 2^64
    corner = Masks((side, side), np.int32([[0, 0, 1, 1]]), np.arange(2), np.ones(1, np.uint64))
    opposite = corner.translate(side - 1, side - 1)
    with pytest.raises(ValueError, match="masks would be too large to address"):
        corner[np.zeros(1024, int)] | opposite
