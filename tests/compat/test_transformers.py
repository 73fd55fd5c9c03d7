"""`pyifcn.compat.transformers` beside the image processors of transformers."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="it works on torch tensors")
pytest.importorskip("transformers", reason="transformers is missing")

import torch

try:
    from transformers.models.sam import image_processing_sam as theirs
except (ImportError, RuntimeError) as error:
    pytest.skip(f"its processors cannot be imported: {error}", allow_module_level=True)

import pyifcn
from pyifcn.compat import transformers as ours


def filtered(rng):
    """What a processor makes of a network's masks: codes, scores and boxes."""
    processor = theirs.SamImageProcessor()
    logits = torch.from_numpy(rng.normal(2, 3, (6, 3, 40, 50))).float()
    scores = torch.from_numpy(rng.uniform(0.7, 1, (6, 3))).float()
    return processor.filter_masks(logits, scores, (40, 50), [0, 0, 50, 40], 0.8, 0.5)


def test_a_processor_before_and_after(rng):
    before = filtered(np.random.default_rng(1))
    with pyifcn.accelerate("transformers") as accelerated:
        assert any(name.endswith("._mask_to_rle") for name in accelerated.replaced)
        after = filtered(np.random.default_rng(1))
    assert len(before[0]) > 0
    assert after[0] == before[0]
    for old, new in zip(before[1:], after[1:], strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("part", [0, 0.03, 0.5, 1])
def test_functions(rng, part):
    masks = torch.from_numpy(rng.random((5, 33, 64)) < part)
    codes = theirs._mask_to_rle(masks)
    assert ours.mask_to_rle(masks) == codes
    for code in codes:
        assert torch.equal(ours.rle_to_mask(code), theirs._rle_to_mask(code))
    assert torch.equal(ours.batched_mask_to_box(masks), theirs._batched_mask_to_box(masks))
    logits = torch.from_numpy(rng.normal(size=(5, 33, 64)))
    arguments = logits, 0.0, 1
    expected = theirs._compute_stability_score(*arguments)
    assert torch.equal(ours.compute_stability_score(*arguments), expected)
