"""Box NMS, beside torchvision's."""

import numpy as np
import pytest
import torch

import pyifcn


def clustered(rng, count, each=20):
    """What a detector gives: many boxes around each object, here on an image of 1,000 pixels.

    The objects' sides are log-uniform in 16 to 256 pixels, independently; a box is off by 10 % of
    its object's sides in position and 15 % in size (Gaussian, logarithm of a Gaussian).
    """
    objects = max(1, count // each)
    centres = rng.uniform(0, 1000, (objects, 2))
    sides = np.exp(rng.uniform(np.log(16), np.log(256), (objects, 2)))
    of = rng.integers(0, objects, count)
    centre = centres[of] + sides[of] * rng.normal(0, 0.1, (count, 2))
    side = sides[of] * np.exp(rng.normal(0, 0.15, (count, 2)))
    return np.concatenate([centre - side / 2, centre + side / 2], 1)


def fifty_objects(rng, count):
    return clustered(rng, count, max(1, count // 50))


def uniform(rng, count):
    corners = rng.uniform(0, 1000, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(0, 100, (count, 2))], 1)


def like_torchvision_tests(rng, count):
    """As torchvision's tests make them: large boxes that nearly all overlap."""
    corners = rng.uniform(0, 100, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(0, 100, (count, 2))], 1)


def boxes_and_scores(kind, count):
    rng = np.random.default_rng(0)
    boxes = torch.from_numpy(kind(rng, count).astype(np.float32))
    return boxes, torch.from_numpy(rng.permutation(count).astype(np.float32) / count)


SLOW = pytest.mark.benchmark(min_rounds=1, max_time=0.1, warmup=False)


@pytest.mark.parametrize("who", ["pyifcn", "torchvision"])
@pytest.mark.parametrize("count", [10, 1000, 5000, 20_000, pytest.param(100_000, marks=SLOW)])
def test_clustered(compare, count, who):
    run_nms(compare, clustered, count, 0.7, who)


@pytest.mark.parametrize("who", ["pyifcn", "torchvision"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
def test_thresholds(compare, threshold, who):
    run_nms(compare, clustered, 5000, threshold, who)


@pytest.mark.parametrize("who", ["pyifcn", "torchvision"])
@pytest.mark.parametrize("kind", [fifty_objects, uniform, like_torchvision_tests])
def test_other_boxes(compare, kind, who):
    run_nms(compare, kind, 5000, 0.7, who)


def run_nms(compare, kind, count, threshold, who):
    boxes, scores = boxes_and_scores(kind, count)
    ways = {"pyifcn": pyifcn.nms}
    if who == "torchvision":
        ways[who] = pytest.importorskip("torchvision").ops.nms
    kept = compare(
        f"nms, {count:,} boxes, {kind.__name__}, IoU {threshold}",
        who,
        lambda: ways[who](boxes, scores, threshold),
    )
    assert torch.equal(kept, pyifcn.nms(boxes, scores, threshold))


def test_a_million(compare):
    boxes, scores = boxes_and_scores(clustered, 1_000_000)
    compare(
        "nms, a million boxes, clustered, IoU 0.7", "pyifcn", lambda: pyifcn.nms(boxes, scores, 0.7)
    )


def test_numpy_call(compare):
    boxes, scores = (tensor.numpy() for tensor in boxes_and_scores(clustered, 10))
    compare("nms, 10 boxes in NumPy", "pyifcn", lambda: pyifcn.nms(boxes, scores, 0.7))


@pytest.mark.parametrize("who", ["pyifcn", "torchvision"])
@pytest.mark.parametrize("count", [1000, 20_000])
def test_batched(compare, count, who):
    boxes, scores = boxes_and_scores(clustered, count)
    idxs = torch.from_numpy(np.random.default_rng(1).integers(0, 80, count))
    ways = {"pyifcn": pyifcn.batched_nms}
    if who == "torchvision":
        ways[who] = pytest.importorskip("torchvision").ops.batched_nms
    kept = compare(
        f"batched_nms, {count:,} boxes in 80 categories, IoU 0.7",
        who,
        lambda: ways[who](boxes, scores, idxs, 0.7),
    )
    assert torch.equal(kept, pyifcn.batched_nms(boxes, scores, idxs, 0.7))
