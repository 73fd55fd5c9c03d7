"""Fast NMS, beside YOLACT's way with tensors."""

import pytest
import torch
from bench_nms import boxes_and_scores, clustered

import pyifcn
from pyifcn.compat.yolact import Detect, jaccard


def matrix(boxes, scores, threshold):
    """The IoU of all pairs, by falling score."""
    order = scores.argsort(descending=True)
    most = jaccard(boxes[order], boxes[order]).triu_(1).amax(0)
    return order[most <= threshold]


WAYS = {"pyifcn": pyifcn.fast_nms, "torch": matrix}


@pytest.mark.parametrize("who", WAYS)
@pytest.mark.parametrize("count", [200, 1000, 5000])
def test_fast_nms(compare, count, who):
    boxes, scores = boxes_and_scores(clustered, count)
    got = compare(f"fast_nms, {count:,} boxes", who, lambda: WAYS[who](boxes, scores, 0.5))
    assert torch.equal(got, pyifcn.fast_nms(boxes, scores, 0.5))


def in_matrices(boxes, masks, scores, threshold, top_k, most):
    """What YOLACT does with all classes at once."""
    scores, order = scores.sort(1, descending=True)
    order, scores = order[:, :top_k], scores[:, :top_k]
    boxes, masks = boxes[order], masks[order]
    keep = jaccard(boxes, boxes).triu_(1).amax(1) <= threshold
    classes = torch.arange(len(keep))[:, None].expand_as(keep)[keep]
    scores, best = scores[keep].sort(descending=True)
    best = best[:most]
    return boxes[keep][best], masks[keep][best], classes[best], scores[:most]


@pytest.mark.parametrize("who", ["pyifcn", "torch"])
@pytest.mark.parametrize("count", [200, 1000])
def test_detect(compare, count, who):
    boxes, _ = boxes_and_scores(clustered, count)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randperm(80 * count, generator=generator).view(80, count) / (80 * count)
    masks = torch.randn(count, 32, generator=generator)
    ours = Detect(81, 0, 200, 0.05, 0.5)
    ways = {
        "pyifcn": lambda: ours.fast_nms(boxes, masks, scores),
        "torch": lambda: in_matrices(boxes, masks, scores, 0.5, 200, 100),
    }
    got = compare(f"YOLACT's fast_nms, {count:,} boxes, 80 classes", who, ways[who])
    for one, other in zip(got, ours.fast_nms(boxes, masks, scores), strict=True):
        assert torch.equal(one, other)
