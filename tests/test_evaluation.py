"""Evaluation against pycocotools, a slow reference, and its own files."""

from __future__ import annotations

import contextlib
import gzip
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pyifcn.data import CocoInstances, DataError, SyntheticShapes, Truth
from pyifcn.evaluation import (
    average_recall,
    coco_results,
    detection_quality,
    match_counts,
    read_results,
    report,
    write_results,
)
from pyifcn.masks import Masks

NUMBERS = (1, 10, 100, 1000)


def reference_recall(annotations, results, numbers):
    """COCOeval with useCats 0, from the contents of the two files."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = annotations
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.params.useCats = 0
        evaluation.params.maxDets = list(numbers)
        evaluation.evaluate()
        evaluation.accumulate()
    recall = evaluation.eval["recall"][:, 0]
    return {
        f"AR@{n}{area}": np.mean(recall[:, a, m]) if (recall[:, a, m] > -1).all() else -1
        for m, n in enumerate(numbers)
        for a, area in enumerate(["", "/small", "/medium", "/large"])
    }


def reference_counts(iou, crowd_share, threshold):
    """Greedy by falling score; iou (D, G) without crowds, crowd_share (D,)."""
    free = set(range(iou.shape[1]))
    tp = fp = 0
    for row, share in zip(iou, crowd_share, strict=True):
        best = max(free, key=lambda g: (row[g], g), default=None)
        if best is not None and row[best] >= threshold:
            free.remove(best)
            tp += 1
        elif share < threshold:
            fp += 1
    return tp, fp, len(free)


def check_recall(got, expected):
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert abs(got[key] - value) < 1e-9, (key, got[key], value)


def moved(masks, rng, count, reach):
    """`count` of the masks, each pushed by up to `reach` pixels."""
    chosen = rng.integers(0, len(masks), count)
    boxes = masks.boxes[chosen].astype(np.int64)
    boxes[:, :2] += rng.integers(-reach, reach + 1, (count, 2))
    return Masks.from_patches([masks.patch(i) for i in chosen], boxes, masks.size)


def random_case(seed):
    """Truths with crowds, several labels and stated areas; predictions with ties; some empty."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for i, sample in enumerate(SyntheticShapes(7, size=(220, 240), seed=seed, radius=(8, 70))):
        masks = Masks.cat([sample.masks, moved(sample.masks, rng, 3, 6)])
        if i == 2:
            masks = masks[:0]
        areas = masks.area + np.where(
            rng.random(len(masks)) < 0.5, 0, rng.normal(0, 99, len(masks))
        )
        areas = np.clip(areas, 1, None)
        areas[:2] = [1024, 9216][: len(areas[:2])]
        labels = rng.integers(1, 4, len(masks))
        crowd = rng.random(len(masks)) < 0.2
        truths.append(Truth(masks, labels, crowd, areas, image_id=i + 1))
        count = 0 if i == 3 else 150
        found = moved(sample.masks, rng, count, 12)
        found = Masks.cat([found, found[: count // 8]])
        predictions.append((found, np.round(rng.random(len(found)), 1)))
    return predictions, truths


def as_coco(predictions, truths):
    """The same as the contents of COCO's two files."""
    annotations = {
        "images": [{"id": t.image_id} for t in truths],
        "categories": [{"id": c} for c in (1, 2, 3)],
        "annotations": [],
    }
    results = []
    for (masks, scores), truth in zip(predictions, truths, strict=True):
        annotations["images"][truth.image_id - 1].update(
            height=truth.masks.size[0], width=truth.masks.size[1]
        )
        results += coco_results(masks, scores, truth.image_id)
        for i, rle in enumerate(truth.masks.to_rle()):
            annotations["annotations"].append(
                {
                    "id": len(annotations["annotations"]) + 1,
                    "image_id": truth.image_id,
                    "category_id": int(truth.labels[i]),
                    "iscrowd": int(truth.crowd[i]),
                    "area": float(truth.areas[i]),
                    "segmentation": rle,
                }
            )
    return annotations, results


@pytest.mark.parametrize("seed", range(4))
def test_recall_equals_pycocotools_on_random_cases(seed):
    predictions, truths = random_case(seed)
    expected = reference_recall(*as_coco(predictions, truths), NUMBERS)
    check_recall(average_recall(predictions, truths, NUMBERS), expected)
    check_recall(average_recall(iter(predictions), iter(truths), NUMBERS), expected)


def load(annotations, results):
    """Truths of an instances file, and the predictions of results files pooled."""
    data = CocoInstances(annotations, ".")
    truths = [data.truth(i) for i in range(len(data))]
    found = [read_results(path) for path in results]
    predictions = []
    for truth in truths:
        parts = [f[truth.image_id] for f in found if truth.image_id in f]
        masks = [part[0] for part in parts] or [Masks.from_rle([], truth.masks.size)]
        scores = [part[1] for part in parts] or [np.zeros(0)]
        predictions.append((Masks.cat(masks), np.concatenate(scores)))
    return predictions, truths


def test_recall_equals_pycocotools_on_its_example(shared_data):
    annotations = shared_data / "coco_results" / "eval_ref_gt_val2014_100.json"
    results = shared_data / "coco_results" / "eval_ref_dt_val2014_fakesegm100.json"
    predictions, truths = load(annotations, [results])
    expected = reference_recall(
        json.loads(annotations.read_text()), json.loads(results.read_text()), NUMBERS
    )
    check_recall(average_recall(predictions, truths, NUMBERS), expected)


def test_recall_equals_pycocotools_on_pooled_detectors(shared_data):
    """Three detectors' results pooled, a fourth's serving as truth."""
    fourth, *others = (
        read_results(shared_data / "coco_results" / f"setA_{name}.segm.json.gz")
        for name in ("yrm18", "yrm35_crop", "yolact_resnet101_conv4", "yolact_resnet101_maskrcnn")
    )
    truths = []
    for image_id, (masks, scores, _) in fourth.items():
        sure = masks[(scores > 0.3) & (masks.area > 0)]
        ones = np.ones(len(sure), np.int64)
        crowd = np.arange(len(sure)) % 7 == 6
        truths.append(Truth(sure, ones, crowd, sure.area.astype(float), image_id))
    predictions = []
    for truth in truths:
        parts = [other[truth.image_id] for other in others if truth.image_id in other]
        masks = Masks.cat([truth.masks[:0], *(part[0] for part in parts)])
        predictions.append((masks, np.concatenate([np.zeros(0), *(part[1] for part in parts)])))
    for number, truth in enumerate(truths):
        truth.image_id = number + 1
    assert sum(len(masks) for masks, _ in predictions) > 5000
    expected = reference_recall(*as_coco(predictions, truths), NUMBERS)
    check_recall(average_recall(predictions, truths, NUMBERS), expected)


def test_recall_of_nothing():
    empty = Truth(Masks.from_rle([], (9, 9)), np.zeros(0, np.int64), np.zeros(0, bool))
    assert set(average_recall([], []).values()) == {-1.0}
    found = Masks.from_dense(np.ones((1, 9, 9), bool)), np.ones(1)
    assert set(average_recall([found], [empty]).values()) == {-1.0}
    one = Truth(found[0], np.ones(1, np.int64), np.zeros(1, bool))
    got = average_recall([(found[0][:0], np.zeros(0))], [one], [10])
    assert got == {"AR@10": 0, "AR@10/small": 0, "AR@10/medium": -1, "AR@10/large": -1}
    assert average_recall([found], [one], [10])["AR@10"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_counts_equal_the_reference(seed):
    predictions, truths = random_case(seed)
    thresholds = [0.1, 0.5, 0.75, 0.95]
    counts = match_counts(predictions, truths, thresholds)
    for i, ((masks, scores), truth) in enumerate(zip(predictions, truths, strict=True)):
        found = masks[np.argsort(-scores, kind="stable")].to_dense().reshape(len(masks), 220 * 240)
        real = truth.masks.to_dense().reshape(len(truth.masks), 220 * 240)
        both = (found[:, None] & real[None]).sum(2)
        either = (found[:, None] | real[None]).sum(2)
        share = np.zeros(len(found))
        for crowd in np.flatnonzero(truth.crowd):
            share = np.maximum(share, both[:, crowd] / np.maximum(found.sum(1), 1))
        iou = (both / np.maximum(either, 1))[:, ~truth.crowd]
        for t, threshold in enumerate(thresholds):
            expected = reference_counts(iou, share, threshold)
            assert (counts.tp[i, t], counts.fp[i, t], counts.fn[i, t]) == expected
    quality = detection_quality(predictions, truths, thresholds)
    total = [part.sum(0) for part in (counts.tp, counts.fp, counts.fn)]
    assert np.array_equal([quality.tp, quality.fp, quality.fn], total)
    assert np.allclose(quality.quality, total[0] / sum(total))
    assert np.allclose(quality.precision, total[0] / (total[0] + total[1]))
    assert np.allclose(quality.recall, total[0] / (total[0] + total[2]))
    assert np.isclose(quality.mean, quality.quality.mean())


def test_quality_by_hand():
    """Two truths, one found twice: one right, one wrong, one missed."""
    dense = np.zeros((2, 10, 10), bool)
    dense[0, :4, :4] = dense[1, 6:, 6:] = True
    truth = Truth(Masks.from_dense(dense), np.ones(2, np.int64), np.zeros(2, bool))
    shifted = np.roll(dense[0], 1, axis=1)  # IoU 0.6
    found = Masks.from_dense(np.stack([shifted, dense[0]])), np.array([0.9, 0.8])
    quality = detection_quality([found], [truth], [0.5, 0.7])
    assert quality.tp.tolist() == [1, 1]
    assert quality.fp.tolist() == [1, 1]
    assert quality.fn.tolist() == [1, 1]
    assert np.allclose(quality.quality, 1 / 3)


def test_quality_of_nothing():
    quality = detection_quality([], [])
    assert quality.mean == 1
    assert quality.tp.tolist() == [0] * 10
    empty = Truth(Masks.from_rle([], (9, 9)), np.zeros(0, np.int64), np.zeros(0, bool))
    found = Masks.from_dense(np.ones((1, 9, 9), bool)), np.ones(1)
    assert detection_quality([found], [empty]).mean == 0
    assert detection_quality([(empty.masks, np.zeros(0))], [empty]).mean == 1


def test_bad_arguments():
    masks = Masks.from_dense(np.ones((2, 4, 5), bool))
    truth = Truth(masks, np.ones(2, np.int64), np.zeros(2, bool))
    for function in (average_recall, match_counts, detection_quality):
        with pytest.raises(ValueError, match="predictions and truths differ in length"):
            function([], [truth])
        with pytest.raises(ValueError, match=r"predictions\[0\] has 2 masks and scores of shape"):
            function([(masks, np.ones(3))], [truth])
        with pytest.raises(ValueError, match=r"predictions\[0\] has a score that is NaN"):
            function([(masks, np.array([1, np.nan]))], [truth])
        other = Masks.from_dense(np.ones((1, 5, 4), bool))
        with pytest.raises(ValueError, match=r"predictions\[0\] has masks of size \(5, 4\)"):
            function([(other, np.ones(1))], [truth])
    with pytest.raises(ValueError, match="max_proposals must be positive numbers"):
        average_recall([], [], [0])
    with pytest.raises(ValueError, match="thresholds must be above 0"):
        match_counts([], [], [0.0, 0.5])


def test_results_round_trip(tmp_path):
    predictions, truths = random_case(0)
    path = tmp_path / "results.json"
    records = []
    for (masks, scores), truth in zip(predictions, truths, strict=True):
        records += coco_results(masks, scores, truth.image_id, file_name=f"{truth.image_id}.png")
    write_results(path, records)
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]
    assert json.loads(path.read_text()) == records
    (tmp_path / "results.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    for name in ("results.json", "results.json.gz"):
        got = read_results(tmp_path / name)
        assert set(got) == {
            t.image_id for t, (m, _) in zip(truths, predictions, strict=True) if len(m)
        }
        for truth, (masks, scores) in zip(truths, predictions, strict=True):
            if len(masks):
                assert got[truth.image_id][0] == masks
                assert np.array_equal(got[truth.image_id][1], scores)
                assert got[truth.image_id][2].tolist() == [1] * len(masks)
    write_results(path, [])
    assert read_results(path) == {}


def test_results_are_read_by_category(tmp_path):
    masks = Masks.from_dense(np.tri(3, dtype=bool)[:, None])
    records = coco_results(masks[:1], np.array([0.5]), "a", category_id=2)
    assert coco_results(masks[:1].to_dense(), np.array([0.5]), "a", category_id=2) == records
    records += coco_results(masks[1:], np.array([0.5, 0.25]), "a", category_id=1)
    assert [record["bbox"][2] for record in records] == [1, 2, 3]
    write_results(tmp_path / "r.json", records)
    got, scores, labels = read_results(tmp_path / "r.json")["a"]
    assert got.area.tolist() == [2, 3, 1]
    assert scores.tolist() == [0.5, 0.25, 0.5]
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 1, 2]


def test_results_with_a_category_each(tmp_path):
    masks = Masks.from_dense(np.tri(3, dtype=bool)[:, None])
    scores = np.array([0.5, 0.25, 0.75])
    for categories in ([9, 4, 9], np.array([9, 4, 9], np.int32)):
        records = coco_results(masks, scores, "a", category_id=categories)
        assert [record["category_id"] for record in records] == [9, 4, 9]
        write_results(tmp_path / "r.json", records)
        got = read_results(tmp_path / "r.json")["a"]
        assert got[0] == masks[[1, 0, 2]]
        assert got[1].tolist() == [0.25, 0.5, 0.75]
        assert got[2].tolist() == [4, 9, 9]
    assert coco_results(masks[:0], [], "a", category_id=[]) == []
    with pytest.raises(ValueError, match=r"category_id has shape \(2,\) for 3 masks"):
        coco_results(masks, scores, "a", category_id=[1, 2])
    with pytest.raises(TypeError, match="category_id must be integers, got float64"):
        coco_results(masks, scores, "a", category_id=[1.0, 2.0, 3.0])


def test_labels_after_scores_change_nothing():
    predictions, truths = random_case(1)
    labelled = [(masks, scores, np.arange(len(masks))) for masks, scores in predictions]
    assert average_recall(labelled, truths) == average_recall(predictions, truths)
    for ours, plain in zip(
        match_counts(labelled, truths).tp, match_counts(predictions, truths).tp, strict=True
    ):
        np.testing.assert_array_equal(ours, plain)


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, [])
    masks = Masks.from_dense(np.ones((1, 3, 3), bool))
    with pytest.raises(ValueError, match="Out of range float"):
        write_results(path, coco_results(masks, [np.nan], 1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]
    assert read_results(path) == {}
    with pytest.raises(FileNotFoundError):
        write_results(tmp_path / "no" / "results.json", [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "is not COCO results: it holds no list"),
        ([3], "result 0 is 3, not an object"),
        ([{}], "result 0 has no 'image_id'"),
        ([{"image_id": 1, "segmentation": {}}], "result 0 has no 'score'"),
        ([{"image_id": 1, "score": "x", "segmentation": {}}], "result 0: score is 'x'"),
        ([{"image_id": 1, "score": float("nan"), "segmentation": {}}], "result 0: score is nan"),
        (
            [{"image_id": 1, "score": 1, "segmentation": {}, "category_id": 2**63}],
            "result 0: category_id is 9223372036854775808",
        ),
        ([{"image_id": [], "score": 1, "segmentation": {}}], "result 0: image_id is a list"),
        ([{"image_id": 1, "score": 1, "segmentation": [[1, 2]]}], "result 0: segmentation is a l"),
        ([{"image_id": 1, "score": 1, "segmentation": {}}], "result 0: segmentation is neither"),
        (
            [
                {"image_id": 1, "score": 1, "segmentation": {"size": [h, 2], "counts": [2 * h]}}
                for h in (2, 3)
            ],
            r"result 1: segmentation has size \[3, 2\], its image \[2, 2\]",
        ),
    ],
)
def test_malformed_results(tmp_path, content, message):
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"r.json.*{message}"):
        read_results(tmp_path / "r.json")


def test_damaged_gzip(tmp_path):
    whole = gzip.compress(b"[]" * 100)
    for content in (whole[:-12], b"no gzip", whole[:15] + bytes(8) + whole[23:]):
        (tmp_path / "r.json.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"r.json.gz"):
            read_results(tmp_path / "r.json.gz")


def test_report():
    predictions, truths = random_case(0)
    text = report(average_recall(predictions, truths), detection_quality(predictions, truths))
    lines = text.splitlines()
    assert len(lines) == 9
    assert lines[0].split() == ["all", "small", "medium", "large"]
    assert lines[5].split()[-1] == "mean"
    assert max(map(len, lines)) <= 110


def test_report_of_average_precision():
    recall = average_recall([], [])
    lines = report(recall, None, {"mAP@0.5": 0.25, "mAP@0.7": -1.0}).splitlines()
    assert [line.split() for line in lines[-2:]] == [["mAP@0.5", "0.250"], ["mAP@0.7", "-"]]
    assert lines[:-2] == report(recall).splitlines()
