"""Assembling from prototypes, beside the plain torch way: a matrix product, a sigmoid, a crop."""

import pytest
import torch

import pyifcn

SIDE, PROTOTYPES, COUNT = 138, 32, 100  # YOLACT on 550 x 550 pixels


@pytest.fixture(scope="module")
def inputs():
    """Prototypes, coefficients, and boxes of 4 to 84 pixels a side."""
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.randn(PROTOTYPES, SIDE, SIDE, generator=generator)
    coefficients = torch.randn(COUNT, PROTOTYPES, generator=generator)
    corners = 100 * torch.rand(COUNT, 2, generator=generator)
    ends = corners + 80 * torch.rand(COUNT, 2, generator=generator) ** 2 + 4
    return prototypes, coefficients, torch.cat([corners, ends.clamp(max=SIDE)], 1)


def plain(prototypes, coefficients, boxes):
    masks = (coefficients @ prototypes.flatten(1)).sigmoid().view(-1, SIDE, SIDE)
    if boxes is None:
        return masks
    x, y = torch.arange(SIDE).view(1, 1, -1), torch.arange(SIDE).view(1, -1, 1)
    x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
    return masks * ((x >= x1) & (x < x2) & (y >= y1) & (y < y2))


WAYS = {"pyifcn": pyifcn.assemble_prototypes, "torch": plain}
NAME = "32 prototypes 138 x 138, 100 detections"


@pytest.mark.parametrize("who", WAYS)
@pytest.mark.parametrize("crop", [True, False])
def test_forward(compare, inputs, who, crop):
    prototypes, coefficients, boxes = inputs
    boxes = boxes if crop else None

    def work(who=who):
        return WAYS[who](prototypes, coefficients, boxes)

    torch.testing.assert_close(work("pyifcn"), work("torch"), rtol=1e-4, atol=1e-5)
    compare(f"{NAME}, {'in boxes' if crop else 'whole'}", who, work)


@pytest.mark.parametrize("who", WAYS)
def test_backward(compare, inputs, who):
    prototypes, coefficients, boxes = inputs
    leaves = [prototypes.clone().requires_grad_(), coefficients.clone().requires_grad_()]
    outs = {each: way(*leaves, boxes) for each, way in WAYS.items()}
    grad = torch.linspace(-1, 1, outs[who].numel()).view_as(outs[who])

    def work(who=who):
        return torch.autograd.grad(outs[who], leaves, grad, retain_graph=True)

    torch.testing.assert_close(work("pyifcn"), work("torch"), rtol=1e-3, atol=1e-2)
    compare(f"backward of {NAME}, in boxes", who, work)
