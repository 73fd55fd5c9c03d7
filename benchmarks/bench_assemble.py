"""Assembling, beside the ways to write it in torch."""

import numpy as np
import pytest
import torch

import pyifcn

GRID, SIZE, HEIGHT, WIDTH, COUNT = 5, 21, 75, 112, 1000  # the paper's, for an image of 600 x 896
CELLS = (2 * torch.arange(SIZE) + 1) * GRID // (2 * SIZE)
OFFSETS = torch.arange(SIZE) - SIZE // 2


@pytest.fixture(scope="module")
def maps():
    return torch.from_numpy(
        np.random.default_rng(0).standard_normal((1, GRID**2, HEIGHT, WIDTH), dtype=np.float32)
    )


@pytest.fixture(scope="module")
def windows():
    rng = np.random.default_rng(1)
    centres = [np.zeros(COUNT, int), rng.integers(0, HEIGHT, COUNT), rng.integers(0, WIDTH, COUNT)]
    return torch.from_numpy(np.stack(centres, 1))


def dense_by_slices(maps):
    """A view of shifted slices for each pixel of the window, stacked, then put in order."""
    half = SIZE // 2
    padded = torch.nn.functional.pad(maps, (half, half, half, half))
    slices = [
        padded[:, CELLS[i] * GRID + CELLS[j], i : i + HEIGHT, j : j + WIDTH]
        for i in range(SIZE)
        for j in range(SIZE)
    ]
    stacked = torch.stack(slices, 1).view(-1, SIZE, SIZE, HEIGHT, WIDTH)
    return stacked.permute(0, 3, 4, 1, 2).contiguous()


def windows_by_indexing(maps, windows):
    half = SIZE // 2
    padded = torch.nn.functional.pad(maps, (half, half, half, half))
    rows = windows[:, 1, None, None] + OFFSETS[:, None] + half
    columns = windows[:, 2, None, None] + OFFSETS + half
    return padded[windows[:, 0, None, None], CELLS[:, None] * GRID + CELLS, rows, columns]


@pytest.mark.parametrize("who", ["pyifcn", "torch slices", "clone of the output", "copy_ of it"])
def test_assemble_dense(compare, maps, who):
    expected = pyifcn.assemble_dense(maps, SIZE)
    target = torch.empty_like(expected)
    ways = {
        "pyifcn": lambda: pyifcn.assemble_dense(maps, SIZE),
        "torch slices": lambda: dense_by_slices(maps),
        "clone of the output": expected.clone,  # allocates, as we do
        "copy_ of it": lambda: target.copy_(expected),  # into memory that is there
    }
    assert torch.equal(ways[who](), expected)
    compare("assemble_dense, 25 maps 75 x 112, 21 x 21", who, ways[who], expected.nbytes)


@pytest.mark.parametrize("who", ["pyifcn", "torch indexing"])
def test_assemble(compare, maps, windows, who):
    ways = {
        "pyifcn": lambda: pyifcn.assemble(maps, windows, SIZE),
        "torch indexing": lambda: windows_by_indexing(maps, windows),
    }
    assert torch.equal(ways[who](), pyifcn.assemble(maps, windows, SIZE))
    compare("assemble, 1,000 windows of the same maps", who, ways[who], COUNT * SIZE * SIZE * 4)
