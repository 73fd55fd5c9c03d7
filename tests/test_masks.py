"""`Masks` against dense NumPy arrays and pycocotools."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pycocotools import mask as coco

from pyifcn.masks import Masks

SIZES = [(1, 1), (7, 5), (16, 63), (17, 64), (9, 65), (40, 130), (3, 200)]


def random_dense(rng, count, size):
    """Blobs, noise, and a few empty and full masks."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    dense = np.zeros((count, height, width), bool)
    for i in range(count):
        cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0, max(size))
        dense[i] = (y - cy) ** 2 + (x - cx) ** 2 < r * r / 4
        dense[i] &= rng.random(size) < rng.choice([0.5, 1.0])
    dense[: count // 8] = False
    dense[count // 8 : count // 4] = True
    return dense


def reference_iou(a, b, kind):
    inter = (a[:, None] & b[None]).sum((2, 3)).astype(float)
    mine, yours = a.sum((1, 2))[:, None], b.sum((1, 2))[None]
    over = {"iou": mine + yours - inter, "iof": mine + 0 * yours, "iomin": np.minimum(mine, yours)}
    return np.where(inter > 0, inter / np.maximum(over[kind], 1), 0)


@pytest.mark.parametrize("size", SIZES)
def test_dense_round_trip(size):
    dense = random_dense(np.random.default_rng(0), 16, size)
    masks = Masks.from_dense(dense)
    assert np.array_equal(masks.to_dense(), dense)
    assert np.array_equal(masks.area, dense.sum((1, 2)))
    assert masks == Masks.from_dense(dense.astype(np.uint8) * 255)
    for i, (x1, y1, x2, y2) in enumerate(masks.boxes.tolist()):
        crop = masks.crop(i)
        assert np.array_equal(crop, dense[i, y1:y2, x1:x2])
        if crop.size:
            assert all(edge.any() for edge in (crop[0], crop[-1], crop[:, 0], crop[:, -1]))


@pytest.mark.parametrize("size", SIZES)
def test_rle_equals_pycocotools(size):
    dense = random_dense(np.random.default_rng(1), 24, size)
    masks = Masks.from_dense(dense)
    theirs = [coco.encode(np.asfortranarray(mask)) for mask in dense.view(np.uint8)]
    expected = [{"size": list(size), "counts": rle["counts"].decode()} for rle in theirs]
    assert masks.to_rle() == expected
    assert Masks.from_rle(expected) == masks
    assert Masks.from_rle(theirs) == masks


def test_uncompressed_rle():
    masks = Masks.from_rle([{"size": [2, 3], "counts": [1, 2, 3]}, {"size": [2, 3], "counts": [6]}])
    assert masks.to_dense().astype(int).tolist() == [[[0, 1, 0], [1, 0, 0]], [[0] * 3] * 2]


@pytest.mark.parametrize("kind", ["iou", "iof", "iomin"])
@pytest.mark.parametrize("size", SIZES)
def test_iou(size, kind):
    rng = np.random.default_rng(2)
    a, b = random_dense(rng, 16, size), random_dense(rng, 9, size)
    got = Masks.from_dense(a).iou(Masks.from_dense(b), kind=kind)
    assert np.array_equal(got, reference_iou(a, b, kind))


def test_nms():
    rng = np.random.default_rng(3)
    dense = random_dense(rng, 40, (20, 70))
    scores = rng.integers(0, 8, 40) / 8
    iou = reference_iou(dense, dense, "iou")
    keep = []
    for i in np.argsort(-scores, kind="stable"):
        if all(iou[i, k] <= 0.5 for k in keep):
            keep.append(i)
    got = Masks.from_dense(dense).nms(scores, 0.5)
    assert got.dtype == np.int64
    assert got.tolist() == keep


def test_crops_are_cut_and_tightened():
    rng = np.random.default_rng(4)
    size, crops, boxes, dense = (30, 80), [], [], []
    for _ in range(60):
        h, w = rng.integers(1, 40, 2)
        x, y = rng.integers(-50, 90), rng.integers(-50, 40)
        crop = rng.random((h, w)) < 0.3
        canvas = np.zeros((200, 300), bool)
        canvas[y + 60 : y + 60 + h, x + 60 : x + 60 + w] = crop
        crops.append(crop)
        boxes.append([x, y, x + w, y + h])
        dense.append(canvas[60:90, 60:140])
    assert Masks.from_crops(crops, np.array(boxes), size) == Masks.from_dense(np.array(dense))


def test_indexing():
    dense = random_dense(np.random.default_rng(5), 10, (12, 90))
    masks = Masks.from_dense(dense)
    for index in [
        slice(2, 7),
        slice(None, None, -2),
        [3, 3, 0],
        np.array([-1, 4]),
        np.arange(10) % 2 == 0,
    ]:
        assert np.array_equal(masks[index].to_dense(), dense[index])
    assert np.array_equal(masks[-2].to_dense(), dense[-2:-1])
    assert len(masks[[]]) == 0
    assert [len(m) for m in masks] == [1] * 10
    assert Masks.cat([masks[:3], masks[3:3], masks[3:]]) == masks
    assert Masks.cat(list(masks)) == masks
    with pytest.raises(IndexError):
        masks[10]


def test_value_semantics():
    masks = Masks.from_dense(random_dense(np.random.default_rng(6), 5, (9, 65)))
    assert pickle.loads(pickle.dumps(masks)) == masks
    assert masks != masks[:4]
    assert masks != "masks"
    assert repr(masks) == "Masks(5, size=(9, 65))"


def test_empty():
    for masks in [
        Masks.from_dense(np.zeros((0, 4, 5), bool)),
        Masks.from_rle([], (4, 5)),
        Masks.from_crops([], np.zeros((0, 4), int), (4, 5)),
    ]:
        assert len(masks) == 0
        assert masks.to_dense().shape == (0, 4, 5)
        assert masks.iou(masks).shape == (0, 0)
        assert masks.nms(np.zeros(0), 0.5).tolist() == []
        assert masks.to_rle() == []


def test_bad_input():
    good = Masks.from_dense(np.ones((2, 3, 4), bool))
    with pytest.raises(TypeError, match="array must be bool or uint8"):
        Masks.from_dense(np.ones((2, 3), bool))
    with pytest.raises(TypeError, match="boxes must be a int32 array"):
        Masks((3, 4), good.boxes.astype(np.int64), good.offsets, good.words)
    with pytest.raises(ValueError, match="not a box inside the image"):
        Masks((2, 4), good.boxes, good.offsets, good.words)
    with pytest.raises(ValueError, match="words must have 6"):
        Masks((3, 4), good.boxes, good.offsets, good.words[:5])
    with pytest.raises(ValueError, match="sum to 5, not 2"):
        Masks.from_rle([{"size": [2, 3], "counts": [5]}])
    with pytest.raises(ValueError, match=r"rles\[0\] is malformed: no 'counts'"):
        Masks.from_rle([{"size": [2, 3]}])
    with pytest.raises(ValueError, match="not a run-length string"):
        Masks.from_rle([{"size": [2, 3], "counts": "\x00"}])
    with pytest.raises(ValueError, match="differ in size"):
        good.iou(Masks.from_dense(np.ones((1, 4, 4), bool)))
    with pytest.raises(ValueError, match="kind must be"):
        good.iou(good, kind="giou")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scores must have shape"):
        good.nms(np.zeros(3), 0.5)
