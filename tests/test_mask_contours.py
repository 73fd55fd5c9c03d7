"""Polygons of masks: pycocotools must make the same masks of them again."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pyifcn.masks import Masks

# pycocotools against NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def rasterise(polygons, size):
    if not polygons:
        return np.zeros(size, bool)
    return coco.decode(coco.merge(coco.frPyObjects(polygons, *size))).astype(bool)


def count_parts(dense):
    """Groups of pixels that touch by their sides: each takes its neighbours' lowest name."""
    names = np.where(dense, np.arange(1, dense.size + 1).reshape(dense.shape), 0)
    while True:
        wide = np.pad(names, 1)
        around = np.stack([names, wide[2:, 1:-1], wide[:-2, 1:-1], wide[1:-1, 2:], wide[1:-1, :-2]])
        around[around == 0] = dense.size + 1
        least = np.where(dense, around.min(0), 0)
        if np.array_equal(least, names):
            return len(np.unique(names[dense]))
        names = least


def check(dense):
    """Everything that is promised of the polygons of one mask."""
    (polygons,) = Masks.from_dense(dense[None]).to_polygons()
    assert np.array_equal(rasterise(polygons, dense.shape), dense)
    assert len(polygons) == count_parts(dense)
    area = 0.0
    for polygon in polygons:
        assert polygon.dtype == np.float64
        points = polygon.reshape(-1, 2)
        assert len(points) >= 4
        before, behind = np.roll(points, 1, 0) - points, np.roll(points, -1, 0) - points
        assert ((before != 0).sum(1) == 1).all()  # along one axis, and not of no length
        assert ((before * behind).sum(1) >= 0).all()  # never straight on
        y, x = np.argwhere(dense)[0] if polygon is polygons[0] else points[0][::-1]
        assert points[0].tolist() == [x, y]
        x, y = points.T
        ring = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2
        assert ring > 0  # clockwise, where y points down
        area += ring
    assert area == dense.sum()


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (2, 5), (3, 4)])
def test_all_small_masks(size):
    bits = np.arange(size[0] * size[1])
    for number in range(2 ** len(bits)):
        check((number >> bits & 1).astype(bool).reshape(size))


def test_all_masks_of_four_by_four_at_a_word_border():
    numbers = np.arange(2**16)
    dense = np.zeros((2**16, 4, 66), bool)
    dense[:, :, 62:66] = (numbers[:, None] >> np.arange(16) & 1).reshape(-1, 4, 4)
    sample = np.random.default_rng(0).choice(2**16, 3000, replace=False)
    for i, polygons in zip(sample, Masks.from_dense(dense[sample]).to_polygons(), strict=True):
        assert np.array_equal(rasterise(polygons, (4, 66)), dense[i])


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 20),
    st.integers(1, 140),
    st.lists(st.integers(1, 60), min_size=1, max_size=40),
    st.integers(0, 1),
)
def test_masks_of_runs(height, width, runs, start):
    pixels = np.repeat(np.arange(len(runs)) % 2 == start, runs)
    check(np.resize(pixels, (height, width)))


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9, 0.98])
def test_noise(rng, share):
    for width in (63, 64, 65, 127, 128, 129):
        check(rng.random((33, width)) < share)


def test_holes():
    for text in [
        "#####/#...#/#.#.#/#...#/#####",  # an island in a hole
        "####/#.##/##.#/####",  # two holes that share a corner are one
        "#####/#.#.#/#####/#.#.#/#####",  # four holes, two below the others
        "######/##.###/##.#.#/##.###/######",
        ".####/##..#/.#..#/.####",  # a bridge along an edge
        "####./#.##./##.##/.####",
        "#########/#.#.#.#.#/#########",  # three bridges to one edge
    ]:
        check(np.array([list(row) for row in text.split("/")]) == "#")


def test_many_masks_in_several_threads(rng):
    dense = rng.random((100, 30, 70)) < 0.8
    dense[::7] = False
    both = Masks.from_dense(dense)
    together = both.to_polygons()
    assert [len(polygons) for polygons in together[::7]] == [0] * 15
    for mask, polygons in zip(both, together, strict=True):
        (alone,) = mask.to_polygons()
        assert [p.tolist() for p in alone] == [p.tolist() for p in polygons]
    assert both[:0].to_polygons() == []
    assert Masks.from_polygons(together, both.size) == both


def test_torch(rng):
    pytest.importorskip("torch")
    masks = Masks.from_dense(rng.random((3, 9, 70)) < 0.5)
    for ours, theirs in zip(masks.to_polygons(), masks.to("cpu").to_polygons(), strict=True):
        assert [p.tolist() for p in ours] == [p.tolist() for p in theirs]
        assert all(isinstance(p, np.ndarray) for p in theirs)


@pytest.mark.parametrize(
    "name",
    [
        "nuclei/instances_train",
        "nuclei/instances_val",
        "coco_open/instances_train",
        "coco_open/instances_val",
        "coco_results/eval_ref_gt_val2014_100",
        "coco_results/eval_ref_dt_val2014_fakesegm100",
        "coco_results/setA_yolact_resnet101_conv4.segm",
        "coco_results/setA_yolact_resnet101_maskrcnn.segm",
        "coco_results/setA_yrm18.segm",
        "coco_results/setA_yrm35_crop.segm",
    ],
)
def test_every_real_mask(shared_data, name):
    path = shared_data / f"{name}.json"
    if path.exists():
        records = json.loads(path.read_bytes())
    else:
        records = json.loads(gzip.decompress((shared_data / f"{name}.json.gz").read_bytes()))
    sizes = {}
    if isinstance(records, dict):
        sizes = {image["id"]: (image["height"], image["width"]) for image in records["images"]}
        records = records["annotations"]
    codes_of = {}
    for record in records:
        code = record["segmentation"]
        if isinstance(code, list):
            code = coco.merge(coco.frPyObjects(code, *sizes[record["image_id"]]))
        elif isinstance(code["counts"], list):
            code = coco.frPyObjects(code, *code["size"])
        codes_of.setdefault(record["image_id"], []).append(code)
    for codes in codes_of.values():
        masks = Masks.from_rle(codes)
        for code, polygons in zip(masks.to_rle(), masks.to_polygons(), strict=True):
            if polygons:
                back = coco.merge(coco.frPyObjects(polygons, *masks.size))
                assert back["counts"].decode() == code["counts"]
            else:
                assert coco.area(code) == 0
