"""`Masks.from_polygons` against a slow walk along the outline."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyifcn import Masks


def walk(a, b):
    """The points of a side on the fine grid, one by one along its longer direction."""
    along = 0 if abs(b[0] - a[0]) >= abs(b[1] - a[1]) else 1
    if a[along] > b[along]:
        a, b = b, a
    steps = b[along] - a[along]
    slope = (b[1 - along] - a[1 - along]) / steps if steps else 0
    for step in range(steps + 1):
        side = int(a[1 - along] + slope * step + 0.5)
        yield (a[along] + step, side) if along == 0 else (side, a[along] + step)


def reference(polygons, size):
    """The union of polygons, bool (H, W)."""
    height, width = size
    union = np.zeros(size, bool)
    for polygon in polygons:
        flips = np.zeros((height + 1, width), np.int64)
        points = [
            (int(5 * x + 0.5), int(5 * y + 0.5))
            for x, y in zip(polygon[::2], polygon[1::2], strict=True)
        ]
        for a, b in zip(points, points[1:] + points[:1], strict=True):
            side = list(walk(a, b))
            for (x1, y1), (x2, y2) in pairwise(side):
                column, rest = divmod(min(x1, x2) - 2, 5)
                if x1 != x2 and rest == 0 and 0 <= column < width:
                    row = math.ceil((min(y1, y2) - 2) / 5)
                    flips[min(max(row, 0), height), column] += 1
        union |= flips[:-1].cumsum(0) % 2 == 1
    return union


numbers = (
    st.integers(-20, 60)
    | st.floats(-60, 120)
    | st.integers(-100, 400).map(lambda v: v / 10)
    | st.sampled_from([-300.0, 400.0, 0.0, -0.0])
)
corners = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=10).map(
    lambda points: [value for point in points for value in point]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(corners, max_size=3), max_size=4), st.integers(1, 40), st.integers(1, 140))
def test_any_polygons(polygons, height, width):
    masks = Masks.from_polygons(polygons, (height, width))
    assert Masks(masks.size, masks.boxes, masks.offsets, masks.words) == masks
    expected = [reference(parts, masks.size) for parts in polygons]
    assert np.array_equal(masks.to_dense(), np.array(expected).reshape(-1, height, width))


@pytest.mark.parametrize("size", [(1, 1), (1, 129), (65, 1), (9, 64), (17, 65), (0, 4), (4, 0)])
def test_polygons_around_the_image(size):
    height, width = size
    around = [-5, -5, width + 5, -5, width + 5, height + 5, -5, height + 5]
    beside = [width + 1, 0, width + 9, 0, width + 9, height]
    masks = Masks.from_polygons([[around], [beside], [around, beside], []], size)
    assert masks.area.tolist() == [height * width, 0, height * width, 0]


def test_far_corners_take_no_longer():
    far = 2.0**28
    polygons = [[[-far, -far, far, -far, far, far, -far, far]], [[-far, 5, far, 5, far, far]]]
    masks = Masks.from_polygons(polygons, (10, 70))
    assert masks.area.tolist() == [700, 350]


def test_what_stands_for_polygons():
    flat = [1, 1, 6, 1.5, 5, 7]
    expected = Masks.from_polygons([[flat]], (9, 9))
    assert expected.area.item() > 0
    for same in (
        [[tuple(flat)]],
        [(np.array(flat),)],
        [[np.array(flat, np.float32)]],
        [np.array(flat).reshape(1, 3, 2)],
        [[np.array([flat, flat]).T[:, 0].reshape(3, 2)]],
        [[flat, flat]],
        [[flat + flat[:2]]],
    ):
        assert Masks.from_polygons(same, (9, 9)) == expected
    assert len(Masks.from_polygons([], (9, 9))) == 0


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([1, 2, 3, 4], "has 4 coordinates, expected x and y of 3 points or more"),
        ([1, 2, 3, 4, 5, 6, 7], "has 7 coordinates"),
        ([], "has 0 coordinates"),
        (5, "has 1 coordinates"),
        ([1, 2, 3, 4, 5, math.nan], "has the coordinate nan, expected -2"),
        ([1, 2, 3, 4, -math.inf, 6], "has the coordinate -inf"),
        ([1, 2, 3, 4, 1e300, 6], "has the coordinate 1e\\+300"),
        ([1, 2, 3, 4, 5, "6"], "is malformed: must be real number, not str"),
        ([1, 2, 3, 4, 5, None], "is malformed: must be real number"),
        ([1, 2, 3, 4, 5, 10**400], "is malformed: int too large"),
        (np.zeros((3, 3)), r"is malformed: it has shape \(3, 3\), expected"),
        ("abc", "is malformed: could not convert"),
    ],
)
def test_malformed_polygons(polygon, message):
    good = [1, 1, 6, 1, 5, 7]
    with pytest.raises(ValueError, match=rf"polygons\[1\]\[2\] {message}"):
        Masks.from_polygons([[good], [good, good, polygon], [good]], (9, 9))


def test_bad_input():
    with pytest.raises(TypeError, match=r"polygons\[1\] is 3, expected a list of polygons"):
        Masks.from_polygons([[], 3], (9, 9))
    with pytest.raises(TypeError, match=r"polygons\[1\] is one polygon, expected a list of"):
        Masks.from_polygons([[], [1.0, 2, 3, 4, 5, 6]], (9, 9))
    with pytest.raises(ValueError, match="size is 65536 x 65536, expected at most"):
        Masks.from_polygons([], (65536, 65536))
    with pytest.raises(TypeError, match="size must be"):
        Masks.from_polygons([], (9,))


def test_real_polygons(shared_data):
    """Against pycocotools, on every polygon there is."""
    theirs = pytest.importorskip("pycocotools.mask")
    for name in ("coco_open/instances_train", "coco_open/instances_val"):
        content = json.loads((shared_data / f"{name}.json").read_bytes())
        for image in content["images"]:
            size = image["height"], image["width"]
            polygons = [
                a["segmentation"]
                for a in content["annotations"]
                if a["image_id"] == image["id"] and isinstance(a["segmentation"], list)
            ]
            expected = [theirs.merge(theirs.frPyObjects(parts, *size)) for parts in polygons]
            found = Masks.from_polygons(polygons, size)
            assert [rle["counts"].encode() for rle in found.to_rle()] == [
                rle["counts"] for rle in expected
            ]
            assert Masks.from_rle(expected, size) == found
