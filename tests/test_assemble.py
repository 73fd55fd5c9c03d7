"""Assembling: every target against a slow reference, gradients, torch.compile, bad input."""

import contextlib
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn
from pyifcn._array import torch_ops

FLOATS = (np.float16, np.float32, np.float64)


def reference(score_maps, windows, size, cells="nearest", pad_value=0.0):
    """The definition, element by element."""
    _, channels, height, width = score_maps.shape
    grid = int(channels**0.5)
    if cells == "nearest":
        cell = [(2 * i + 1) * grid // (2 * size) for i in range(size)]
    else:
        cell = [i * grid // size for i in range(size)]
    out = np.full((len(windows), size, size), pad_value, score_maps.dtype)
    for n, (image, y, x) in enumerate(windows):
        for i in range(size):
            for j in range(size):
                row, column = y - size // 2 + i, x - size // 2 + j
                if 0 <= row < height and 0 <= column < width:
                    channel = cell[i] * grid + cell[j]
                    out[n, i, j] = score_maps[image, channel, row, column]
    return out


def every_window(images, height, width):
    grid = np.meshgrid(np.arange(images), np.arange(height), np.arange(width), indexing="ij")
    return np.stack(grid, -1).reshape(-1, 3)


def random_windows(rng, count, shape):
    images, _, height, width = shape
    return np.stack([rng.integers(0, n, count) for n in (images, height, width)], 1)


def random_maps(rng, shape, dtype=np.float32):
    maps = rng.standard_normal(shape).astype(dtype)
    maps.reshape(-1)[:: max(1, maps.size // 7)] = np.nan
    return maps


SIZES = (
    (1, 1),
    (1, 7),
    (2, 8),
    (3, 7),
    (3, 9),
    (5, 16),
    (5, 21),
    (7, 21),
    (4, 33),
    (9, 40),
    (6, 64),
)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("grid", "size"), SIZES)
@pytest.mark.parametrize("cells", ["nearest", "floor"])
def test_equals_the_reference(target, rng, grid, size, cells, dtype):
    maps = random_maps(rng, (2, grid * grid, 37, 43), dtype)
    windows = random_windows(rng, 12, maps.shape)
    windows[:3] = [[0, 0, 0], [1, 36, 42], [0, 18, 21]]
    expected = reference(maps, windows, size, cells, -2.5)
    got = pyifcn.assemble(maps, windows, size, cells=cells, pad_value=-2.5)
    assert got.dtype == maps.dtype
    np.testing.assert_array_equal(got, expected)
    dense = pyifcn.assemble_dense(maps, size, cells=cells, pad_value=-2.5)
    np.testing.assert_array_equal(dense[tuple(windows.T)], expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 30), (30, 1), (5, 7)])
def test_maps_smaller_than_a_window(target, rng, height, width):
    maps = random_maps(rng, (1, 25, height, width))
    windows = every_window(1, height, width)
    expected = reference(maps, windows, 21, pad_value=1.0)
    np.testing.assert_array_equal(pyifcn.assemble(maps, windows, pad_value=1.0), expected)
    dense = pyifcn.assemble_dense(maps, pad_value=1.0)
    np.testing.assert_array_equal(dense.reshape(-1, 21, 21), expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_geometry(data):
    grid = data.draw(st.integers(1, 6))
    size = data.draw(st.integers(grid, 40))
    shape = (
        data.draw(st.integers(1, 2)),
        grid * grid,
        *data.draw(st.tuples(*[st.integers(1, 24)] * 2)),
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    maps, windows = random_maps(rng, shape), random_windows(rng, 5, shape)
    np.testing.assert_array_equal(
        pyifcn.assemble(maps, windows, size), reference(maps, windows, size)
    )


@pytest.mark.parametrize("shape", [(0, 25, 5, 5), (1, 25, 0, 5), (1, 25, 5, 0)])
def test_empty(target, shape):
    maps = np.zeros(shape, np.float32)
    assert pyifcn.assemble(maps, np.zeros((0, 3), np.int64)).shape == (0, 21, 21)
    assert pyifcn.assemble_dense(maps).shape == (shape[0], *shape[2:], 21, 21)


def test_no_windows_have_no_gradient(target):
    maps = torch.ones(1, 25, 26, 10, requires_grad=True)
    pyifcn.assemble(maps, torch.zeros(0, 3, dtype=torch.int64)).sum().backward()
    assert not maps.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_gives_what_numpy_gives(rng, dtype):
    maps = torch.from_numpy(random_maps(rng, (2, 25, 30, 31))).to(dtype)
    windows = torch.from_numpy(random_windows(rng, 9, maps.shape))
    expected = reference(maps.double().numpy(), windows.numpy(), 21, pad_value=-0.5)
    got = pyifcn.assemble(maps, windows, pad_value=-0.5)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.double().numpy(), expected)
    dense = pyifcn.assemble_dense(maps, pad_value=-0.5)
    np.testing.assert_array_equal(dense.double().numpy()[tuple(windows.numpy().T)], expected)


def test_layouts(rng):
    maps = random_maps(rng, (25, 30, 31, 2)).transpose(3, 0, 1, 2)
    windows = random_windows(rng, 5, maps.shape).astype(np.int32)
    expected = reference(maps, windows, 21)
    np.testing.assert_array_equal(pyifcn.assemble(maps, windows[::-1]), expected[::-1])
    np.testing.assert_array_equal(
        pyifcn.assemble(torch.from_numpy(maps), torch.from_numpy(windows)), expected
    )
    raw = np.zeros(maps.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(maps.shape)
    raw[...] = maps
    assert not raw.flags.aligned
    np.testing.assert_array_equal(pyifcn.assemble(raw, windows), expected)


def test_the_number_of_threads_changes_nothing(rng):
    maps = torch.from_numpy(rng.standard_normal((2, 25, 40, 50), dtype=np.float32)).requires_grad_()
    threads, grads = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        dense = pyifcn.assemble_dense(maps)
        weights = torch.linspace(-1, 1, dense.numel()).view_as(dense)
        grads.append(torch.autograd.grad((dense * weights).sum(), maps)[0])
    torch.set_num_threads(threads)
    assert torch.equal(*grads)


def reference_gradient(grad_out, windows, shape):
    """Each pixel's gradient, added where it was read; in the order of the windows."""
    positions = np.arange(np.prod(shape), dtype=np.float64).reshape(shape) + 1
    read = reference(positions, windows, grad_out.shape[-1]).astype(np.int64)
    gradient = np.zeros(np.prod(shape) + 1, grad_out.dtype)
    np.add.at(gradient, read.reshape(-1), grad_out.reshape(-1))
    return gradient[1:].reshape(shape)


@pytest.mark.parametrize(("grid", "size"), [(1, 5), (3, 9), (5, 21), (4, 17)])
def test_gradient_equals_the_reference(target, rng, grid, size):
    shape = (2, grid * grid, 11, 13)
    maps = torch.zeros(shape, dtype=torch.float32, requires_grad=True)
    for windows in (random_windows(rng, 30, shape), every_window(2, 11, 13)):
        grad = rng.standard_normal((len(windows), size, size), dtype=np.float32)
        expected = reference_gradient(grad, windows, shape)
        out = pyifcn.assemble(maps, torch.from_numpy(windows), size)
        (got,) = torch.autograd.grad(out, maps, torch.from_numpy(grad))
        np.testing.assert_array_equal(got.numpy(), expected)
    dense = pyifcn.assemble_dense(maps, size)
    (got,) = torch.autograd.grad(dense, maps, torch.from_numpy(grad).view_as(dense))
    np.testing.assert_array_equal(got.numpy(), expected)


def test_gradcheck():
    maps = torch.randn(1, 9, 5, 6, dtype=torch.float64, requires_grad=True)
    windows = torch.tensor([[0, 0, 0], [0, 4, 5], [0, 2, 3], [0, 2, 3]])
    for function in (
        lambda m: pyifcn.assemble(m, windows, 7),
        lambda m: pyifcn.assemble_dense(m, 5),
    ):
        assert torch.autograd.gradcheck(function, maps)
        assert torch.autograd.gradgradcheck(function, maps)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch 2.15's own
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators
    maps = torch.randn(2, 9, 8, 9, requires_grad=True)
    windows = torch.tensor([[0, 0, 0], [1, 7, 8]])
    torch.library.opcheck(torch.ops.pyifcn.assemble.default, (maps, windows, 7, "nearest", 0.0))
    torch.library.opcheck(torch.ops.pyifcn.assemble_dense.default, (maps, 7, "floor", 1.0))
    grad = torch.randn(2, 7, 7, requires_grad=True)
    torch.library.opcheck(
        torch.ops.pyifcn.assemble_backward.default, (grad, windows, [2, 9, 8, 9], "nearest")
    )


def test_compile_in_one_graph(rng):
    maps = torch.from_numpy(rng.standard_normal((1, 9, 20, 20), dtype=np.float32)).requires_grad_()
    windows = torch.from_numpy(random_windows(rng, 4, maps.shape))

    def loss(maps):
        return (pyifcn.assemble(maps, windows, 9).sigmoid() * 2).sum() + pyifcn.assemble_dense(
            maps, 9
        ).mean()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (expected,) = torch.autograd.grad(loss(maps), maps)
    (got,) = torch.autograd.grad(compiled(maps), maps)
    torch.testing.assert_close(got, expected)
    with torch.no_grad():
        torch.testing.assert_close(compiled(maps), loss(maps))


MAPS = np.zeros((1, 25, 30, 40), np.float32)
WINDOWS = np.zeros((2, 3), np.int64)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"score_maps": [[1.0]]},
            TypeError,
            "score_maps is a list, expected a NumPy array",
        ),
        (
            {"score_maps": MAPS[0]},
            TypeError,
            r"\(25, 30, 40\), expected 4 dimensions",
        ),
        ({"score_maps": MAPS.astype(int)}, TypeError, "score_maps is int64, expected float16"),
        ({"score_maps": MAPS[:, :24]}, ValueError, "score_maps has 24 channels, expected K . K"),
        ({"score_maps": MAPS[:, :0]}, ValueError, "score_maps has 0 channels"),
        (
            {"score_maps": MAPS.astype(complex)},
            TypeError,
            "score_maps is complex128, expected",
        ),
        ({"windows": WINDOWS[0]}, TypeError, r"windows .*, expected 2 dimensions"),
        ({"windows": WINDOWS * 0.5}, TypeError, "windows is a float64 array .* expected integers"),
        ({"windows": WINDOWS[:, :2]}, ValueError, r"windows has shape \(2, 2\), expected \(N, 3\)"),
        (
            {"windows": WINDOWS - 1},
            ValueError,
            r"windows\[0\] is \(-1, -1, -1\), outside",
        ),
        (
            {"windows": WINDOWS + np.array([0, 30, 0])},
            ValueError,
            r"windows\[0\] is \(0, 30, 0\), outside",
        ),
        (
            {"windows": WINDOWS + np.array([0, 0, 40])},
            ValueError,
            r"windows\[0\] is \(0, 0, 40\), outside",
        ),
        (
            {"windows": torch.zeros(2, 3, dtype=int)},
            TypeError,
            "windows is an .* tensor .* expected a NumPy",
        ),
        ({"size": 4}, ValueError, "size is 4, expected at least the grid side 5"),
        ({"size": 0}, ValueError, "size is 0, expected at least 1"),
        ({"size": 21.0}, TypeError, "size is 21.0, expected an integer"),
        ({"cells": "round"}, ValueError, "cells is 'round', expected 'nearest' or 'floor'"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"score_maps": MAPS, "windows": WINDOWS} | change
    with pytest.raises(error, match=message):
        pyifcn.assemble(**arguments)


def test_too_large():
    with pytest.raises((ValueError, MemoryError)):
        pyifcn.assemble(MAPS, WINDOWS, size=2**40)
    with pytest.raises((ValueError, MemoryError)):
        pyifcn.assemble_dense(np.broadcast_to(MAPS[:, :, :1, :1], (1, 25, 2**20, 1)), size=2**19)


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 1, 1, 3, 3), None), ((2, 3, 3), 1), ((1, 3, 4), 1)]
)
def test_the_raw_operator_refuses_what_does_not_fit(shape, count):
    windows = None if count is None else torch.zeros((count, 3), dtype=torch.int64)
    with pytest.raises(ValueError, match="grad_out does not fit"):
        torch_ops().assemble_backward(torch.ones(shape), windows, [1, 1, 300, 300], "nearest")


def test_windows_that_other_threads_change():
    maps, windows = np.zeros((1, 1, 64, 64), np.float32), np.zeros((50_000, 3), np.int64)
    stop = threading.Event()

    def change():
        while not stop.is_set():
            windows[:] = 1 << 40
            windows[:] = 0

    other = threading.Thread(target=change)
    other.start()
    for _ in range(100):
        with contextlib.suppress(ValueError):
            pyifcn.assemble(maps, windows, 3)
    stop.set()
    other.join()
