"""`pyifcn.compat.ensemble_boxes` beside ensemble_boxes."""

import inspect

import numpy as np
import pytest

pytest.importorskip("ensemble_boxes", reason="ensemble-boxes is missing")

import ensemble_boxes as theirs

import pyifcn
from pyifcn.compat import ensemble_boxes as ours

CONFIDENCES = ["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]


def detections(rng, models, count):
    """Boxes about few objects, and no two scores alike."""
    objects = rng.uniform(0.1, 0.6, (12, 4))
    objects[:, 2:] = objects[:, :2] + rng.uniform(0.05, 0.3, (12, 2))
    boxes, scores, labels = [], [], []
    for _ in range(models):
        each = objects[rng.integers(0, 12, count)] + rng.normal(0, 0.02, (count, 4))
        each[:, 2:] = np.maximum(each[:, 2:], each[:, :2] + 0.01)
        boxes.append(each.clip(0, 1))
        scores.append(rng.uniform(0.01, 1, count))
        labels.append(rng.integers(0, 4, count))
    return boxes, scores, labels


def same(name, lists, **options):
    copies = [[part.copy() for part in parts] for parts in lists]
    expected = getattr(theirs, name)(*copies, **options)
    got = getattr(ours, name)(*lists, **options)
    for ours_part, their_part in zip(got, expected, strict=True):
        assert ours_part.dtype == their_part.dtype
        np.testing.assert_allclose(ours_part, their_part, rtol=1e-6, atol=0)


def exactly_same(name, lists, **options):
    expected = getattr(theirs, name)(*map(list, lists), **options)
    got = getattr(ours, name)(*lists, **options)
    for ours_part, their_part in zip(got, expected, strict=True):
        assert ours_part.dtype == their_part.dtype
        np.testing.assert_array_equal(ours_part, their_part)


@pytest.mark.parametrize("weights", [None, [2, 1, 0.5]])
@pytest.mark.parametrize("count", [1, 2, 33, 200])
def test_fusion(rng, count, weights):
    lists = detections(rng, 3, count)
    for conf_type in CONFIDENCES:
        for overflow in (False, True):
            for threshold, least in ((0.55, 0), (0.4, 0.1)):
                same(
                    "weighted_boxes_fusion",
                    lists,
                    weights=weights,
                    iou_thr=threshold,
                    skip_box_thr=least,
                    conf_type=conf_type,
                    allows_overflow=overflow,
                )


@pytest.mark.parametrize("weights", [None, [2, 1, 0.5]])
@pytest.mark.parametrize("count", [1, 2, 33, 200])
def test_suppression(rng, count, weights):
    lists = detections(rng, 3, count)
    for threshold in (0.3, 0.5, 0.7):
        same("nms", lists, iou_thr=threshold, weights=weights)
        for method in (1, 2, 3):
            same("nms_method", lists, method=method, iou_thr=threshold, weights=weights)
            same("soft_nms", lists, method=method, iou_thr=threshold, thresh=0.05)


@pytest.mark.parametrize("name", ours.__all__)
def test_arguments(name):
    expected, got = (inspect.signature(getattr(m, name)).parameters for m in (theirs, ours))
    assert list(got) == list(expected)
    assert [p.default for p in got.values()] == [p.default for p in expected.values()]


def test_suppression_of_float32(rng):
    for _ in range(60):
        low = rng.integers(0, 8, (40, 2))
        boxes = (np.hstack([low, low + rng.integers(1, 6, (40, 2))]).clip(0, 10) / 10)[None]
        kept = (boxes[0, :, 2:] > boxes[0, :, :2]).all(1)
        lists = boxes[:, kept].astype(np.float32), rng.random((1, kept.sum())), [[0] * kept.sum()]
        for threshold in (0.25, 0.5, 1 / 3):
            exactly_same("nms", lists, iou_thr=threshold)


def test_scores_with_weights(rng):
    boxes, scores, labels = detections(rng, 3, 30)
    for part in (scores, [each.astype(np.float32) for each in scores]):
        exactly_same("nms", (boxes, part, labels), weights=[1, 2, 3])


def test_integers():
    exactly_same("nms", ([[[0, 0, 1, 1]]], [[2]], [[0]]))


@pytest.mark.parametrize("options", [{"method": 0}, {"method": 2, "sigma": 0.0}])
def test_calls_that_go_on(rng, options):
    lists = detections(rng, 2, 9)
    with np.errstate(all="ignore"):
        expected = theirs.nms_method(*lists, **options)
        with pyifcn.accelerate("ensemble_boxes"):
            got = theirs.nms_method(*lists, **options)
    assert all(map(np.array_equal, got, expected))
