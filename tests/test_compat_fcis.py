"""`pyifcn.compat.fcis` and `pyifcn.compat.mnc` against slow references of what the originals do."""

import inspect

import numpy as np
import pytest

import pyifcn
from pyifcn.compat import fcis, mnc

SIZES = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129, 400]


def reference_nms(dets, gone):
    """Greedy, in inclusive coordinates and the dtype of `dets`; gone(iou): which are dropped."""
    one = dets.dtype.type(1)
    x1, y1, x2, y2, scores = dets.T
    areas = (x2 - x1 + one) * (y2 - y1 + one)
    order = np.argsort(-scores, kind="stable")
    keep = []
    while len(order):
        i, order = order[0], order[1:]
        keep.append(int(i))
        with np.errstate(all="ignore"):
            width = np.minimum(x2[i], x2[order]) - np.maximum(x1[i], x1[order]) + one
            height = np.minimum(y2[i], y2[order]) - np.maximum(y1[i], y1[order]) + one
            inter = np.maximum(width, 0) * np.maximum(height, 0)
            iou = inter / (areas[i] + areas[order] - inter)
        order = order[~gone(iou)]
    return keep


def some_dets(rng, count, dtype=np.float32):
    corners = rng.uniform(0, 60, (count, 2))
    dets = np.hstack([corners, corners + rng.uniform(-1, 30, (count, 2)), rng.random((count, 1))])
    dets[::2, :4] = dets[::2, :4].round()
    dets[::5, 4] = 0.5
    return dets.astype(dtype)


@pytest.mark.parametrize("count", SIZES)
def test_nms(target, count):
    rng = np.random.default_rng(count)
    for threshold in (0, 0.3, 1 / 3, 0.5, 0.7, 1):
        single = some_dets(rng, count)
        rounded = np.float32(threshold)
        above = reference_nms(single, lambda iou, t=rounded: iou > t)
        assert fcis.nms(single, threshold) == above
        assert fcis.gpu_nms(single, threshold) == above
        assert fcis.py_nms_wrapper(threshold)(single) == above
        assert fcis.gpu_nms_wrapper(threshold, 0)(single) == above
        assert mnc.nms(single, threshold) == mnc.py_cpu_nms(single, threshold) == above
        at_least = reference_nms(single, lambda iou, t=threshold: iou.astype(float) >= t)
        assert fcis.cpu_nms(single, threshold) == at_least
        assert fcis.cpu_nms_wrapper(threshold)(single) == at_least
        assert mnc.cpu_nms(single, threshold) == at_least
        double = some_dets(rng, count, np.float64)
        expected = reference_nms(double, lambda iou, t=threshold: iou > t)
        assert fcis.nms(double, threshold) == expected
    whole = some_dets(rng, count).round().astype(int)
    assert fcis.nms(whole, 0.5) == fcis.nms(whole.astype(float), 0.5)


def test_nms_is_inclusive():
    dets = np.array([[0, 0, 0, 0, 0.9], [0, 0, 1, 0, 0.8], [0, 0, 3, 0, 0.7]], np.float32)
    assert fcis.nms(dets, 0.5) == [0, 1, 2]  # 1/2 is not more than 1/2
    assert fcis.cpu_nms(dets, 0.5) == [0, 2]
    assert all(isinstance(i, int) for i in fcis.nms(dets, 0.5))


def case(rng, count=40, shape=(60, 75), classes=4, side=21):
    at = (np.arange(side) + 0.5) / side
    radius = rng.uniform(0.3, 0.6, (count, 1, 1))
    masks = 1 / (1 + np.exp((np.hypot(at[:, None] - 0.5, at - 0.5) - radius) * 12))
    corners = rng.uniform(0, 30, (5, 2))[rng.integers(0, 5, count)] + rng.normal(0, 2, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(15, 25, (count, 2))]).clip(0, 59)
    logits = rng.normal(0, 2, (count, classes))
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return *(a.astype(np.float32) for a in (masks[:, None], boxes, scores)), shape


@pytest.mark.parametrize(
    ("function", "convention", "dtype"),
    [
        (fcis.cpu_mask_voting, "fcis_cpu", np.float64),
        (fcis.gpu_mask_voting, "fcis", np.float32),
        (mnc.cpu_mask_voting, "mnc_cpu", np.float64),
        (mnc.gpu_mask_voting, "mnc", np.float32),
    ],
)
def test_voting(function, convention, dtype, rng):
    masks, boxes, scores, (height, width) = case(rng)
    found = pyifcn.mask_voting(masks, boxes, scores, (height, width), convention=convention)
    assert len(found.labels) >= 8
    arguments = (0.3, 0.5) if convention.startswith("fcis") else ()
    got = function(masks, boxes, scores, 4, 100, width, height, *arguments)
    if function is mnc.cpu_mask_voting:
        got = got[::-1]
    if convention.startswith("fcis"):
        assert all(part.pop(0) == [] for part in got)
    got_masks, got_boxes = got
    assert len(got_masks) == len(got_boxes) == 3
    for label, some_masks, some_boxes in zip((1, 2, 3), got_masks, got_boxes, strict=True):
        mine = found.labels == label
        assert (some_masks.dtype, some_boxes.dtype) == (dtype, np.float64)
        np.testing.assert_array_equal(some_masks, found.masks[mine][:, None])
        np.testing.assert_array_equal(some_boxes[:, :4], found.boxes[mine])
        np.testing.assert_array_equal(some_boxes[:, 4], found.scores[mine])
    few = function(masks, boxes, scores, 2, 5, width, height, *arguments)
    assert len(few[0]) == (2 if convention.startswith("fcis") else 1)
    nothing = function(masks[:0], boxes[:0], scores[:0], 4, 100, width, height, *arguments)
    shapes = sorted(part[-1].shape for part in nothing)
    assert shapes == [(0, 1, 21, 21), (0, 5)]


