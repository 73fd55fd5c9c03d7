"""`pyifcn.compat.supervision` against a slow reference of what supervision does."""

import enum

import numpy as np
import pytest

from pyifcn import Masks
from pyifcn.compat import supervision as sv


class OverlapMetric(enum.Enum):  # as supervision's
    IOU = "IOU"
    IOS = "IOS"


METRICS = list(OverlapMetric)


def overlaps(a, b, metric):
    out = np.zeros((len(a), len(b)))
    for i, mask in enumerate(a):
        for j, other in enumerate(b):
            shared, areas = (mask & other).sum(), (mask.sum(), other.sum())
            whole = sum(areas) - shared if metric is OverlapMetric.IOU else min(areas)
            out[i, j] = np.float32(shared) / np.float32(whole) if whole else 0
    return out


def suppressed(overlap, predictions, threshold):
    classes = predictions[:, 5] if predictions.shape[1] > 5 else np.zeros(len(predictions))
    keep = np.ones(len(predictions), bool)
    order = predictions[:, 4].argsort()[::-1]
    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            if keep[i] and classes[i] == classes[j] and overlap[i, j] > threshold:
                keep[j] = False
    return keep


def merged(masks, predictions, threshold, metric):
    classes = predictions[:, 5] if predictions.shape[1] > 5 else np.zeros(len(predictions))
    groups = []
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        left = members[predictions[members, 4].argsort()].tolist()
        while left:
            group = [left.pop()]
            union = masks[group[0]]
            while taken := [
                i for i in left if overlaps(masks[[i]], [union], metric)[0, 0] >= threshold
            ]:
                union = union | masks[taken].any(0)
                group += taken[::-1]
                left = [i for i in left if i not in taken]
            groups.append(group)
    return groups


def scene(rng, count, columns, size=(20, 30)):
    masks = np.zeros((count, *size), bool)
    predictions = np.zeros((count, columns))
    for mask, row in zip(masks, predictions, strict=True):
        x, y = rng.integers(0, 22), rng.integers(0, 14)
        w, h = rng.integers(0, 9, 2)
        mask[y : y + h, x : x + w] = rng.random(mask[y : y + h, x : x + w].shape) < 0.9
        row[:4] = x, y, x + w, y + h
    predictions[:, 4] = rng.integers(0, max(2, count), count) / 8  # ties
    predictions[:, 5:] = rng.integers(0, 3, (count, columns - 5))
    return predictions, masks


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("columns", [5, 6])
@pytest.mark.parametrize("count", [0, 1, 2, 17, 60])
def test_masks(rng, count, columns, metric):
    predictions, masks = scene(rng, count, columns)
    expected = overlaps(masks, masks, metric)
    np.testing.assert_array_equal(sv.mask_iou_batch(masks, masks, metric), expected)
    np.testing.assert_array_equal(sv.mask_iou_batch(masks, masks.copy(), metric), expected)
    for threshold in (0.0, 0.3, 0.5, 1.0, *expected.ravel()[:40]):
        got = sv.mask_non_max_suppression(predictions, masks, threshold, metric)
        np.testing.assert_array_equal(got, suppressed(expected, predictions, threshold))
    for threshold in (0.0, 0.3, 0.5, 1.0):
        got = sv.mask_non_max_merge(predictions, masks, threshold, overlap_metric=metric)
        assert got == merged(masks, predictions, threshold, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("columns", [5, 6])
@pytest.mark.parametrize("count", [0, 1, 2, 17, 200])
def test_boxes(rng, count, columns, metric):
    predictions, _ = scene(rng, count, columns)
    overlap = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            a, b = predictions[i], predictions[j]
            low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:4], b[2:4])
            shared, areas = (high - low).clip(0).prod(), [(c[2:4] - c[:2]).prod() for c in (a, b)]
            whole = sum(areas) - shared if metric is OverlapMetric.IOU else min(areas)
            overlap[i, j] = np.float32(shared / whole) if whole > 0 else 0
    for threshold in (0.0, 0.3, 0.5, 1.0, *overlap.ravel()[:40]):
        got = sv.box_non_max_suppression(predictions, threshold, metric)
        np.testing.assert_array_equal(got, suppressed(overlap, predictions, threshold))


