"""`pyifcn.compat.ensemble_boxes` against a slow reference of what ensemble_boxes does."""

import numpy as np
import pytest

from pyifcn.compat import ensemble_boxes as ours


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = (high - low).clip(0).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def detections(rng, models, count, labels=3):
    """Boxes about few objects, and no two scores alike."""
    objects = rng.uniform(0.1, 0.6, (6, 4))
    objects[:, 2:] = objects[:, :2] + rng.uniform(0.05, 0.3, (6, 2))
    scores = list(
        (rng.permutation(models * count) + 1).reshape(models, count) / (models * count + 1)
    )
    boxes, classes = [], []
    for _ in range(models):
        each = objects[rng.integers(0, 6, count)] + rng.normal(0, 0.02, (count, 4))
        each[:, 2:] = np.maximum(each[:, 2:], each[:, :2] + 0.01)
        boxes.append(each.clip(0, 1))
        classes.append(rng.integers(0, labels, count))
    return boxes, scores, classes


def fused(boxes, scores, labels, weights, threshold, conf_type):
    """By falling score into the cluster whose mean it overlaps most, label by label."""
    weights = np.ones(len(boxes)) if weights is None else np.array(weights)
    rows = [
        (label, score * weights[m], weights[m], m, box)
        for m in range(len(boxes))
        for box, score, label in zip(boxes[m], scores[m], labels[m], strict=True)
    ]
    results = []
    for label in {row[0] for row in rows}:
        clusters = []
        for row in sorted((r for r in rows if r[0] == label), key=lambda r: -r[1]):
            overlaps = [iou(mean(cluster), row[4]) for cluster in clusters]
            if overlaps and max(overlaps) > threshold:
                clusters[int(np.argmax(overlaps))].append(row)
            else:
                clusters.append([row])
        for cluster in clusters:
            results.append((confidence(cluster, weights, conf_type), label, mean(cluster)))
    return sorted(results, key=lambda r: -r[0])


def mean(cluster):
    if len(cluster) == 1:
        return cluster[0][4]
    return sum(r[1] * r[4] for r in cluster) / sum(r[1] for r in cluster)


def confidence(cluster, weights, conf_type):
    scores, of_rows = [r[1] for r in cluster], [r[2] for r in cluster]
    models = sorted({r[3] for r in cluster})
    if conf_type == "max":
        return max(scores) / weights.max()
    average = sum(scores) / len(scores)
    if conf_type == "avg":
        return average * min(len(weights), len(cluster)) / weights.sum()
    scaled = average * len(cluster)
    if conf_type == "box_and_model_avg":
        return scaled / sum(of_rows) * weights[models].sum() / weights.sum()
    return scaled / (sum(of_rows) + np.delete(weights, models).sum())


@pytest.mark.parametrize("conf_type", ["avg", "max", "box_and_model_avg", "absent_model_aware_avg"])
@pytest.mark.parametrize("weights", [None, [2, 1, 0.5]])
@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_weighted_boxes_fusion(rng, count, weights, conf_type):
    lists = detections(rng, 3, count)
    boxes, scores, labels = ours.weighted_boxes_fusion(
        *lists, weights=weights, iou_thr=0.5, conf_type=conf_type
    )
    expected = fused(*lists, weights, 0.5, conf_type)
    assert boxes.shape == (len(expected), 4)
    np.testing.assert_allclose(scores, [e[0] for e in expected], rtol=1e-6)
    np.testing.assert_array_equal(labels, [e[1] for e in expected])
    np.testing.assert_allclose(
        boxes, np.reshape([e[2] for e in expected], (len(expected), 4)), rtol=1e-5
    )


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_nms(rng, count):
    boxes, scores, labels = lists = detections(rng, 2, count)
    got_boxes, got_scores, got_labels = ours.nms(*lists, iou_thr=0.4)
    rows = sorted(
        zip(np.concatenate(labels), -np.concatenate(scores), np.concatenate(boxes), strict=True),
        key=lambda row: row[:2],
    )
    kept = []
    for label, score, box in rows:
        if all(k[0] != label or iou(k[2], box) <= 0.4 for k in kept):
            kept.append((label, score, box))
    np.testing.assert_array_equal(got_labels, [k[0] for k in kept])
    np.testing.assert_array_equal(got_scores, [-k[1] for k in kept])
    np.testing.assert_array_equal(got_boxes, np.reshape([k[2] for k in kept], (len(kept), 4)))


