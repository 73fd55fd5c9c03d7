"""NMS on a similarity matrix, beside the loops that people write."""

import numpy as np
import pytest
import torch
from bench_nms import boxes_and_scores, clustered

import pyifcn


def numpy_loop(iou, scores, threshold):
    order, keep = np.argsort(-scores, kind="stable"), []
    while len(order):
        keep.append(order[0])
        order = order[1:][iou[order[0], order[1:]] <= threshold]
    return np.array(keep)


def torch_loop(iou, scores, threshold):
    iou, order = torch.from_numpy(iou), torch.from_numpy(scores).argsort(descending=True)
    gone, keep = torch.zeros(len(iou), dtype=torch.bool), []
    for i in order.tolist():
        if not gone[i]:
            keep.append(i)
            gone |= iou[i] > threshold
    return np.array(keep)


def matrix(count):
    boxes, scores = (tensor.numpy() for tensor in boxes_and_scores(clustered, count))
    iou = np.empty((count, count), np.float32)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for i, box in enumerate(boxes):
        sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
        inter = sides.clip(0).prod(1)
        iou[i] = inter / (areas[i] + areas - inter)
    return iou, scores


WAYS = {"pyifcn": pyifcn.nms_from_iou, "numpy": numpy_loop, "torch": torch_loop}
THRESHOLD = 0.6875  # a float16: NumPy and torch round it to the dtype of the matrix


@pytest.mark.parametrize("who", WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("count", [500, 5000])
def test_nms_from_iou(compare, count, dtype, who):
    iou, scores = matrix(count)
    iou = iou.astype(dtype)
    kept = compare(
        f"nms_from_iou, {count:,} x {count:,} {dtype.__name__}",
        who,
        lambda: WAYS[who](iou, scores, THRESHOLD),
    )
    np.testing.assert_array_equal(kept, pyifcn.nms_from_iou(iou, scores, THRESHOLD))
