"""Pooling in RoIs: every target against a slow reference and torchvision, gradients, bad input."""

import math
from functools import cache, reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn
from pyifcn._array import torch_ops


def round_half_away(x):
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


def pool_bins(low, high, scale, bins, limit):
    """Pixels [start, end) of each bin along one axis, as torchvision's ps_roi_pool has them."""
    kind = type(scale)
    start, end = round_half_away(low * scale), round_half_away(high * scale)
    size = kind(max(end - start, 1)) / kind(bins)
    edges = [
        (math.floor(kind(i) * size) + start, math.ceil(kind(i + 1) * size) + start)
        for i in range(bins)
    ]
    return [(min(max(a, 0), limit), min(max(b, 0), limit)) for a, b in edges]


def pool_pixels(box, scale, size, shape, whole=False):
    """The pixels of each bin, row by row, with their weights, and what divides the sum."""
    height, width = shape if whole else (shape[0] - 1, shape[1] - 1)
    rows = pool_bins(box[1], box[3], scale, size[0], height)
    columns = pool_bins(box[0], box[2], scale, size[1], width)
    for top, bottom in rows:
        for left, right in columns:
            pixels = [(y, x) for y in range(top, bottom) for x in range(left, right)]
            yield [[(p, type(scale)(1))] for p in pixels], max(len(pixels), 1)


def align_taps(low, high, scale, bins, size, ratio):
    """Of each bin along one axis: its samples' (low pixel, high pixel, weights), and how many."""
    kind = type(scale)
    start, end = low * scale - kind(0.5), high * scale - kind(0.5)
    step = (end - start) / kind(bins)
    count = ratio if ratio > 0 else max(math.ceil(step), 0)
    taps = []
    for i in range(bins):
        taps.append([])
        for k in range(count):
            at = kind(i) * step + start + kind(k + 0.5) * step / kind(count)
            if not -1 <= at <= size:
                continue
            at = max(at, kind(0))
            first = min(int(at), size - 1)
            second = min(first + 1, size - 1)
            high_weight = at - kind(first) if second > first else kind(0)
            taps[-1].append((first, second, kind(1) - high_weight, high_weight))
    return taps, count


def align_pixels(box, scale, size, shape, ratio):
    rows, down = align_taps(box[1], box[3], scale, size[0], shape[0], ratio)
    columns, across = align_taps(box[0], box[2], scale, size[1], shape[1], ratio)
    for row in rows:
        for column in columns:
            samples = [
                [
                    ((y0, x0), wy0 * wx0),
                    ((y0, x1), wy0 * wx1),
                    ((y1, x0), wy1 * wx0),
                    ((y1, x1), wy1 * wx1),
                ]
                for y0, y1, wy0, wy1 in row
                for x0, x1, wx0, wx1 in column
            ]
            yield samples if down * across else [], max(down * across, 1)


