"""Blending bases, beside the plain torch way, as BlendMask has it."""

import pytest
import torch

import pyifcn

COUNT, BASES, SIZE, LOW = 100, 4, 56, 14  # BlendMask's


@pytest.fixture(scope="module")
def leaves():
    generator = torch.Generator().manual_seed(0)
    bases = torch.randn(COUNT, BASES, SIZE, SIZE, generator=generator)
    attention = torch.randn(COUNT, BASES, LOW, LOW, generator=generator)
    return bases.requires_grad_(), attention.requires_grad_()


def plain(bases, attention):
    maps = torch.nn.functional.interpolate(
        attention, bases.shape[2:], mode="bilinear", align_corners=False
    )
    return (bases * maps.softmax(1)).sum(1)


WAYS = {"pyifcn": pyifcn.blend, "torch": plain}
NAME = "100 detections, 4 bases 56 x 56, attention 14 x 14"


@pytest.mark.parametrize("who", WAYS)
def test_forward(compare, leaves, who):
    inputs = [leaf.detach() for leaf in leaves]

    def work(who=who):
        return WAYS[who](*inputs)

    torch.testing.assert_close(work("pyifcn"), work("torch"), rtol=1e-4, atol=1e-5)
    compare(NAME, who, work)


@pytest.mark.parametrize("who", WAYS)
def test_backward(compare, leaves, who):
    outs = {each: way(*leaves) for each, way in WAYS.items()}
    grad = torch.linspace(-1, 1, outs[who].numel()).view_as(outs[who])

    def work(who=who):
        return torch.autograd.grad(outs[who], leaves, grad, retain_graph=True)

    torch.testing.assert_close(work("pyifcn"), work("torch"), rtol=1e-4, atol=1e-5)
    compare(f"backward of {NAME}", who, work)
