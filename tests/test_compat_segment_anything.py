"""`pyifcn.compat.segment_anything` against a slow reference."""

import inspect

import numpy as np
import pytest

pytest.importorskip("torch", reason="it works on torch tensors")

import torch

from pyifcn.compat import segment_anything as amg
from pyifcn.compat import transformers


def counts_of(mask):
    pixels = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(pixels)) + 1
    counts = np.diff([0, *ends, len(pixels)]).tolist()
    return counts if not pixels[0] else [0, *counts]


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 64), (64, 65)])
@pytest.mark.parametrize("part", [0, 0.02, 0.5, 1])
def test_masks(rng, size, part):
    masks = rng.random((6, *size)) < part
    masks[0], masks[1] = False, True
    tensor = torch.from_numpy(masks)
    codes = amg.mask_to_rle_pytorch(tensor)
    boxes = amg.batched_mask_to_box(tensor)
    assert boxes.dtype == torch.int64
    for mask, code, box in zip(masks, codes, boxes, strict=True):
        assert code == {"size": list(size), "counts": counts_of(mask)}
        assert all(type(count) is int for count in code["counts"])
        assert np.array_equal(amg.rle_to_mask(code), mask)
        ys, xs = np.nonzero(mask)
        expected = [xs.min(), ys.min(), xs.max(), ys.max()] if len(xs) else [0, 0, 0, 0]
        assert box.tolist() == expected
    split = amg.batched_mask_to_box(tensor.reshape(2, 3, *size))
    assert torch.equal(split, boxes.reshape(2, 3, 4))
    assert torch.equal(amg.batched_mask_to_box(tensor[2]), boxes[2])


def test_without_masks_or_pixels():
    assert amg.mask_to_rle_pytorch(torch.zeros(0, 4, 5, dtype=torch.bool)) == []
    for shape in ((0, 4, 5), (2, 0, 3, 4)):
        boxes = amg.batched_mask_to_box(torch.zeros(shape, dtype=torch.bool))
        assert boxes.shape == (*shape[:-2], 4)
        assert boxes.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stability(rng, dtype):
    logits = torch.from_numpy(rng.normal(size=(2, 3, 40, 50))).to(dtype)
    got = amg.calculate_stability_score(logits, 0.25, 0.5)
    assert got.dtype == torch.float32
    for i in range(2):
        for j in range(3):
            high, low = ((logits[i, j] > t).sum().item() for t in (0.75, -0.25))
            assert got[i, j].item() == np.float32(high) / np.float32(low)
    assert amg.calculate_stability_score(torch.full((4, 5), -9.0), 0, 1).isnan()


def test_bad_input():
    with pytest.raises(TypeError, match=r"tensor is a float32 tensor .*, expected a bool tensor"):
        amg.mask_to_rle_pytorch(torch.zeros(1, 4, 5))
    with pytest.raises(TypeError, match="masks is a bool tensor of shape"):
        amg.batched_mask_to_box(torch.zeros(5, dtype=torch.bool))
    with pytest.raises(TypeError, match="masks is 3"):
        amg.calculate_stability_score(3, 0, 1)
    with pytest.raises(ValueError, match="malformed"):
        amg.rle_to_mask({"size": [2, 3], "counts": [1, 2]})


def test_what_accelerate_leaves_to_the_original():
    covers = {r.ours: r.covers for r in amg.REPLACEMENTS + transformers.REPLACEMENTS}
    masks = torch.zeros(2, 3, 4, dtype=torch.bool)
    for encode in (amg.mask_to_rle_pytorch, transformers.mask_to_rle):
        name = next(iter(inspect.signature(encode).parameters))
        assert covers[encode](**{name: masks})
        for dtype in (torch.uint8, torch.int32, torch.int64):
            assert not covers[encode](masks.to(dtype))
    for function in (amg.batched_mask_to_box, transformers.batched_mask_to_box):
        assert covers[function](masks=masks)
        assert not covers[function](masks.byte())