@pytest.mark.parametrize("method", [1, 2])
def test_soft_nms(rng, method):
    lists = detections(rng, 2, 40)
    got = ours.soft_nms(*lists, method=method, iou_thr=0.4, sigma=0.3, thresh=0.05)
    kept = []
    flat = [np.concatenate(part) for part in lists]
    for label in np.unique(flat[2]):
        members = np.flatnonzero(flat[2] == label).tolist()
        lowered = dict(zip(members, flat[1][members], strict=True))
        while lowered:
            best = max(lowered, key=lowered.get)
            if lowered.pop(best) <= 0.05:
                break
            kept.append(best)
            for i in lowered:
                o = iou(flat[0][best], flat[0][i])
                gaussian = np.exp(-o * o / 0.3)
                lowered[i] *= gaussian if method == 2 else 1 - o if o > 0.4 else 1
    for ours_part, part in zip(got, flat, strict=True):
        np.testing.assert_array_equal(ours_part, part[kept])


def test_what_is_passed_in_stays(rng):
    lists = detections(rng, 2, 5)
    copies = [[part.copy() for part in parts] for parts in lists]
    ours.nms(*lists, weights=[1, 2])
    ours.weighted_boxes_fusion(*lists, weights=[1, 2])
    for parts, before in zip(lists, copies, strict=True):
        assert all(map(np.array_equal, parts, before))


def test_boxes_that_are_mended():
    boxes, scores, labels = [[[-0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.3, 0.4]]], [[0.9, 0.8]], [[1, 1]]
    for work in (ours.nms, ours.weighted_boxes_fusion):
        with (
            pytest.warns(UserWarning, match="1 coordinates of boxes are outside"),
            pytest.warns(UserWarning, match="1 boxes have no area"),
        ):
            got, _, _ = work(boxes, scores, labels)
        np.testing.assert_array_equal(got, [[0, 0.2, 0.5, 0.6]])
    with pytest.warns(UserWarning, match="the corners are exchanged"):
        got, _, _ = ours.weighted_boxes_fusion([[[0.5, 0.6, 0.1, 0.2]]], [[0.9]], [[1]])
    np.testing.assert_array_equal(got, [[0.1, 0.2, 0.5, 0.6]])
    with pytest.warns(UserWarning, match="weights has 3 elements for 1 models"):
        ours.weighted_boxes_fusion([[[0, 0, 1, 1]]], [[0.9]], [[1]], weights=[1, 2, 3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conf_type": "mean"}, "conf_type is 'mean'"),
        ({"scores_list": [[0.5], [0.5]]}, r"scores\[0\] has 1 elements for 5 boxes"),
        ({"labels_list": [[1] * 5]}, "labels has 1 models, expected 2"),
    ],
)
def test_bad_input(rng, change, message):
    names = "boxes_list", "scores_list", "labels_list"
    arguments = dict(zip(names, detections(rng, 2, 5), strict=True))
    with pytest.raises(ValueError, match=message):
        ours.weighted_boxes_fusion(**{**arguments, **change})
    with pytest.raises(ValueError, match="method is 4"):
        ours.nms_method([], [], [], method=4)
    for work in (ours.nms, ours.weighted_boxes_fusion):
        with pytest.raises(ValueError, match=r"boxes\[0\] is a float64 array of shape \(1, 3\)"):
            work([[[0, 0, 0.5]]], [[0.5]], [[1]])
    with pytest.raises(ValueError, match="boxes is empty"):
        ours.nms([], [], [])


def test_no_model_at_all():
    boxes, scores, labels = ours.weighted_boxes_fusion([], [], [])
    assert boxes.shape == (0, 4)
    assert len(scores) == len(labels) == 0


