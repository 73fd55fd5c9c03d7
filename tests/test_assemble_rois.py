"""Assembling in RoIs: every target against a slow reference, gradients, bad input."""

import math
from functools import cache

import numpy as np
import pytest
from optional import torch
from test_ps_roi import random_boxes, reference, reference_gradient, round_half_away

import pyifcn


def bins(low, high, scale, count, limit):
    """Pixels [start, end) of each bin along one axis, as FCIS's PSROIPooling has them."""
    kind = type(scale)
    start, end = kind(round_half_away(low)) * scale, kind(round_half_away(high) + 1) * scale
    size = max(end - start, kind(0.1)) / kind(count)
    edges = [
        (math.floor(kind(i) * size + start), math.ceil(kind(i + 1) * size + start))
        for i in range(count)
    ]
    return [(min(max(a, 0), limit), min(max(b, 0), limit)) for a, b in edges]


def pixels(box, scale, size, shape):
    rows = bins(box[1], box[3], scale, size[0], shape[0])
    columns = bins(box[0], box[2], scale, size[1], shape[1])
    for top, bottom in rows:
        for left, right in columns:
            found = [(y, x) for y in range(top, bottom) for x in range(left, right)]
            yield [[(p, type(scale)(1))] for p in found], max(len(found), 1)


@cache
def case(grid, size, classes, dtype):
    """Maps, boxes, a gradient, and what they give."""
    rng, sides = np.random.default_rng(size), (size, size)
    maps = rng.standard_normal((2, classes * grid * grid, 11, 14)).astype(dtype)
    boxes = random_boxes(rng, 8, 2, 100, dtype)
    expected = reference(maps, boxes, sides, 0.125, pixels, size // grid)
    grad = rng.standard_normal(expected.shape).astype(dtype)
    gradient = reference_gradient(grad, maps, boxes, sides, 0.125, pixels, size // grid)
    return maps, boxes, grad, expected, gradient


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("grid", "size", "classes"), [(1, 4, 2), (2, 2, 5), (3, 9, 7), (2, 6, 18)])
def test_equals_the_reference(target, grid, size, classes, dtype):
    maps, boxes, grad, expected, gradient = case(grid, size, classes, dtype)
    got = pyifcn.assemble_rois(maps, boxes, size, grid=grid, spatial_scale=0.125)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected)
    tensor = torch.from_numpy(maps).requires_grad_()
    rows = torch.from_numpy(boxes)
    out = pyifcn.assemble_rois(tensor, rows, size, grid=grid, spatial_scale=0.125)
    (got,) = torch.autograd.grad(out, tensor, torch.from_numpy(grad))
    np.testing.assert_array_equal(got.numpy(), gradient)


def test_pairs(rng):
    maps = rng.standard_normal((1, 3 * 2 * 4, 9, 9)).astype(np.float32)
    boxes = random_boxes(rng, 4, 1, 9)
    masks = pyifcn.assemble_rois(maps, boxes, 6, grid=2, pair=True)
    assert masks.shape == (4, 3, 2, 6, 6)
    alone = pyifcn.assemble_rois(maps, boxes, 6, grid=2)
    np.testing.assert_array_equal(masks[:, 2, 1], alone[:, 5])


def test_the_last_row_and_column_are_read(target):
    maps = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
    box = np.array([[0, 0, 0, 5, 5]], np.float32)
    np.testing.assert_array_equal(pyifcn.assemble_rois(maps, box, 6, grid=1)[0, 0], maps[0, 0])


def test_odd_boxes(target, rng):
    maps = rng.standard_normal((1, 5 * 4, 9, 9)).astype(np.float32)
    nan, inf = np.nan, np.inf
    boxes = np.array(
        [
            [0, nan, 1, 5, 5],
            [0, 100, 100, 120, 120],
            [0, -50, -50, -20, -20],
            [0, -inf, -inf, inf, inf],
            [0, -3e38, -3e38, 3e38, 3e38],
            [0, 4, 4, 2, 2],
        ],
        np.float32,
    )
    got = pyifcn.assemble_rois(maps, boxes, 4, grid=2)
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got[:3], 0)
    np.testing.assert_array_equal(got[3], got[4])
    np.testing.assert_array_equal(got[5, :, 0, 0], maps[0, ::4, 4, 4])


def test_gradcheck_and_torch(rng):
    maps = torch.randn(2, 8, 5, 6, dtype=torch.float64, requires_grad=True)
    boxes = torch.from_numpy(random_boxes(rng, 5, 2, 5, np.float64))

    def function(maps):
        return pyifcn.assemble_rois(maps, boxes, 4, grid=2, pair=True)

    assert torch.autograd.gradcheck(function, maps)
    assert torch.autograd.gradgradcheck(function, maps)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(maps), function(maps))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"score_maps": np.zeros((8, 4, 4))}, TypeError, "score_maps is .* expected 4 dimensions"),
        ({"score_maps": np.zeros((1, 8, 4, 4), int)}, TypeError, "score_maps is int64, expected"),
        ({"grid": 3, "size": 6}, ValueError, r"score_maps has 12 channels, .* multiple of 3 \* 3"),
        ({"pair": True}, ValueError, r"12 channels, with pair expected a multiple of 2 \* 2 \* 2"),
        ({"size": 5}, ValueError, "size is 5, expected a multiple of grid, 2"),
        ({"grid": 0}, ValueError, "grid is 0, expected at least 1"),
        ({"spatial_scale": -1}, ValueError, "spatial_scale is -1, expected a positive number"),
        ({"boxes": np.ones((1, 5), np.float32)}, ValueError, r"boxes\[0\] is of image 1, expected"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {
        "score_maps": np.zeros((1, 12, 4, 4), np.float32),
        "boxes": np.zeros((1, 5), np.float32),
        "size": 4,
        "grid": 2,
    } | change
    with pytest.raises(error, match=message):
        pyifcn.assemble_rois(**arguments)
