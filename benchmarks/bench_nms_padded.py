"""NMS of a batch with a fixed output shape, beside a loop over torchvision's."""

import numpy as np
import pytest
import torch
from bench_nms import boxes_and_scores, clustered

import pyifcn


def torchvision_loop(boxes, scores, threshold, max_output):
    nms = pytest.importorskip("torchvision").ops.nms
    indices = torch.full((len(boxes), max_output), -1)
    counts = torch.zeros(len(boxes), dtype=torch.int64)
    for image in range(len(boxes)):
        kept = nms(boxes[image], scores[image], threshold)[:max_output]
        indices[image, : len(kept)], counts[image] = kept, len(kept)
    return indices, counts


def pyifcn_padded(boxes, scores, threshold, max_output):
    return pyifcn.nms_padded(boxes, scores, threshold, max_output=max_output)


WAYS = {"pyifcn": pyifcn_padded, "torchvision": torchvision_loop}


@pytest.mark.parametrize("who", WAYS)
@pytest.mark.parametrize(("images", "count"), [(8, 1000), (8, 5000)])
def test_nms_padded(compare, images, count, who):
    boxes, scores = boxes_and_scores(clustered, count)
    boxes = torch.stack([boxes + image for image in range(images)])
    rng = np.random.default_rng(0)
    scores = torch.stack([scores[torch.from_numpy(rng.permutation(count))] for _ in boxes])
    answer = compare(
        f"nms_padded, {images} images of {count:,} boxes, IoU 0.7, 300 of each",
        who,
        lambda: WAYS[who](boxes, scores, 0.7, 300),
    )
    expected = pyifcn_padded(boxes, scores, 0.7, 300)
    assert all(map(torch.equal, answer, expected))
