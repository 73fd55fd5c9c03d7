"""mAP against the VOC's rules written out, and beside COCO's evaluator."""

from dataclasses import dataclass

import numpy as np
import pytest

from pyifcn.masks import Masks

pytest.importorskip("PIL", reason="pyifcn.evaluation needs Pillow")
from pyifcn.evaluation import average_precision


@dataclass
class Truth:
    masks: Masks
    labels: np.ndarray
    crowd: np.ndarray


def reference(predictions, truths, threshold, eleven_points):
    """One prediction at a time, as the VOC's development kit does it."""
    areas = []
    labels = {
        label
        for t in truths
        for label, crowd in zip(t.labels.tolist(), t.crowd, strict=True)
        if not crowd
    }
    for label in sorted(labels):
        found = [
            (float(score), image, mask)
            for image, (masks, scores, theirs) in enumerate(predictions)
            for mask, score, its in zip(masks.to_dense(), scores, theirs, strict=True)
            if its == label
        ]
        taken, right, wrong = set(), [], []
        for _, image, mask in sorted(found, key=lambda f: -f[0]):
            truth = truths[image]
            best, where, in_crowd = 0.0, None, 0.0
            for i, other in enumerate(truth.masks.to_dense()):
                if truth.labels[i] != label:
                    continue
                common = (mask & other).sum()
                if truth.crowd[i]:
                    in_crowd = max(in_crowd, common / max(mask.sum(), 1))
                elif common / max((mask | other).sum(), 1) > best:
                    best, where = common / (mask | other).sum(), i
            hit = best >= threshold and (image, where) not in taken
            if hit:
                taken.add((image, where))
            elif in_crowd >= threshold:
                continue
            right.append(hit)
            wrong.append(not hit)
        total = sum(((t.labels == label) & ~t.crowd).sum() for t in truths)
        recall = np.cumsum(right) / total
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        areas.append(area(recall, precision, eleven_points))
    return np.mean(areas)


def area(recall, precision, eleven_points):
    if eleven_points:
        points = [k / 10 for k in range(11)]
        return np.mean([max(precision[recall >= p - 1e-12], default=0.0) for p in points])
    total, before = 0.0, 0.0
    for k, r in enumerate(recall):
        total += (r - before) * max(precision[k:])
        before = r
    return total


def drawn(rng, images=6):
    """Rectangles, and predictions that are moved, repeated, of other labels, or made up."""
    predictions, truths = [], []
    for _ in range(images):
        count = int(rng.integers(0, 6))
        corners = rng.integers(0, 30, (count, 2))
        dense = np.zeros((count, 40, 40), bool)
        for mask, (y, x) in zip(dense, corners, strict=True):
            mask[y : y + 10, x : x + 9] = True
        labels = rng.integers(1, 4, count)
        truths.append(Truth(Masks.from_dense(dense), labels, rng.random(count) < 0.2))
        source = rng.integers(0, max(count, 1), 9 if count else 0)
        moves = rng.integers(-2, 3, (len(source), 2))
        found = np.stack(
            [np.roll(dense[i], tuple(m), (0, 1)) for i, m in zip(source, moves, strict=True)]
            or [np.eye(40, dtype=bool)]
        )
        theirs = labels[source] if count else np.ones(1, int)
        theirs = np.where(rng.random(len(found)) < 0.2, rng.integers(1, 5, len(found)), theirs)
        scores = rng.integers(0, 8, len(found)) / 8  # with ties
        predictions.append((Masks.from_dense(found), scores, theirs))
    return predictions, truths


@pytest.mark.parametrize("eleven_points", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_map_is_the_references(seed, eleven_points):
    predictions, truths = drawn(np.random.default_rng(seed))
    found = average_precision(predictions, truths, (0.5, 0.7, 1), eleven_points=eleven_points)
    assert list(found) == ["mAP@0.5", "mAP@0.7", "mAP@1"]
    for threshold, value in zip((0.5, 0.7, 1), found.values(), strict=True):
        expected = reference(predictions, truths, threshold, eleven_points)
        assert value == pytest.approx(expected, abs=1e-12)


def test_nothing_found_and_nothing_to_find(rng):
    predictions, truths = drawn(rng)
    none = [(m[:0], s[:0], labels[:0]) for m, s, labels in predictions]
    assert average_precision(none, truths) == {"mAP@0.5": 0, "mAP@0.7": 0}
    empty = [Truth(t.masks[:0], t.labels[:0], t.crowd[:0]) for t in truths]
    assert average_precision(predictions, empty, [0.5]) == {"mAP@0.5": -1}
    assert average_precision([], []) == {"mAP@0.5": -1, "mAP@0.7": -1}


def test_bad_input_is_refused(rng):
    predictions, truths = drawn(rng)
    with pytest.raises(ValueError, match="predictions and truths differ in length: 5 and 6"):
        average_precision(predictions[1:], truths)
    with pytest.raises(ValueError, match="thresholds must be above 0 and at most 1"):
        average_precision(predictions, truths, [0])
    masks, scores, labels = predictions[0]
    for bad, message in (
        ((masks, scores[1:], labels), r"predictions\[0\] has \d+ masks, scores of shape"),
        ((masks, scores * np.nan, labels), r"predictions\[0\] has a score that is NaN"),
        ((masks.resize((9, 9)), scores, labels), r"predictions\[0\] has masks of size \(9, 9\)"),
    ):
        with pytest.raises(ValueError, match=message):
            average_precision([bad, *predictions[1:]], truths)


def test_map_is_near_cocos(rng):
    """COCO reads precision at 101 points, and may pair a prediction with its second best truth."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    predictions, truths = drawn(rng, images=60)
    for truth in truths:
        truth.crowd[:] = False
    images = [{"id": i, "height": 40, "width": 40} for i in range(len(truths))]
    annotations = [
        {
            "image_id": i,
            "category_id": int(label),
            "segmentation": rle,
            "iscrowd": 0,
            "area": 90,
            "bbox": [0, 0, 1, 1],
        }
        for i, t in enumerate(truths)
        for rle, label in zip(t.masks.to_rle(), t.labels, strict=True)
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    coco = COCO()
    coco.dataset = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": c, "name": str(c)} for c in (1, 2, 3)],
    }
    coco.createIndex()
    results = [
        {"image_id": i, "category_id": int(label), "segmentation": rle, "score": float(score)}
        for i, (masks, scores, labels) in enumerate(predictions)
        for rle, score, label in zip(masks.to_rle(), scores, labels, strict=True)
        if label < 4
    ]
    evaluator = COCOeval(coco, coco.loadRes(results), "segm")
    evaluator.evaluate()
    evaluator.accumulate()
    precision = evaluator.eval["precision"][0, :, :, 0, -1]  # IoU 0.5, all areas, 100 detections
    assert average_precision(predictions, truths, [0.5])["mAP@0.5"] == pytest.approx(
        precision.mean(), abs=0.02
    )