def each_bin(maps, boxes, size, scale, pixels, group=1):
    """Of each bin: its place in the output, its map, its samples, and what divides their sum.

    `pixels(box, scale, size, shape)` gives the samples of each bin and what divides their sum, a
    sample being pixels with their weights; `group` bins a side share a cell.
    """
    kind = maps.dtype.type
    grid = size[0] // group, size[1] // group
    for n, (image, *box) in enumerate(boxes):
        found = pixels([kind(x) for x in box], kind(scale), size, maps.shape[2:])
        for b, (samples, count) in enumerate(found):
            i, j = divmod(b, size[1])
            for c in range(maps.shape[1] // (grid[0] * grid[1])):
                channel = (c * grid[0] + i // group) * grid[1] + j // group
                yield (n, c, i, j), (int(image), channel), samples, kind(count)


def reference(maps, boxes, size, *arguments):
    """The definition, sum by sum in order."""
    kind = maps.dtype.type
    places = {}
    for place, where, samples, count in each_bin(maps, boxes, size, *arguments):
        total = kind(0)
        for sample in samples:
            terms = [weight * maps[where][pixel] for pixel, weight in sample]
            total += reduce(add, terms)
        places[place] = total / count
    return np.array(list(map(places.get, sorted(places)))).reshape(len(boxes), -1, *size)


def reference_gradient(grad, maps, *arguments):
    """The gradient of the maps for one of the output, sum by sum in order."""
    gradient = np.zeros_like(maps)
    for place, where, samples, count in each_bin(maps, *arguments):
        for sample in samples:
            for pixel, weight in sample:
                gradient[where][pixel] += grad[place] * weight / count
    return gradient


def random_boxes(rng, count, images, side, dtype=np.float32):
    """Boxes that lie inside, across the border and outside, some of them without area."""
    corners = rng.uniform(-0.2 * side, 1.1 * side, (count, 2))
    sizes = rng.choice([0.0, 0.3, 1.0], (count, 2)) * rng.uniform(0, side, (count, 2))
    rows = np.concatenate(
        [rng.integers(0, images, (count, 1)), corners, corners + sizes], 1
    ).astype(dtype)
    rows[:2, 1:] = [[0, 0, side, side], [2.5, 3.5, 8.5, 9.5]]
    return rows


OPERATORS = {
    "pool": (pyifcn.ps_roi_pool, (), pool_pixels),
    "align": (
        pyifcn.ps_roi_align,
        (-1,),
        lambda *a: align_pixels(*a, ratio=-1),
    ),
    "align, 2 samples": (
        pyifcn.ps_roi_align,
        (2,),
        lambda *a: align_pixels(*a, ratio=2),
    ),
}


def gradient_pixels(name):
    """The gradient of torchvision's ps_roi_pool reaches the last row and column."""
    if name == "pool":
        return lambda *a: pool_pixels(*a, whole=True)
    return OPERATORS[name][2]


@cache
def case(name, classes, dtype):
    """Maps, boxes, a gradient, and what they give."""
    rng, size = np.random.default_rng(classes), (2, 3)
    maps = rng.standard_normal((2, classes * 6, 13, 17)).astype(dtype)
    boxes = random_boxes(rng, 12, 2, 30, dtype)
    expected = reference(maps, boxes, size, 0.5, OPERATORS[name][2])
    grad = rng.standard_normal(expected.shape).astype(dtype)
    gradient = reference_gradient(grad, maps, boxes, size, 0.5, gradient_pixels(name))
    return maps, boxes, grad, expected, gradient


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [1, 4, 9, 17, 33])
@pytest.mark.parametrize("name", OPERATORS)
def test_equals_the_reference(target, name, classes, dtype):
    operator, arguments, _ = OPERATORS[name]
    maps, boxes, grad, expected, gradient = case(name, classes, dtype)
    got = operator(maps, boxes, (2, 3), 0.5, *arguments)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected)
    tensor = torch.from_numpy(maps).requires_grad_()
    out = operator(tensor, torch.from_numpy(boxes), (2, 3), 0.5, *arguments)
    (got,) = torch.autograd.grad(out, tensor, torch.from_numpy(grad))
    np.testing.assert_array_equal(got.numpy(), gradient)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_geometry(data):
    name = data.draw(st.sampled_from(list(OPERATORS)))
    operator, arguments, pixels = OPERATORS[name]
    size = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    classes = data.draw(st.integers(1, 5))
    scale = data.draw(st.sampled_from([1.0, 0.3, 0.0625, 2.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    maps = rng.standard_normal((1, classes * size[0] * size[1], *shape)).astype(np.float32)
    boxes = random_boxes(rng, data.draw(st.integers(2, 6)), 1, max(shape) / scale)
    boxes[1:, 3:] = boxes[1:, 3:] - rng.choice([0, 5])  # some have their corners exchanged
    if name != "pool":
        boxes[:, 3:] = np.maximum(boxes[:, 3:], boxes[:, 1:3])
    np.testing.assert_array_equal(
        operator(maps, boxes, size, scale, *arguments),
        reference(maps, boxes, size, scale, pixels),
    )


def torchvision_operators():
    try:
        import torchvision.ops as ops
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    return ops


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPERATORS)
def test_equals_torchvision(rng, name, dtype):
    operator, arguments, _ = OPERATORS[name]
    theirs = getattr(torchvision_operators(), operator.__name__)
    maps = torch.from_numpy(rng.standard_normal((2, 9 * 12, 30, 41))).to(dtype).requires_grad_()
    boxes = torch.from_numpy(random_boxes(rng, 200, 2, 600)).to(dtype)
    if name == "align":  # theirs divides 0 by 0 where there is no area
        boxes = boxes[(boxes[:, 3:] > boxes[:, 1:3]).all(1)]
    expected = theirs(maps, boxes, (3, 4), 0.0625, *arguments)
    got = operator(maps, boxes, (3, 4), 0.0625, *arguments)
    assert torch.equal(got, expected)
    grad = torch.randn_like(got)
    assert torch.equal(
        torch.autograd.grad(got, maps, grad)[0], torch.autograd.grad(expected, maps, grad)[0]
    )
    listed = [boxes[boxes[:, 0] == i, 1:] for i in range(2)]
    assert torch.equal(
        operator(maps, listed, (3, 4), 0.0625, *arguments),
        theirs(maps, listed, (3, 4), 0.0625, *arguments),
    )


@pytest.mark.parametrize("name", OPERATORS)
def test_odd_boxes(target, rng, name):
    operator, arguments, _ = OPERATORS[name]
    maps = rng.standard_normal((1, 5 * 4, 9, 9)).astype(np.float32)
    nan, inf = np.nan, np.inf
    boxes = np.array(
        [
            [0, nan, 1, 5, 5],
            [0, 1, 1, 5, nan],
            [0, 100, 100, 120, 120],
            [0, -50, -50, -20, -20],
            [0, -inf, -inf, inf, inf],
            [0, -1e30, -1e30, 1e30, 1e30],
            [0, -3e38, 0, 3e38, 9],
            [0, inf, inf, inf, inf],
        ],
        np.float32,
    )
    got = operator(maps, boxes, 2, 1.0, *arguments)
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got[[0, 1, 2, 3, 7]], 0)
    np.testing.assert_array_equal(got[4], got[5])


def test_a_box_without_area(rng):
    maps = rng.standard_normal((1, 5 * 4, 9, 9)).astype(np.float32)
    box = np.array([[0, 4, 4, 4, 4]], np.float32)
    np.testing.assert_array_equal(
        pyifcn.ps_roi_pool(maps, box, 2)[0], maps[0, :, 4, 4].reshape(5, 2, 2)
    )
    np.testing.assert_array_equal(pyifcn.ps_roi_align(maps, box, 2), 0)
    middle = maps[0, :, 3:5, 3:5].mean((1, 2)).reshape(5, 2, 2)
    np.testing.assert_allclose(pyifcn.ps_roi_align(maps, box, 2, 1, 3)[0], middle, rtol=1e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_empty(target, name):
    operator, arguments, _ = OPERATORS[name]
    none = np.zeros((0, 5), np.float32)
    assert operator(np.zeros((2, 8, 5, 6), np.float32), none, 2, 1, *arguments).shape == (
        0,
        2,
        2,
        2,
    )
    assert operator(np.zeros((0, 8, 5, 6), np.float32), [], 2, 1, *arguments).shape == (0, 2, 2, 2)
    one = np.array([[0, 0, 0, 5, 5]], np.float32)
    for shape in ((1, 0, 5, 6), (1, 8, 0, 6), (1, 8, 5, 0)):
        got = operator(np.ones(shape, np.float32), one, 2, 1, *arguments)
        np.testing.assert_array_equal(got, np.zeros((1, shape[1] // 4, 2, 2), np.float32))
    maps = torch.ones(1, 8, 5, 6, requires_grad=True)
    operator(maps, torch.zeros(0, 5), 2, 1, *arguments).sum().backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(rng, name, dtype):
    operator, arguments, _ = OPERATORS[name]
    maps = torch.from_numpy(rng.standard_normal((2, 9 * 6, 20, 21))).to(dtype).requires_grad_()
    boxes = torch.from_numpy(random_boxes(rng, 20, 2, 40)).to(dtype)
    wide = maps.detach().float().requires_grad_()
    expected = operator(wide, boxes.float(), (2, 3), 0.5, *arguments)
    for given_boxes in (boxes, boxes.float()):
        got = operator(maps, given_boxes, (2, 3), 0.5, *arguments)
        assert got.dtype == dtype
        assert torch.equal(got, expected.to(dtype))
    (grad,) = torch.autograd.grad(got.sum(), maps)
    (expected,) = torch.autograd.grad(expected.sum(), wide)
    assert grad.dtype == dtype
    assert torch.equal(grad, expected.to(dtype))
    if dtype == torch.float16:
        half = operator(maps.detach().numpy(), boxes.numpy(), (2, 3), 0.5, *arguments)
        np.testing.assert_array_equal(half, got.detach().numpy())


def test_layouts_and_lists(rng):
    maps = rng.standard_normal((20, 21, 8, 2)).astype(np.float32).transpose(3, 2, 0, 1)
    boxes = random_boxes(rng, 10, 2, 20)
    expected = pyifcn.ps_roi_pool(np.ascontiguousarray(maps), boxes, 2)
    np.testing.assert_array_equal(pyifcn.ps_roi_pool(maps, boxes[::-1], 2), expected[::-1])
    listed = [boxes[boxes[:, 0] == i, 1:] for i in range(2)]
    order = np.argsort(boxes[:, 0], kind="stable")
    np.testing.assert_array_equal(pyifcn.ps_roi_pool(maps, listed, 2), expected[order])
    tensors = [torch.from_numpy(rows) for rows in listed]
    got = pyifcn.ps_roi_pool(torch.from_numpy(maps), tensors, 2)
    np.testing.assert_array_equal(got.numpy(), expected[order])


@pytest.mark.parametrize("name", OPERATORS)
def test_the_number_of_threads_changes_nothing(rng, name):
    operator, arguments, _ = OPERATORS[name]
    maps = torch.from_numpy(rng.standard_normal((2, 21 * 9, 40, 50), dtype=np.float32))
    boxes = torch.from_numpy(random_boxes(rng, 100, 2, 60))
    threads, results = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        maps = maps.detach().requires_grad_()
        out = operator(maps, boxes, 3, 1.0, *arguments)
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        results.append((out, *torch.autograd.grad((out * weights).sum(), maps)))
    torch.set_num_threads(threads)
    assert all(map(torch.equal, *results))


INSIDE = torch.tensor([[0, 0.7, 1.2, 4.6, 5.1], [1, 2, 2, 5, 5], [1, 1, 0, 5, 4]]).double()


@pytest.mark.parametrize("name", OPERATORS)
def test_gradcheck(name):
    operator, arguments, _ = OPERATORS[name]
    maps = torch.randn(2, 8, 7, 8, dtype=torch.float64, requires_grad=True)

    def function(maps):
        return operator(maps, INSIDE, 2, 1.0, *arguments)

    assert torch.autograd.gradcheck(function, maps)
    assert torch.autograd.gradgradcheck(function, maps)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch 2.15's own
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators
    maps = torch.randn(2, 8, 7, 8, requires_grad=True)
    grad = torch.randn(3, 2, 2, 2, requires_grad=True)
    boxes = INSIDE.float()
    arguments = (maps, boxes, "align", [2, 2], [2, 2], 1.0, 2)
    torch.library.opcheck(torch.ops.pyifcn.ps_roi.default, arguments)
    arguments = (grad, boxes, [2, 8, 7, 8], "pool_whole", [2, 2], 1.0, 0)
    torch.library.opcheck(torch.ops.pyifcn.ps_roi_backward.default, arguments)


def test_compile_in_one_graph(rng):
    maps = torch.from_numpy(rng.standard_normal((2, 12, 20, 20), dtype=np.float32)).requires_grad_()
    boxes = torch.from_numpy(random_boxes(rng, 5, 2, 20))

    def loss(maps):
        listed = [boxes[:2, 1:], boxes[2:, 1:]]
        pooled = pyifcn.ps_roi_pool(maps, boxes, 2) * pyifcn.ps_roi_align(maps, listed, 2)
        return pooled.sigmoid().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (expected,) = torch.autograd.grad(loss(maps), maps)
    (got,) = torch.autograd.grad(compiled(maps), maps)
    torch.testing.assert_close(got, expected)
    with torch.no_grad():
        torch.testing.assert_close(compiled(maps), loss(maps))


MAPS = np.zeros((2, 8, 6, 7), np.float32)
BOXES = np.array([[0, 1, 1, 4, 4], [1, 0, 0, 5, 5]], np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"input": [[1.0]]}, TypeError, "input is a list, expected a NumPy array"),
        ({"input": MAPS[0]}, TypeError, r"\(8, 6, 7\), expected 4 dimensions"),
        ({"input": MAPS.astype(int)}, TypeError, "input is int64, expected float16"),
        (
            {"input": MAPS[:, :7]},
            ValueError,
            r"input has 7 channels, expected a multiple of 2 \* 2",
        ),
        ({"boxes": BOXES[0]}, TypeError, "boxes .*, expected 2 dimensions"),
        ({"boxes": BOXES.astype(int)}, TypeError, "boxes is int64, expected float32"),
        ({"boxes": BOXES.astype(float)}, TypeError, "boxes is float64, expected float32"),
        (
            {"boxes": torch.zeros(1, 5)},
            TypeError,
            "boxes is a .* tensor .* expected a NumPy",
        ),
        ({"boxes": BOXES[:, :4]}, ValueError, r"boxes has shape \(2, 4\), expected \(N, 5\)"),
        ({"boxes": BOXES + 1}, ValueError, r"boxes\[1\] is of image 2, expected .* below 2"),
        ({"boxes": BOXES - 1}, ValueError, r"boxes\[0\] is of image -1, expected"),
        ({"boxes": BOXES + 0.5}, ValueError, r"boxes\[0\] is of image 0.5, expected"),
        ({"boxes": BOXES * np.nan}, ValueError, r"boxes\[0\] is of image nan, expected"),
        ({"boxes": [BOXES[:, 1:]]}, ValueError, "boxes lists 1 arrays, expected one for each of 2"),
        (
            {"boxes": [BOXES, BOXES]},
            ValueError,
            r"boxes\[0\] has shape \(2, 5\), expected \(L, 4\)",
        ),
        ({"boxes": [[1], [2]]}, TypeError, r"boxes\[0\] is a list, expected a NumPy array"),
        ({"output_size": 0}, ValueError, "output_size is 0, expected at least 1"),
        ({"output_size": 2.0}, TypeError, "output_size is 2.0, expected an integer"),
        ({"output_size": (2, 0)}, ValueError, r"output_size\[1\] is 0, expected at least 1"),
        ({"output_size": (2, 2, 2)}, TypeError, "output_size has 3 elements"),
        ({"spatial_scale": 0}, ValueError, "spatial_scale is 0, expected a positive number"),
        ({"spatial_scale": np.inf}, ValueError, "spatial_scale is inf, expected a positive number"),
        ({"spatial_scale": 1e60}, ValueError, r"spatial_scale is 1e\+60, expected"),
        ({"spatial_scale": "1"}, TypeError, "spatial_scale is '1', expected a number"),
    ],
)
@pytest.mark.parametrize("operator", [pyifcn.ps_roi_pool, pyifcn.ps_roi_align])
def test_bad_input(operator, change, error, message):
    arguments = {"input": MAPS, "boxes": BOXES, "output_size": 2} | change
    with pytest.raises(error, match=message):
        operator(**arguments)


def test_bad_sampling_ratio():
    with pytest.raises(TypeError, match=r"sampling_ratio is 1.5, expected an integer"):
        pyifcn.ps_roi_align(MAPS, BOXES, 2, 1.0, 1.5)
    with pytest.raises(ValueError, match=f"sampling_ratio is {2**40}, expected less than"):
        pyifcn.ps_roi_align(MAPS, BOXES, 2, 1.0, 2**40)


@pytest.mark.parametrize(
    ("maps_shape", "rule", "grid", "message"),
    [
        ([1, 9, 8, 8], "pool", [3, 3], "do not fit together"),
        ([1, 90, 8, 8], "bins", [3, 3], "rule is 'bins'"),
        ([1, 40, 8, 8], "pool", [2, 2], "expected to divide grad_out"),
    ],
)
def test_the_raw_operator_refuses_what_does_not_fit(maps_shape, rule, grid, message):
    grad, boxes = torch.ones(1, 10, 3, 3), torch.tensor([[0, 1, 1, 5, 5.0]])
    with pytest.raises(ValueError, match=message):
        torch_ops().ps_roi_backward(grad, boxes, maps_shape, rule, grid, 1.0, 0)
