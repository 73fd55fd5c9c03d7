"""Mask voting by FCIS's conventions, beside FCIS's own `cpu_mask_voting`.

That one is run where a module `fcis_mask_voting` can be imported: lib/mask/mask_transform.py of
github.com/msracver/FCIS with its `bbox_overlaps` (Cython) and `nms` (Python), made to import on
Python 3; it needs OpenCV. The other peer is the same in NumPy alone, on crops where FCIS uses
whole images.
"""

import numpy as np
import pytest

import pyifcn

COUNT, SIDE = 600, 21
WORK = {"21 classes on 375 x 500": (21, (375, 500)), "81 classes on 600 x 1000": (81, (600, 1000))}


def scene(classes, shape):
    """Proposals as a network makes them: most about objects, the others anywhere."""
    rng = np.random.default_rng(0)
    height, width = shape
    objects = 12
    sizes = np.exp(rng.uniform(np.log(0.12), np.log(0.6), (objects, 2))) * [width, height]
    corners = rng.uniform(0, 1, (objects, 2)) * ([width, height] - sizes)
    of = rng.integers(0, objects, COUNT)
    jitter = rng.normal(0, 0.07, (COUNT, 4)) * np.tile(sizes[of], 2)
    boxes = np.concatenate([corners, corners + sizes], 1)[of] + jitter
    stray = rng.random(COUNT) < 0.3
    anywhere = np.sort(rng.uniform(0, 1, (COUNT, 2, 2)), 1).reshape(COUNT, 4)
    boxes[stray] = (anywhere * [width, height, width, height])[stray]
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 8)
    boxes = boxes.clip(0, [width - 1, height - 1, width - 1, height - 1]).astype(np.float32)
    logits = rng.normal(0, 1, (COUNT, classes))
    logits[:, 0] += 3
    truth = rng.integers(1, classes, objects)
    logits[np.arange(COUNT), truth[of]] += np.where(stray, 0, rng.normal(6, 2, COUNT))
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    at = (np.arange(SIDE) + 0.5) / SIDE
    middle = rng.normal(0.5, 0.04, (2, COUNT, 1, 1))
    angle = np.arctan2(at[:, None] - middle[0], at - middle[1])
    lobes = rng.uniform(0.02, 0.1, (COUNT, 1, 1))
    edge = 0.42 + lobes * np.cos(angle * 3 + rng.uniform(0, 6, (COUNT, 1, 1)))
    distance = np.hypot(at[:, None] - middle[0], at - middle[1])
    masks = 1 / (1 + np.exp((distance - edge) * 25))
    return masks[:, None].astype(np.float32), boxes, scores.astype(np.float32)


def resize(image, height, width):
    """Linear interpolation as OpenCV's."""

    def taps(count, side):
        places = ((np.arange(count) + 0.5) * (side / count) - 0.5).clip(0, side - 1)
        low = places.astype(int)
        return low, np.minimum(low + 1, side - 1), (places - low).astype(np.float32)

    y0, y1, y = taps(height, image.shape[0])
    x0, x1, x = taps(width, image.shape[1])
    wide = image[:, x0] + (image[:, x1] - image[:, x0]) * x
    return wide[y0] + (wide[y1] - wide[y0]) * y[:, None]


def ious(box, boxes):
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    inter = np.maximum(high - low + 1, 0).prod(1)
    return inter / (
        (box[2:] - box[:2] + 1).prod() + (boxes[:, 2:] - boxes[:, :2] + 1).prod(1) - inter
    )


def in_numpy(masks, boxes, scores, shape, most=100):
    kept = []
    for c in range(1, scores.shape[1]):
        order, found = np.argsort(-scores[:, c], kind="stable"), 0
        while len(order) and found < most and scores[order[0], c] >= 1e-3:
            kept.append((c, order[0]))
            found += 1
            order = order[1:][ious(boxes[order[0]], boxes[order[1:]]) <= 0.3]
    least = sorted((scores[i, c] for c, i in kept), reverse=True)[: max(most, 1)][-1]
    whole, bits = np.round(boxes).astype(int), {}
    results = []
    for c, i in kept:
        if scores[i, c] < least:
            continue
        (voters,) = np.nonzero(ious(boxes[i].astype(float), boxes.astype(float)) >= 0.5)
        weights = scores[voters, c] / scores[voters, c].sum()
        (x1, y1), (x2, y2) = whole[voters, :2].min(0), whole[voters, 2:].max(0) + 1
        votes = np.zeros((y2 - y1, x2 - x1))
        for j, weight in zip(voters, weights, strict=True):
            left, top, right, bottom = whole[j]
            if j not in bits:
                bits[j] = resize(masks[j, 0], bottom - top + 1, right - left + 1) >= 0.4
            votes[top - y1 : bottom - y1 + 1, left - x1 : right - x1 + 1] += bits[j] * weight
        reached = votes >= 0.4
        rows, columns = np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))
        if not len(rows):
            continue
        crop = votes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        box = columns[0] + x1, rows[0] + y1, columns[-1] + x1, rows[-1] + y1
        results.append((box, resize(crop.astype(np.float32), SIDE, SIDE)))
    return np.array([r[0] for r in results], np.float32), np.array([r[1] for r in results])


def ours(masks, boxes, scores, shape, convention="fcis_cpu"):
    found = pyifcn.mask_voting(masks, boxes, scores, shape, convention=convention)
    return found.boxes, found.masks


def fcis(masks, boxes, scores, shape):
    original = pytest.importorskip("fcis_mask_voting")
    found, found_boxes = original.cpu_mask_voting(
        masks, boxes, scores, scores.shape[1], 100, shape[1], shape[0], 0.3, 0.5, 0.4
    )
    return np.concatenate(found_boxes[1:])[:, :4], np.concatenate(found[1:])[:, 0]


WAYS = {"pyifcn": ours, "FCIS": fcis, "NumPy": in_numpy}


@pytest.mark.parametrize("who", WAYS)
@pytest.mark.parametrize("name", WORK)
def test_mask_voting(compare, name, who):
    classes, shape = WORK[name]
    arguments = (*scene(classes, shape), shape)
    boxes, masks = WAYS[who](*arguments)
    expected_boxes, expected = ours(*arguments)
    np.testing.assert_array_equal(boxes, expected_boxes)
    np.testing.assert_allclose(masks, expected, atol=1e-4)
    compare(f"mask_voting, N 600, {name}", who, lambda: WAYS[who](*arguments))


@pytest.mark.parametrize("convention", ["fcis", "mnc", "pyifcn"])
@pytest.mark.parametrize("name", WORK)
def test_other_conventions(compare, name, convention):
    classes, shape = WORK[name]
    arguments = (*scene(classes, shape), shape)
    compare(f"{convention}, {name}", "pyifcn", lambda: ours(*arguments, convention=convention))