def test_overlaps_are_compared_as_float32():
    """3 of 10 pixels are 0.3, which as float32 is more than 0.3."""
    masks = np.zeros((2, 1, 10), bool)
    masks[0, 0, :] = masks[1, 0, :3] = True
    predictions = np.array([[0, 0, 10, 1, 0.9], [0, 0, 3, 1, 0.8]])
    assert not sv.mask_non_max_suppression(predictions, masks, 0.3)[1]
    assert not sv.box_non_max_suppression(predictions, 0.3)[1]
    assert sv.mask_non_max_suppression(predictions, masks, float(np.float32(0.3)))[1]


def test_other_arguments(rng):
    predictions, masks = scene(rng, 12, 6)
    packed = Masks.from_dense(masks)
    for a, b in ((packed, packed), (packed, masks), (masks.astype(float), masks)):
        np.testing.assert_array_equal(sv.mask_iou_batch(a, b), sv.mask_iou_batch(masks, masks))
    groups = sv.mask_non_max_merge(predictions, masks, 0.3, overlap_metric="IOS")
    assert sv.mask_non_max_merge(predictions, packed, 0.3, "ios", 640) == groups
    assert sv.mask_non_max_merge(predictions, masks, 0.3, 640, OverlapMetric.IOS) == groups


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, m: sv.mask_non_max_suppression(p, m, 1.5), "iou_threshold is 1.5"),
        (lambda p, m: sv.box_non_max_suppression(p, -0.1), "iou_threshold is -0.1"),
        (lambda p, m: sv.mask_non_max_merge(p, m, float("nan")), "iou_threshold is nan"),
        (lambda p, m: sv.mask_iou_batch(m, m, "GIOU"), "overlap_metric is 'GIOU'"),
        (lambda p, m: sv.mask_iou_batch(m[0], m), "masks_true is a bool array"),
        (lambda p, m: sv.mask_iou_batch(m, m[:, :5]), "expected the same"),
        (lambda p, m: sv.mask_non_max_suppression(p, m[:3]), "3 masks for 12 predictions"),
        (lambda p, m: sv.box_non_max_suppression(p[:, :4]), r"expected \(N, 5\) or \(N, 6\)"),
    ],
)
def test_bad_input(rng, call, message):
    with pytest.raises(ValueError, match=message):
        call(*scene(rng, 12, 6))


def test_lists_are_refused():
    with pytest.raises(TypeError, match="predictions is a list, expected a NumPy array"):
        sv.box_non_max_suppression([[0, 0, 1, 1, 0.5]])


def test_equal_scores_come_as_in_float64(rng):
    for _ in range(20):
        predictions, masks = scene(rng, 60, 5)
        predictions = predictions.astype(np.float16)
        expected = suppressed(overlaps(masks, masks, METRICS[0]), predictions.astype(float), 0.3)
        got = sv.mask_non_max_suppression(predictions, masks, 0.3)
        np.testing.assert_array_equal(got, expected)


def test_what_supervision_ignores(rng):
    predictions, masks = scene(rng, 12, 6)
    groups = sv.mask_non_max_merge(predictions, masks, 0.3)
    for size in (np.int64(640), 640.0, None):
        assert sv.mask_non_max_merge(predictions, masks, 0.3, size) == groups
    more = np.vstack([masks, masks])
    assert sv.mask_non_max_merge(predictions, more, 0.3) == groups
    np.testing.assert_array_equal(
        sv.mask_non_max_suppression(predictions, more, 0.3),
        sv.mask_non_max_suppression(predictions, masks, 0.3),
    )
