"""`pyifcn.compat.supervision` beside supervision."""

import gzip
import inspect
import json

import numpy as np
import pytest

pytest.importorskip("supervision", reason="supervision is missing")

import supervision
from supervision.detection.compact_mask import CompactMask
from supervision.detection.utils import iou_and_nms as theirs

import pyifcn
from pyifcn import Masks
from pyifcn.compat import supervision as ours

METRICS = list(supervision.OverlapMetric)
THRESHOLDS = (0.0, 0.25, 0.3, 0.5, 0.7, 1.0)


def scene(rng, count, columns, size=(48, 70)):
    masks = np.zeros((count, *size), bool)
    predictions = np.zeros((count, columns))
    for mask, row in zip(masks, predictions, strict=True):
        x, y, w, h = rng.integers(0, [60, 40, 30, 30])
        mask[y : y + h, x : x + w] = rng.random(mask[y : y + h, x : x + w].shape) < 0.9
        row[:4] = x, y, x + w, y + h
    predictions[:, 4] = rng.integers(0, max(2, count), count) / 8  # ties
    predictions[:, 5:] = rng.integers(0, 3, (count, columns - 5))
    return predictions, masks


def real_masks(shared_data):
    """The masks of four detectors on one image, and how sure they were."""
    found = []
    for path in sorted((shared_data / "coco_results").glob("setA_*")):
        text = path.read_bytes()
        found += json.loads(gzip.decompress(text) if path.suffix == ".gz" else text)
    image = found[0]["image_id"]
    found = [f for f in found if f["image_id"] == image]
    masks = Masks.from_rle([f["segmentation"] for f in found])
    scores = np.array([[f["score"], f["category_id"]] for f in found])
    return np.hstack([masks.boxes, scores]), masks.to_dense()


def agree(predictions, masks):
    compact = CompactMask.from_dense(
        masks, predictions[:, :4].astype(np.int32), image_shape=masks.shape[1:]
    )
    for metric in METRICS:
        for form in (masks, compact):
            expected = theirs.mask_iou_batch(form, form, metric)
            got = ours.mask_iou_batch(form, form, metric)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
            for threshold in THRESHOLDS:
                arguments = predictions, form, threshold
                np.testing.assert_array_equal(
                    ours.mask_non_max_suppression(*arguments, metric),
                    theirs.mask_non_max_suppression(*arguments, metric),
                )
                merged = ours.mask_non_max_merge(*arguments, overlap_metric=metric)
                assert merged == theirs.mask_non_max_merge(*arguments, overlap_metric=metric)
        for threshold in THRESHOLDS:
            np.testing.assert_array_equal(
                ours.box_non_max_suppression(predictions, threshold, metric),
                theirs.box_non_max_suppression(predictions, threshold, metric),
            )


@pytest.mark.parametrize("columns", [5, 6])
@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_random_masks(rng, count, columns):
    agree(*scene(rng, count, columns))


def test_real_masks(shared_data):
    predictions, masks = real_masks(shared_data)
    agree(predictions[:60], masks[:60])


def test_proposals_become_detections(rng):
    maps = rng.normal(size=(1, 9, 12, 15)).astype(np.float32)
    arguments = {"strides": [8], "image_size": (90, 117), "size": 7}
    [found] = pyifcn.propose([maps], [maps[:, 0]], **arguments)
    detections = found.to_supervision()
    assert len(detections) == len(found) > 0
    np.testing.assert_array_equal(detections.xyxy, found.boxes)
    np.testing.assert_array_equal(detections.confidence, found.scores)
    np.testing.assert_array_equal(detections.mask, found.masks.to_dense())
    assert 0 < len(detections.with_nms(0.1)) < len(found)


def test_accelerate_replaces_what_detections_use(rng):
    predictions, masks = scene(rng, 30, 6)
    detections = supervision.Detections(
        xyxy=predictions[:, :4],
        mask=masks,
        confidence=predictions[:, 4],
        class_id=np.zeros(30, int),
    )
    before = detections.with_nms(0.3), detections.with_nmm(0.3)
    with pyifcn.accelerate("supervision") as accelerated:
        assert "supervision.detection.core.mask_non_max_suppression" in accelerated.replaced
        after = detections.with_nms(0.3), detections.with_nmm(0.3)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old.xyxy, new.xyxy)
        np.testing.assert_array_equal(old.mask, new.mask)


@pytest.mark.parametrize("name", ours.__all__)
def test_arguments(name):
    expected, got = (inspect.signature(getattr(m, name)).parameters for m in (theirs, ours))
    assert list(got) == list(expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, p, masks: m.mask_non_max_suppression(p, masks, 1.5),
        lambda m, p, masks: m.box_non_max_suppression(p, -1),
        lambda m, p, masks: m.mask_iou_batch(masks, masks[:, 1:]),
        lambda m, p, masks: m.mask_iou_batch(masks[0], masks),
        lambda m, p, masks: m.mask_non_max_merge(p, masks, 2),
    ],
)
def test_both_refuse(rng, call):
    for module in (theirs, ours):
        with pytest.raises(ValueError, match=r"\w"):
            call(module, *scene(rng, 5, 6))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equal_scores_of_narrow_predictions(rng, dtype):
    for columns in (5, 6):
        for _ in range(20):
            predictions, masks = scene(rng, 50, columns)
            arguments = predictions.astype(dtype), masks, 0.3
            for name in ("mask_non_max_suppression", "box_non_max_suppression"):
                some = arguments[:: 1 if name.startswith("mask") else 2]
                expected = getattr(theirs, name)(*some)
                np.testing.assert_array_equal(getattr(ours, name)(*some), expected)


@pytest.mark.filterwarnings("ignore")  # theirs, of the old order
def test_what_is_ignored(rng):
    predictions, masks = scene(rng, 20, 6)
    for size in (640, np.int64(640), 640.0, None):
        expected = theirs.mask_non_max_merge(predictions, masks, 0.3, size)
        assert ours.mask_non_max_merge(predictions, masks, 0.3, size) == expected
    more = np.vstack([masks, masks])
    for name in ("mask_non_max_merge", "mask_non_max_suppression"):
        expected = getattr(theirs, name)(predictions, more, 0.3)
        np.testing.assert_equal(getattr(ours, name)(predictions, more, 0.3), expected)
