"""Soft-NMS, beside the loop that people write."""

import numpy as np
import pytest
import torch
from bench_nms import SLOW, boxes_and_scores, clustered

import pyifcn


def numpy_loop(boxes, scores, method, threshold=0.3, sigma=0.5, min_score=1e-3):
    """Vectorised over the boxes that are left."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left, scores, keep = np.arange(len(boxes)), scores.copy(), []
    left = left[scores >= min_score]
    while len(left):
        best = np.argmax(scores[left])
        i = left[best]
        keep.append(i)
        left = np.delete(left, best)
        low = np.maximum(boxes[i, :2], boxes[left, :2])
        high = np.minimum(boxes[i, 2:], boxes[left, 2:])
        inter = (high - low).clip(0).prod(1)
        iou = inter / (areas[i] + areas[left] - inter)
        if method == "linear":
            scores[left] *= np.where(iou >= threshold, 1 - iou, np.float32(1))
        else:
            scores[left] *= np.exp(-(iou * iou) / np.float32(sigma))
        left = left[scores[left] >= min_score]
    keep = np.array(keep)
    return keep, scores[keep]


WAYS = {
    "pyifcn": lambda boxes, scores, method: pyifcn.soft_nms(boxes, scores, method=method),
    "numpy": numpy_loop,
}


@pytest.mark.parametrize("who", WAYS)
@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("count", [100, 1000, pytest.param(5000, marks=SLOW)])
def test_soft_nms(compare, count, method, who):
    boxes, scores = (tensor.numpy() for tensor in boxes_and_scores(clustered, count))
    keep, kept = compare(
        f"soft_nms, {count:,} boxes, {method}", who, lambda: WAYS[who](boxes, scores, method)
    )
    expected = pyifcn.soft_nms(boxes, scores, method=method)
    if method == "linear":
        np.testing.assert_array_equal(keep, expected.keep)
    np.testing.assert_allclose(kept, expected.scores, rtol=1e-4)


def test_categories(compare):
    boxes, scores = boxes_and_scores(clustered, 20_000)
    idxs = torch.from_numpy(np.random.default_rng(1).integers(0, 80, 20_000))
    compare(
        "soft_nms, 20,000 boxes in 80 categories",
        "pyifcn",
        lambda: pyifcn.soft_nms(boxes, scores, idxs=idxs),
    )
