"""Pooling in RoIs, beside torchvision."""

import numpy as np
import pytest
import torch

import pyifcn

GRID, CLASSES, HEIGHT, WIDTH, COUNT = 7, 21, 38, 63, 300  # R-FCN on 600 x 1000 pixels at stride 16
SCALE = 1 / 16


@pytest.fixture(scope="module")
def maps():
    shape = (1, CLASSES * GRID**2, HEIGHT, WIDTH)
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))


@pytest.fixture(scope="module")
def boxes():
    """Objects of 40 to 400 pixels a side inside the image."""
    rng = np.random.default_rng(1)
    sizes = np.exp(rng.uniform(np.log(40), np.log(400), (COUNT, 2)))
    corners = rng.uniform(0, [1000, 600] - sizes)
    rows = np.concatenate([np.zeros((COUNT, 1)), corners, corners + sizes], 1)
    return torch.from_numpy(rows.astype(np.float32))


def ways(name):
    ways = {"pyifcn": getattr(pyifcn, name)}
    try:
        import torchvision
    except (ImportError, RuntimeError):
        return ways
    return ways | {"torchvision": getattr(torchvision.ops, name)}


NAMES = ["ps_roi_pool", "ps_roi_align"]
WHO = ["pyifcn", "torchvision"]


def way(name, who):
    found = ways(name)
    if who not in found:
        pytest.skip(f"{who} cannot be imported")
    return found[who]


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", NAMES)
def test_forward(compare, maps, boxes, name, who):
    operator = way(name, who)
    expected = way(name, "pyifcn")(maps, boxes, GRID, SCALE)

    def work():
        return operator(maps, boxes, GRID, SCALE)

    assert torch.equal(work(), expected)
    compare(f"{name}, 1,029 maps 38 x 63, 300 RoIs, 7 x 7", who, work)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", NAMES)
def test_backward(compare, maps, boxes, name, who):
    leaf = maps.clone().requires_grad_()
    outs = {each: operator(leaf, boxes, GRID, SCALE) for each, operator in ways(name).items()}
    if who not in outs:
        pytest.skip(f"{who} cannot be imported")
    grad = torch.linspace(-1, 1, outs[who].numel()).view_as(outs[who])

    def work(who=who):
        return torch.autograd.grad(outs[who], leaf, grad, retain_graph=True)[0]

    assert torch.equal(work(), work("pyifcn"))
    compare(f"backward of {name}", who, work)


def test_assemble_rois(compare, boxes):
    shape = (1, 2 * CLASSES * GRID**2, HEIGHT, WIDTH)
    maps = torch.from_numpy(np.random.default_rng(2).standard_normal(shape, dtype=np.float32))

    def work():
        return pyifcn.assemble_rois(maps, boxes, spatial_scale=SCALE, pair=True)

    written = work().nbytes
    compare("assemble_rois, FCIS's 2,058 maps, 300 RoIs, 21 x 21", "pyifcn", work, written)