def reference_aggregation(boxes, masks, weights, width, height, threshold):
    image = np.zeros((height, width))
    for box, mask, weight in zip(boxes, masks, weights, strict=True):
        x1, y1, x2, y2 = np.round(box).astype(int)
        image[y1 : y2 + 1, x1 : x2 + 1] += (mask >= threshold) * weight
    rows, columns = np.nonzero(image >= threshold)
    y1, x1, y2, x2 = height // 2, width // 2, height // 2, width // 2
    if len(rows):
        y1, x1, y2, x2 = rows.min(), columns.min(), rows.max(), columns.max()
    return image[y1 : y2 + 1, x1 : x2 + 1], np.array([x1, y1, x2, y2], np.float32)


@pytest.mark.parametrize("module", [fcis, mnc])
def test_aggregation(module, rng):
    for count in (0, 1, 2, 9):
        for scale in (0.1, 1):  # with 0.1 no share reaches the threshold
            low = rng.uniform(0, 20, (count, 2))
            boxes = np.hstack([low, low + rng.uniform(0, 15, (count, 2))])
            masks = []
            for box in boxes:
                x1, y1, x2, y2 = np.round(box).astype(int)
                masks.append(rng.random((y2 - y1 + 1, x2 - x1 + 1)))
            weights = rng.random(count) * scale
            weights = weights / max(weights.sum(), 1)
            got = module.mask_aggregation(boxes, masks, weights, 50, 40)
            expected = reference_aggregation(boxes, masks, weights, 50, 40, 0.4)
            for a, b in zip(got, expected, strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


def test_the_names_of_arguments():
    voting = ["masks", "boxes", "scores", "num_classes", "max_per_image", "im_width", "im_height"]
    for module, more in ((fcis, ["nms_thresh", "merge_thresh", "binary_thresh"]), (mnc, [])):
        for name in ("cpu_mask_voting", "gpu_mask_voting"):
            parameters = inspect.signature(getattr(module, name)).parameters.values()
            positional = [p.name for p in parameters if p.kind != p.KEYWORD_ONLY]
            last = ["device_id"] if (module, name) == (fcis, "gpu_mask_voting") else []
            assert positional == voting + more + last


DETS = np.zeros((2, 5), np.float32)
BOXES, MASKS = np.array([[1, 1, 3, 3]]), [np.ones((3, 3))]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fcis.nms([[0, 0, 1, 1, 1]], 0.5), TypeError, "dets is a list, expected a NumPy"),
        (lambda: fcis.nms(DETS[0], 0.5), ValueError, r"dets has shape \(5,\), expected \(N, 5\)"),
        (lambda: fcis.nms(DETS[:, :4], 0.5), ValueError, r"dets has shape \(2, 4\)"),
        (lambda: fcis.nms(DETS, np.nan), ValueError, "thresh is NaN"),
        (lambda: fcis.nms(DETS, "x"), TypeError, "thresh is 'x', expected a number"),
        (lambda: fcis.cpu_nms(DETS.astype(float), 0.5), ValueError, "expected float32"),
        (lambda: fcis.gpu_nms(DETS.astype(float), 0.5), ValueError, "expected float32"),
        (
            lambda: fcis.gpu_mask_voting([], DETS, DETS, 2, 9, 9, 9, 0.3, 0.5),
            TypeError,
            "masks is a list, expected a NumPy array",
        ),
        (
            lambda: mnc.gpu_mask_voting(*case(np.random.default_rng(0))[:3], 5, 9, 9, 9),
            ValueError,
            "num_classes is 5, but scores has 4 columns",
        ),
        (
            lambda: fcis.mask_aggregation(BOXES, MASKS, [], 9, 9),
            ValueError,
            "are 1, 1 and 0, expected as many of each",
        ),
        (
            lambda: fcis.mask_aggregation(BOXES + 7, MASKS, [1], 9, 9),
            ValueError,
            r"boxes\[0\] is \[8, 8, 10, 10\], expected a box on the image",
        ),
        (
            lambda: fcis.mask_aggregation(BOXES, [np.ones((2, 3))], [1], 9, 9),
            ValueError,
            r"masks\[0\] has shape \(2, 3\), expected \(3, 3\) as boxes\[0\]",
        ),
        (
            lambda: fcis.mask_aggregation(BOXES, MASKS, [1], 9, 9, 0),
            ValueError,
            "binary_thresh is 0, expected more than 0",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
