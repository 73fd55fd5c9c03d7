"""COCO's average precision against pycocotools' evaluator."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

from pyifcn.masks import Masks

pytest.importorskip("PIL", reason="pyifcn.evaluation needs Pillow")
pytest.importorskip("pycocotools", reason="the reference is pycocotools")
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pyifcn.data import CocoInstances, SyntheticShapes, Truth
from pyifcn.evaluation import (
    CocoAveragePrecision,
    average_recall,
    coco_average_precision,
    coco_results,
    read_results,
    report,
)

FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def reference(annotations, results, most=100):
    """COCOeval's figures from the contents of the two files, NaN for its -1."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = annotations
        truth.createIndex()
        evaluation = COCOeval(truth, loaded(truth, results), "segm")
        evaluation.params.maxDets = [most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0]  # (T, 101, K, A)
    tables = [precision[..., 0], precision[0, ..., 0], precision[5, ..., 0]]
    tables += [precision[..., a] for a in (1, 2, 3)]
    return CocoAveragePrecision(
        **dict(zip(FIGURES, map(mean, tables), strict=True)),
        per_category={
            c: mean(precision[:, :, k, 0]) for k, c in enumerate(evaluation.params.catIds)
        },
    )


def loaded(truth, results):
    if results:
        return truth.loadRes(results)
    nothing = COCO()  # loadRes cannot read an empty list
    nothing.dataset = {"images": truth.dataset["images"], "annotations": []}
    nothing.createIndex()
    return nothing


def mean(table):
    known = table[table > -1]
    return known.mean() if known.size else np.nan


def known(per_category):
    return {label: value for label, value in per_category.items() if not np.isnan(value)}


def check(got, expected):
    for name in FIGURES:
        same = pytest.approx(getattr(expected, name), abs=1e-12, rel=0, nan_ok=True)
        assert getattr(got, name) == same, name
    same = pytest.approx(known(expected.per_category), abs=1e-12, rel=0)
    assert known(got.per_category) == same


def as_coco(predictions, truths, categories):
    """The same as the contents of COCO's two files."""
    images = [
        {"id": i, "height": t.masks.size[0], "width": t.masks.size[1]}
        for i, t in enumerate(truths, 1)
    ]
    annotations, results = [], []
    for image, (masks, scores, labels), truth in zip(images, predictions, truths, strict=True):
        results += coco_results(masks, scores, image["id"], category_id=labels)
        areas = truth.masks.area if truth.areas is None else truth.areas
        for i, rle in enumerate(truth.masks.to_rle()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": int(truth.labels[i]),
                    "iscrowd": int(truth.crowd[i]),
                    "area": float(areas[i]),
                    "segmentation": rle,
                }
            )
    categories = [{"id": c} for c in categories]
    return {"images": images, "categories": categories, "annotations": annotations}, boxless(
        results
    )


def boxless(results):
    """The records without "bbox", as detectron2 has them: with it, COCOeval counts its area."""
    return [{key: value for key, value in r.items() if key != "bbox"} for r in results]


def compare(predictions, truths, categories, most=100):
    expected = reference(*as_coco(predictions, truths, categories), most)
    check(coco_average_precision(predictions, truths, most), expected)
    return expected


def moved(masks, rng, count, reach):
    """`count` of the masks, each pushed by up to `reach` pixels, and which they are."""
    chosen = rng.integers(0, len(masks), count)
    boxes = masks.boxes[chosen].astype(np.int64)
    boxes[:, :2] += rng.integers(-reach, reach + 1, (count, 2))
    return Masks.from_patches([masks.patch(i) for i in chosen], boxes, masks.size), chosen