def test_float32_boxes_share_areas_in_float64():
    """As numba has it: a float64 0 makes sides float64, and areas stay float32."""
    boxes = np.array([[0.7, 0, 1, 0.1], [0.7, 0, 1, 0.2]], np.float32)
    kept, scores, _ = ours.nms([boxes], [[0.9, 0.8]], [[0, 0]], iou_thr=0.5)
    np.testing.assert_array_equal(kept, boxes[:1])
    assert kept.dtype == np.float32
    assert scores.tolist() == [0.9]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nms_of_either_dtype(rng, dtype):
    """Boxes on a coarse grid, whose IoU is never near the threshold."""
    low = rng.integers(0, 8, (200, 2))
    boxes = (np.hstack([low, low + rng.integers(1, 8, (200, 2))]) / 16).astype(dtype)
    scores, labels = rng.integers(0, 40, 200) / 40, rng.integers(0, 3, 200)
    expected = []
    for label in range(3):
        for i in np.argsort(-scores, kind="stable"):
            if labels[i] == label and all(
                labels[k] != label or iou(boxes[k], boxes[i]) <= 0.55 for k in expected
            ):
                expected.append(i)
    got = ours.nms([boxes], [scores], [labels], iou_thr=0.55)
    for part, whole in zip(got, (boxes, scores, labels), strict=True):
        np.testing.assert_array_equal(part, whole[expected])
        assert part.dtype == whole.dtype


@pytest.mark.parametrize("step", [0, 10])
def test_float32_boxes_are_suppressed_one_by_one(rng, step):
    """Also where no IoU is near the threshold, and the boxes are not looked at in pairs."""
    for threshold in (0.25, 0.5, 1 / 3, 0.0, -0.5, 1.0):
        low = rng.random((150, 2)) * 0.8
        boxes = np.hstack([low, low + 0.02 + rng.random((150, 2)) * 0.15])
        boxes = (np.ceil(boxes * step) / step if step else boxes).clip(0, 1).astype(np.float32)
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
        scores = rng.permutation(len(boxes))
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        expected = ours._keep_exactly(boxes, area, np.argsort(-scores), threshold)
        got, _, _ = ours.nms([boxes], [scores], [np.zeros(len(boxes))], iou_thr=threshold)
        np.testing.assert_array_equal(got, boxes[expected])


def test_scores_are_not_rounded():
    boxes = np.array([[0, 0, 1, 0.8], [0, 0, 1, 0.9]], np.float32)
    kept, scores, _ = ours.nms([boxes], [np.array([0.9, 0.9 + 1e-12])], [[0, 0]])
    np.testing.assert_array_equal(kept, boxes[1:])
    assert scores.tolist() == [0.9 + 1e-12]


def test_weights_multiply_before_they_divide():
    scores = [np.array([0.9]), np.array([0.3])]
    got = ours.nms([[[0, 0, 1, 0.5]], [[0, 0.5, 1, 1]]], scores, [[0], [0]], weights=[1, 3])
    assert sorted(got[1]) == sorted([0.9 * 1 / 4, 0.3 * 3 / 4])


def test_integers_stay_integers():
    boxes, scores, labels = ours.nms([[[0, 0, 1, 1], [0, 0, 1, 1]]], [[1, 2]], [[0, 0]])
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.int64,) * 3
    assert (boxes.tolist(), scores.tolist()) == ([[0, 0, 1, 1]], [2])


def test_what_accelerate_leaves_to_the_original():
    covers = {r.ours: r.covers for r in ours.REPLACEMENTS}
    case = [[[0, 0, 1, 1]]], [[0.5]], [[0]]
    assert covers[ours.nms_method](*case)
    assert covers[ours.soft_nms](*case)
    assert not covers[ours.nms_method](*case, method=0)
    assert not covers[ours.nms_method](*case, 2, 0.5, 0.0)
    assert not covers[ours.soft_nms](*case, sigma=0)
    whole = case[0], [[1]], case[2]
    assert covers[ours.nms_method](*whole)
    assert not covers[ours.soft_nms](*whole)
