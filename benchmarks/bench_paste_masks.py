"""Pasting soft masks into an image, beside torchvision and detectron2's way."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import pyifcn
from pyifcn.compat import torchvision as compat

COUNT, SIDE, SIZE = 100, 28, (800, 1333)
KINDS = ["blobs", "noise"]


def boxes():
    """Objects of 20 to 500 pixels a side inside the image: 2.8 million pixels in all."""
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(20), np.log(500), (COUNT, 2)))
    corners = rng.uniform(0, 1, (COUNT, 2)) * (SIZE[::-1] - sides)
    return torch.from_numpy(np.concatenate([corners, corners + sides], 1).astype(np.float32))


def masks(kind):
    """Smooth shapes, as networks make them, or the hardest there is: random cells."""
    generator = torch.Generator().manual_seed(0)
    if kind == "noise":
        return torch.rand((COUNT, 1, SIDE, SIDE), generator=generator)
    coarse = torch.randn((COUNT, 1, 5, 5), generator=generator)
    logits = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=True)
    return (4 * logits).sigmoid()


def with_torchvision(masks, boxes):
    try:
        from torchvision.models.detection.roi_heads import paste_masks_in_image
    except (ImportError, RuntimeError):
        pytest.skip("torchvision cannot be imported")
    return paste_masks_in_image(masks, boxes, SIZE)[:, 0] > 0.5


def with_grid_sample(masks, boxes):
    """One mask after the other on its box alone, what detectron2 does on the CPU."""
    images = torch.zeros((COUNT, *SIZE), dtype=torch.bool)
    for mask, box, image in zip(masks, boxes, images, strict=True):
        x1, y1 = (box[:2].floor() - 1).clamp(min=0).int().tolist()
        x2, y2 = (box[2:].ceil() + 1).min(torch.tensor(SIZE[::-1])).int().tolist()
        x = (torch.arange(x1, x2) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
        y = (torch.arange(y1, y2) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)
        values = F.grid_sample(mask[None], grid[None], align_corners=False)
        image[y1:y2, x1:x2] = values[0, 0] >= 0.5
    return images


PEERS = {"torchvision": with_torchvision, "detectron2": with_grid_sample}


def dense(result):
    return result if isinstance(result, torch.Tensor) else result.to_dense()


@pytest.mark.parametrize("who", ["pyifcn", "peer"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("out", ["masks", "bool"])
@pytest.mark.parametrize("convention", PEERS)
def test_paste(compare, convention, out, kind, who):
    soft, places = masks(kind), boxes()

    def ours():
        return pyifcn.paste_masks(soft, places, SIZE, convention=convention, out=out)

    def theirs():
        return PEERS[convention](soft, places)

    work = ours if who == "pyifcn" else theirs
    differing = (dense(ours()) != dense(work())).sum()
    assert (
        differing <= 5
    )  # of 100 million pixels: those whose value is the threshold but for rounding
    group = f"{convention}'s pasting, 100 masks of 28 x 28 ({kind}) on 800 x 1333, {out}"
    compare(group, "pyifcn" if who == "pyifcn" else convention, work)


@pytest.mark.parametrize("who", ["pyifcn", "torchvision"])
def test_values(compare, who):
    """What torchvision's Mask R-CNN does with its masks: 427 MB of floats, most of them 0."""
    roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    soft, places = masks("blobs"), boxes()
    module = compat if who == "pyifcn" else roi_heads

    def work():
        return module.paste_masks_in_image(soft, places, SIZE)

    torch.testing.assert_close(
        work(), roi_heads.paste_masks_in_image(soft, places, SIZE), rtol=0, atol=1e-5
    )
    compare("torchvision's paste_masks_in_image, 100 masks on 800 x 1333, float32", who, work)


def test_large_image(compare):
    rng = np.random.default_rng(0)
    sides = rng.uniform(100, 1500, (300, 2))
    corners = rng.uniform(0, 1, (300, 2)) * ([4000, 3000] - sides)
    places = torch.from_numpy(np.concatenate([corners, corners + sides], 1).astype(np.float32))
    soft = masks("blobs")[:, 0].repeat(3, 1, 1)

    def work():
        return pyifcn.paste_masks(soft, places, (3000, 4000))

    compare("300 masks of 100..1500 pixels a side on 3000 x 4000", "pyifcn", work)
