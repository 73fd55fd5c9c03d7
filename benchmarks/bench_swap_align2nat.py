"""swap_align2nat, beside the plain torch way: padding, and a sum of slices for each unit.

detectron2's own operator runs on a GPU alone.
"""

import math

import pytest
import torch

import pyifcn

SIDE, HEIGHT, WIDTH = 15, 50, 76  # TensorMask's windows on a map at stride 16
PAD = -6.0


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, SIDE * SIDE, HEIGHT, WIDTH, generator=generator)


def near(at):
    """The two neighbours of a place, and their weights."""
    low = math.floor(at)
    return [(low, 1 - (at - low)), (low + 1, at - low)]


def plain(x, factor):
    out_side = factor * SIDE
    size = [-(-n // factor) for n in (HEIGHT, WIDTH)]
    border = out_side + factor
    sides = (border, border, border, border, 1, 1, 1, 1)
    windows = x.view(-1, SIDE, SIDE, HEIGHT, WIDTH)
    padded = torch.nn.functional.pad(windows, sides, value=PAD)

    def part(v, u, y, x):
        rows = slice(border + y, border + y + factor * size[0], factor)
        return padded[:, v + 1, u + 1, rows, border + x : border + x + factor * size[1] : factor]

    def unit(v, u):
        shift, middle = 0.5 - out_side / 2, 0.5 / factor - 0.5
        return sum(
            a * b * c * d * part(in_v, in_u, y, x)
            for in_v, a in near(v / factor + middle)
            for in_u, b in near(u / factor + middle)
            for y, c in near(v + shift)
            for x, d in near(u + shift)
            if a * b * c * d
        )

    units = [unit(v, u) for v in range(out_side) for u in range(out_side)]
    return torch.stack(units, 1)


WAYS = {"pyifcn": lambda x, factor: pyifcn.swap_align2nat(x, factor, PAD), "torch": plain}


@pytest.mark.parametrize("who", WAYS)
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_forward(compare, inputs, factor, who):
    def work(who=who):
        return WAYS[who](inputs, factor)

    torch.testing.assert_close(work("pyifcn"), work("torch"), rtol=1e-4, atol=1e-5)
    compare(f"swap_align2nat, 15 x 15 units, 50 x 76 pixels, lambda {factor}", who, work)


@pytest.mark.parametrize("who", WAYS)
@pytest.mark.parametrize("factor", [1])
def test_backward(compare, inputs, factor, who):
    leaf = inputs.clone().requires_grad_()
    outs = {each: way(leaf, factor) for each, way in WAYS.items()}
    grad = torch.linspace(-1, 1, outs[who].numel()).view_as(outs[who])

    def work(who=who):
        return torch.autograd.grad(outs[who], leaf, grad, retain_graph=True)[0]

    torch.testing.assert_close(work("pyifcn"), work("torch"), rtol=1e-4, atol=1e-5)
    compare(f"backward of swap_align2nat, lambda {factor}", who, work)
