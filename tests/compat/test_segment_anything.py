"""`pyifcn.compat.segment_anything` beside segment_anything."""

import inspect

import numpy as np
import pytest

pytest.importorskip("torch", reason="it works on torch tensors")
pytest.importorskip("segment_anything", reason="segment-anything is missing")

import torch
from segment_anything.utils import amg as theirs

import pyifcn
from pyifcn.compat import segment_anything as ours


@pytest.mark.parametrize("size", [(1, 1), (6, 9), (64, 64), (75, 131)])
@pytest.mark.parametrize("part", [0, 0.03, 0.5, 1])
def test_masks(rng, size, part):
    masks = torch.from_numpy(rng.random((5, *size)) < part)
    codes = theirs.mask_to_rle_pytorch(masks)
    assert ours.mask_to_rle_pytorch(masks) == codes
    for code in codes:
        np.testing.assert_array_equal(ours.rle_to_mask(code), theirs.rle_to_mask(code))
    for form in (masks, masks[None], masks[0], masks[:0]):
        expected, got = theirs.batched_mask_to_box(form), ours.batched_mask_to_box(form)
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert torch.equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_stability(rng, dtype):
    logits = torch.from_numpy(rng.normal(size=(7, 3, 40, 50))).to(dtype)
    for threshold, offset in ((0, 1), (0.3, 0.1), (8, 1)):
        expected = theirs.calculate_stability_score(logits, threshold, offset)
        got = ours.calculate_stability_score(logits, threshold, offset)
        assert got.dtype == expected.dtype
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ours.__all__)
def test_arguments(name):
    expected, got = (inspect.signature(getattr(m, name)).parameters for m in (theirs, ours))
    assert list(got) == list(expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_integers_go_on(rng, dtype):
    masks = torch.from_numpy(rng.integers(0, 3, (3, 7, 9))).to(dtype)
    expected = theirs.mask_to_rle_pytorch(masks), theirs.batched_mask_to_box(masks)
    with pyifcn.accelerate("segment_anything"):
        assert theirs.mask_to_rle_pytorch(masks) == expected[0]
        assert torch.equal(theirs.batched_mask_to_box(masks), expected[1])
