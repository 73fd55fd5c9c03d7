"""Proposals, beside torch operations and torchvision's NMS."""

import numpy as np
import pytest
import torch

import pyifcn

GRID, SIZE, COUNT = 5, 21, 1000
SHAPES = [(15, 22), (22, 33), (33, 49), (50, 75), (75, 112), (112, 169)]  # the paper's six scales
IMAGE = 600, 900
STRIDES = [IMAGE[1] / width for _, width in SHAPES]
CELLS = (2 * torch.arange(SIZE) + 1) * GRID // (2 * SIZE)


@pytest.fixture(scope="module", params=["noise", "blobs"])
def pyramid(request):
    """Maps of white noise, whose masks fill their windows, or smoothed, with masks of all sizes."""
    generator = torch.Generator().manual_seed(0)
    maps, objectness = [], []
    for shape in SHAPES:
        level = torch.randn(1, GRID**2 + 1, *shape, generator=generator)
        if request.param == "blobs":
            level = torch.nn.functional.avg_pool2d(level, 7, 1, 3, count_include_pad=False)
            level = level / level.std() - 1
        maps.append(level[:, :-1].contiguous())
        objectness.append(level[:, -1].contiguous())
    return request.param, maps, objectness


def torch_boxes(maps, stride):
    """The tight boxes of all windows of a level, and which masks are not empty."""
    half = SIZE // 2
    _, _, height, width = maps.shape
    binary = torch.nn.functional.pad(maps > 0, (half, half, half, half))
    masks = torch.stack(
        [
            binary[0, CELLS[i] * GRID + CELLS[j], i : i + height, j : j + width]
            for i in range(SIZE)
            for j in range(SIZE)
        ]
    )
    masks = masks.view(SIZE, SIZE, height * width)
    sides = []
    for axis, count in ((0, width), (1, width)):
        filled = masks.any(axis).to(torch.uint8)
        first = filled.argmax(0)
        last = SIZE - filled.flip(0).argmax(0)
        window = torch.arange(height * width)
        start = (window % count if axis == 0 else window // count) - half
        sides.append((start + first, start + last))
    (x1, x2), (y1, y2) = sides
    return torch.stack([x1, y1, x2, y2], 1).float() * np.float32(stride), filled.any(0).bool()


def propose_by_torchvision(maps, objectness, most_a_level):
    from torchvision.ops import nms

    boxes, scores = [], []
    for level, logits, stride in zip(maps, objectness, STRIDES, strict=True):
        box, some = torch_boxes(level, stride)
        score = logits.view(-1).masked_fill(~some, -torch.inf)
        score, order = score.topk(min(most_a_level, len(score)))
        boxes.append(box[order][score > -torch.inf])
        scores.append(score[score > -torch.inf])
    boxes, scores = torch.cat(boxes), torch.cat(scores)
    keep = nms(boxes, scores, 0.8)[:COUNT]
    return boxes[keep].clamp_(torch.tensor(0), torch.tensor([IMAGE[1], IMAGE[0]] * 2))


@pytest.mark.parametrize("who", ["pyifcn", "torchvision, all", "torchvision, 2,000 a level"])
def test_propose(compare, pyramid, who):
    name, maps, objectness = pyramid
    if who != "pyifcn":
        pytest.importorskip("torchvision")
    ways = {
        "pyifcn": lambda: (
            pyifcn.propose(
                maps, objectness, strides=STRIDES, image_size=IMAGE, max_proposals=COUNT
            )[0].boxes
        ),
        "torchvision, all": lambda: propose_by_torchvision(maps, objectness, 10**9),
        "torchvision, 2,000 a level": lambda: propose_by_torchvision(maps, objectness, 2000),
    }
    windows = sum(height * width for height, width in SHAPES)
    found = compare(
        f"propose, six levels of {name}, {windows:,} windows, 1,000 out", who, ways[who]
    )
    if who != "torchvision, 2,000 a level":
        assert torch.equal(found, ways["pyifcn"]())


def test_masks(compare, pyramid):
    name, maps, objectness = pyramid
    (found,) = pyifcn.propose(
        maps, objectness, strides=STRIDES, image_size=IMAGE, max_proposals=COUNT
    )
    compare(f"render the masks of 1,000 proposals of {name}", "pyifcn", lambda: found[:].masks)