def random_case(seed, most_found=60):
    """Truths with crowds and stated areas; predictions with ties; images without one or both."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for i, sample in enumerate(SyntheticShapes(9, size=(220, 240), seed=seed, radius=(8, 70))):
        beside, _ = moved(sample.masks, rng, 4, 6)
        masks = Masks.cat([sample.masks, beside])[: 0 if i in (2, 3) else None]
        areas = masks.area + np.where(
            rng.random(len(masks)) < 0.5, 0, rng.normal(0, 99, len(masks))
        )
        areas = np.clip(areas, 1, None)
        areas[:2] = [1024, 9216][: len(areas[:2])]
        labels = rng.integers(1, 4, len(masks))
        crowd = rng.random(len(masks)) < 0.2
        truths.append(Truth(masks, labels, crowd, None if i == 5 else areas))
        count = 0 if i in (3, 4) else most_found
        found, source = moved(sample.masks, rng, count, 8)
        right = labels[source] if len(labels) else np.ones(count, np.int64)
        theirs = np.where(rng.random(count) < 0.3, rng.integers(1, 6, count), right)
        predictions.append((found, np.round(rng.random(count), 1), theirs))
    return predictions, truths


@pytest.mark.parametrize("seed", range(4))
def test_random_cases(seed):
    predictions, truths = random_case(seed)
    expected = compare(predictions, truths, (1, 2, 3, 4))  # 4 is only predicted, 5 not even known
    assert expected.ap > 0.05
    assert np.isnan(expected.per_category[4])
    got = coco_average_precision(iter(predictions), iter(truths))
    check(got, expected)
    assert sorted(got.per_category) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("most", [1, 10, 100, 200])
def test_no_more_than_the_best_of_a_category(most):
    predictions, truths = random_case(7, most_found=500)
    assert max(np.bincount(labels).max(initial=0) for _, _, labels in predictions) > 100
    expected = compare(predictions, truths, (1, 2, 3), most)
    other = coco_average_precision(predictions, truths, 1000)
    assert abs(other.ap - expected.ap) > 1e-6
    if most == 100:
        check(coco_average_precision(predictions, truths), expected)


def rectangles(most):
    """Boxes on a coarse grid, so that IoUs tie and meet thresholds, of 144 to 14400 pixels."""
    corner = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 10), st.integers(1, 10))
    return st.lists(corner, max_size=most)


def drawn_masks(boxes):
    dense = np.zeros((len(boxes), 120, 120), bool)
    for mask, (y, x, height, width) in zip(dense, boxes, strict=True):
        mask[12 * y : 12 * (y + height), 12 * x : 12 * (x + width)] = True
    return Masks.from_dense(dense)


@st.composite
def images(draw):
    """A prediction and its truth; half of the predictions are right at first."""
    boxes = draw(rectangles(6))
    found = draw(rectangles(4)) + (draw(st.lists(st.sampled_from(boxes))) if boxes else [])

    def each(values, count):
        return draw(st.lists(st.sampled_from(values), min_size=count, max_size=count))

    areas = each([1.0, 1024.0, 1024.5, 5000.0, 9216.0, 9217.0], len(boxes))
    truth = Truth(
        drawn_masks(boxes),
        np.array(each([1, 2], len(boxes)), np.int64),
        np.array(each([False, False, True], len(boxes)), bool),
        draw(st.sampled_from([None, np.array(areas)])),
    )
    scores = np.array(each([0.25, 0.5, 0.75], len(found)))
    labels = np.array(each([1, 2], len(found)), np.int64)
    return (drawn_masks(found), scores, labels), truth


@settings(max_examples=100, deadline=None)
@given(st.lists(images(), max_size=3), st.sampled_from([2, 100]))
def test_any_rectangles(some, most):
    compare([prediction for prediction, _ in some], [truth for _, truth in some], (1, 2), most)


def one(boxes, labels, crowd=(), areas=None):
    crowd = np.array([i in crowd for i in range(len(boxes))], bool)
    return Truth(drawn_masks(boxes), np.array(labels, np.int64), crowd, areas)


def test_by_hand():
    """Two of three truths are found, between them a wrong one: precision 1 to 1/3, 2/3 to 2/3."""
    truth = one([(0, 0, 2, 2), (4, 0, 2, 2), (0, 4, 2, 2)], [7, 7, 7])
    found = drawn_masks([(0, 0, 2, 2), (8, 8, 2, 2), (4, 0, 2, 2)])
    got = coco_average_precision([(found, np.array([3, 2, 1]), np.array([7, 7, 7]))], [truth])
    assert got.ap == pytest.approx((34 + 33 * 2 / 3) / 101, abs=1e-12)
    assert got.per_category == {7: got.ap}
    assert [got.ap50, got.ap75, got.ap_small] == pytest.approx([got.ap] * 3, abs=1e-12)
    assert np.isnan([got.ap_medium, got.ap_large]).all()


@pytest.mark.parametrize(("second", "ap50"), [(0, 1), (1, 51 / 101)])
def test_of_equal_truths_the_last_is_taken(second, ap50):
    """The first prediction covers two truths by half each, the second is one of them."""
    boxes = [(0, 0, 2, 2), (0, 2, 2, 2)]
    found = drawn_masks([(0, 0, 2, 4), boxes[second]])
    prediction = found, np.array([1.0, 0.5]), np.array([1, 1])
    expected = compare([prediction], [one(boxes, [1, 1])], [1])
    assert expected.ap50 == pytest.approx(ap50, abs=1e-12)


def test_crowds_take_any_number_and_count_for_nothing():
    crowded = one([(0, 0, 2, 2), (4, 0, 6, 6)], [1, 1], crowd=[1])
    found = drawn_masks([(4, 0, 1, 1), (5, 2, 2, 2), (4, 0, 6, 6), (0, 0, 2, 2)])
    scores = np.array([4.0, 3, 2, 1])
    same, other = np.ones(4, np.int64), np.array([2, 1, 1, 1])
    assert coco_average_precision([(found, scores, same)], [crowded]).ap == pytest.approx(1)
    got = coco_average_precision([(found, scores, other)], [crowded])  # of another category
    assert got.per_category[1] == pytest.approx(1)
    assert np.isnan(got.per_category[2])
    only = one([(4, 0, 6, 6)], [1], crowd=[0])
    assert np.isnan(coco_average_precision([(found, scores, same)], [only]).ap)


def test_nothing_found_and_nothing_to_find():
    predictions, truths = random_case(0)
    none = [(m[:0], s[:0], labels[:0]) for m, s, labels in predictions]
    assert coco_average_precision(none, truths).figures == dict.fromkeys(
        ("AP", "AP/small", "AP/medium", "AP/large", "AP50", "AP75"), 0
    )
    empty = [Truth(t.masks[:0], t.labels[:0], t.crowd[:0]) for t in truths]
    for got in (coco_average_precision(predictions, empty), coco_average_precision([], [])):
        assert np.isnan([getattr(got, name) for name in FIGURES]).all()
        assert set(got.figures.values()) == {-1.0}
    plain = [(m[:0], [], []) for m, _, _ in predictions]
    assert coco_average_precision(plain, truths) == coco_average_precision(none, truths)


def test_tensors_and_other_dtypes_measure_the_same():
    predictions, truths = random_case(1)
    expected = coco_average_precision(predictions, truths)
    tensors = [(m, torch.tensor(s), torch.tensor(labels)) for m, s, labels in predictions]
    check(coco_average_precision(tensors, truths), expected)
    narrow = [(m, s.astype(np.float32), labels.astype(np.uint8)) for m, s, labels in predictions]
    check(coco_average_precision(narrow, truths), expected)


def test_bad_input_is_refused():
    predictions, truths = random_case(0)
    with pytest.raises(ValueError, match="predictions and truths differ in length: 8 and 9"):
        coco_average_precision(predictions[1:], truths)
    with pytest.raises(ValueError, match="predictions and truths differ in length"):
        coco_average_precision(iter(predictions[:-1]), truths)
    with pytest.raises(ValueError, match="max_detections must be a positive number, got 0"):
        coco_average_precision(predictions, truths, 0)
    masks, scores, labels = predictions[0]
    for bad, error, message in (
        ((masks, scores[1:], labels), ValueError, r"predictions\[0\] has 60 masks, scores"),
        ((masks, scores * np.nan, labels), ValueError, r"predictions\[0\] has a score that is NaN"),
        (
            (masks, scores, labels * 0.5),
            TypeError,
            r"predictions\[0\] has float64 labels",
        ),
        ((masks.resize((9, 9)), scores, labels), ValueError, r"has masks of size \(9, 9\), its"),
    ):
        with pytest.raises(error, match=message):
            coco_average_precision([bad, *predictions[1:]], truths)
    truths[1].labels = truths[1].labels[1:]
    with pytest.raises(ValueError, match=r"truths\[1\] has \d+ masks, labels of shape"):
        coco_average_precision(predictions, truths)


def test_report():
    got = coco_average_precision(*random_case(0))
    recall = average_recall([], [])
    lines = report(recall, None, {"mAP@0.5": 0.25}, got).splitlines()
    cells = [f"{v:.3f}" for v in (got.ap, got.ap_small, got.ap_medium, got.ap_large)]
    assert lines[-4].split() == ["AP", *cells]
    assert lines[-3].split() == ["AP50", f"{got.ap50:.3f}"]
    assert lines[-2].split() == ["AP75", f"{got.ap75:.3f}"]
    assert report(recall, None, None, coco_average_precision([], [])).splitlines()[-3:] == [
        f"{'AP':<14}" + 4 * f"{'-':>8}",
        f"{'AP50':<14}{'-':>8}",
        f"{'AP75':<14}{'-':>8}",
    ]


def beside(truths, found):
    """What is found in the images of the truths."""
    nothing = np.zeros(0), np.zeros(0, np.int64)
    return [found.get(t.image_id, (t.masks[:0], *nothing)) for t in truths]


def truths_by_id(data):
    """COCOeval goes through the images by id, which decides ties."""
    return sorted((data.truth(i) for i in range(len(data))), key=lambda truth: truth.image_id)


def test_pycocotools_example(shared_data):
    annotations = shared_data / "coco_results" / "eval_ref_gt_val2014_100.json"
    results = shared_data / "coco_results" / "eval_ref_dt_val2014_fakesegm100.json"
    truths = truths_by_id(CocoInstances(annotations, "."))
    got = coco_average_precision(beside(truths, read_results(results)), truths)
    check(got, reference(json.loads(annotations.read_text()), json.loads(results.read_text())))
    figures = [round(getattr(got, name), 4) for name in FIGURES]
    assert figures == [0.3195, 0.5623, 0.2989, 0.3874, 0.3102, 0.3269]  # as published with the data


def test_pooled_detectors(shared_data):
    """Three detectors' results pooled, a fourth's serving as truth, every seventh a crowd."""
    fourth, *others = (
        read_results(shared_data / "coco_results" / f"setA_{name}.segm.json.gz")
        for name in ("yrm18", "yrm35_crop", "yolact_resnet101_conv4", "yolact_resnet101_maskrcnn")
    )
    truths, predictions = [], []
    for image_id, (masks, scores, labels) in fourth.items():
        sure = (scores > 0.3) & (masks.area > 0)
        crowd = np.arange(sure.sum()) % 7 == 6
        truths.append(Truth(masks[sure], labels[sure], crowd, None, image_id))
        parts = [other[image_id] for other in others if image_id in other]
        predictions.append(
            (
                Masks.cat([masks[:0], *(part[0] for part in parts)]),
                np.concatenate([scores[:0], *(part[1] for part in parts)]),
                np.concatenate([labels[:0], *(part[2] for part in parts)]),
            )
        )
    assert sum(len(masks) for masks, _, _ in predictions) > 5000
    assert compare(predictions, truths, range(1, 91)).ap > 0.2


def test_photographs(shared_data):
    """Photographs with crowds, and polygons; the predictions are the truths, pushed."""
    data = CocoInstances(shared_data / "coco_open" / "instances_train.json", ".")
    truths = truths_by_id(data)
    rng = np.random.default_rng(0)
    predictions = []
    for truth in truths:
        if not len(truth.masks):
            predictions.append((truth.masks, np.zeros(0), truth.labels))
            continue
        found, source = moved(truth.masks, rng, 3 * len(truth.masks), 5)
        predictions.append((found, np.round(rng.random(len(found)), 2), truth.labels[source]))
    assert sum(truth.crowd.sum() for truth in truths) > 5
    assert compare(predictions, truths, data.categories).ap > 0.1
