"""`pyifcn.compat.pycocotools` beside pycocotools itself."""

from __future__ import annotations

import gzip
import inspect
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as theirs

from pyifcn.compat import pycocotools as ours

# pycocotools against NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

SIZES = [(1, 1), (1, 65), (127, 1), (7, 5), (8, 8), (16, 63), (17, 64), (64, 9), (128, 129)]


def same(a, b):
    """Whether two results are equal in values, types, shapes and order in memory."""
    if isinstance(b, np.ndarray):
        return (
            type(a) is np.ndarray
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.flags.f_contiguous == b.flags.f_contiguous
            and a.flags.writeable == b.flags.writeable
            and np.array_equal(a, b, equal_nan=b.dtype.kind == "f")
        )
    return type(a) is type(b) and a == b


def both(name, *arguments):
    """What both give, which is the same."""
    a, b = getattr(ours, name)(*arguments), getattr(theirs, name)(*arguments)
    assert same(a, b), (name, a, b)
    return a


def random_masks(rng, size, count=12):
    """Noise, rectangles, empty and full: uint8 (H, W, N) in Fortran's order."""
    height, width = size
    masks = np.zeros((height, width, count), np.uint8, order="F")
    for i in range(2, count):
        y1, y2 = np.sort(rng.integers(0, height + 1, 2))
        x1, x2 = np.sort(rng.integers(0, width + 1, 2))
        masks[y1:y2, x1:x2, i] = rng.random((y2 - y1, x2 - x1)) < rng.choice([0.1, 0.9, 1])
    masks[:, :, 1] = 1
    return masks


@st.composite
def codes(draw, least=0):
    """Uncompressed codes of one size, some with runs of 0."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    some = []
    for _ in range(draw(st.integers(least, 4))):
        cuts = draw(st.lists(st.integers(0, height * width), max_size=8))
        counts = np.diff([0, *sorted(cuts), height * width])
        some.append({"size": [height, width], "counts": counts.tolist()})
    return some


@pytest.mark.parametrize("size", SIZES)
def test_dense_masks(target, size):
    rng = np.random.default_rng(0)
    masks = random_masks(rng, size)
    rles = both("encode", masks)
    both("encode", masks[:, :, 3])
    both("encode", masks.astype(bool))
    both("decode", rles)
    both("decode", rles[2])
    both("area", rles)
    both("area", rles[2])
    both("toBbox", rles)
    both("toBbox", rles[2])
    for intersect in (0, 1, False, True):
        for some in (rles, rles[1:4], rles[2:3]):
            both("merge", some, intersect)
    crowd = rng.integers(0, 2, 5)
    both("iou", rles, rles[4:9], crowd)
    both("iou", rles, rles[4:9], crowd.tolist())
    both("iou", rles[3:4], rles[4:9], np.zeros(5, np.uint8))
    text = [{**rle, "counts": rle["counts"].decode()} for rle in rles]
    both("decode", text)
    both("iou", text, rles[4:9], crowd.astype(bool))


@pytest.mark.parametrize("block", [16383, 16384, 16385, 40000])
def test_masks_larger_than_a_block(target, block):
    rng = np.random.default_rng(1)
    for period in (1, 63, 64, 65, block):
        line = (np.arange(block) // period % 2).astype(np.uint8)
        both("encode", line[:, None])
        both("encode", line[None])
    both("encode", (rng.random((block, 2)) < 0.5).astype(np.uint8, order="F"))


def test_empty_lists():
    for name in ("area", "toBbox", "merge"):
        both(name, [])
    both("encode", np.zeros((3, 4, 0), np.uint8, order="F"))
    code = both("encode", np.zeros((3, 4), np.uint8, order="F"))
    for a, b in (([], []), ([], [code]), ([code], [])):
        both("iou", a, b, [0] * len(b))
    for size in ((0, 5), (5, 0), (0, 0)):
        code = both("encode", np.zeros(size, np.uint8, order="F"))
        for name in ("area", "decode"):
            both(name, code)
        both("merge", [code, code])


@settings(max_examples=150, deadline=None)
@given(codes(least=1), st.booleans())
def test_any_codes(some, intersect):
    height, width = some[0]["size"]
    rles = both("frPyObjects", some, height, width)
    both("frPyObjects", some[0], height, width)
    both("decode", rles)
    both("area", rles)
    flat = [rle for rle, c in zip(rles, some, strict=True) if 0 not in c["counts"][1:]]
    if flat:
        both("toBbox", flat)
        both("merge", flat, intersect)
        both("iou", flat, flat, [intersect] * len(flat))


numbers = st.integers(-30, 60) | st.floats(-40, 80) | st.integers(-100, 300).map(lambda v: v / 10)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(numbers, min_size=5, max_size=24), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_any_polygons(polygons, height, width):
    rles = both("frPyObjects", polygons, height, width)
    both("merge", rles)
    both("frPyObjects", [np.array(polygon) for polygon in polygons], height, width)
    assert ours.frPyObjects(polygons[0], height, width) == rles[0]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(*[numbers] * 4), min_size=1, max_size=6),
    st.lists(st.tuples(*[numbers] * 4), min_size=1, max_size=6),
    st.integers(1, 40),
    st.integers(0, 63),
)
def test_any_boxes(a, b, side, crowd):
    a, b, crowd = np.array(a, float), np.array(b, float), crowd >> np.arange(len(b)) & 1
    with np.errstate(all="ignore"):
        both("iou", a, b, crowd)
        both("iou", a.astype(int), b.astype(np.float32), crowd)
        both("iou", a.tolist(), list(b), crowd)
    rles = both("frPyObjects", a, side, 31)
    for boxes in (a.tolist(), list(a), np.repeat(a, 2, 1)[:, ::2]):
        assert ours.frPyObjects(boxes, side, 31) == rles
    assert ours.frPyObjects(a[0].tolist(), side, 31) == rles[0]


def test_boxes_of_nothing_finite():
    odd = np.array([0.0, 1, 4, -3, 1e300, np.inf, -np.inf, np.nan])
    boxes = np.random.default_rng(2).choice(odd, (200, 4))
    with np.errstate(all="ignore"):
        both("iou", boxes, boxes[:77], np.arange(77) % 2)


def test_sizes_that_differ():
    a = both("encode", np.ones((3, 5), np.uint8, order="F"))
    b = both("encode", np.ones((4, 5), np.uint8, order="F"))
    c = both("encode", np.zeros((9, 9), np.uint8, order="F"))
    both("merge", [a, b])
    both("iou", [a, b, c], [b, a], [0, 1])
    both("iou", [a, a], [b], [0])
    both("area", [a, b, c])
    both("toBbox", [a, b, c])
    with pytest.raises(ValueError, match=r"rleObjs\[1\] has size \[4, 5\], expected \[3, 5\]"):
        ours.decode([a, b])


@pytest.mark.parametrize("order", ["C", "masks first", "reversed", "strided", "columns"])
def test_encode_reads_any_order(order):
    masks = random_masks(np.random.default_rng(3), (19, 70))
    other = {
        "C": np.ascontiguousarray(masks),
        "masks first": np.ascontiguousarray(masks.transpose(2, 0, 1)).transpose(1, 2, 0),
        "reversed": masks[::-1, ::-1].copy(order="F")[::-1, ::-1],
        "strided": np.repeat(masks, 2, 1)[:, ::2],
        "columns": masks.copy(order="F"),
    }[order]
    assert ours.encode(other) == theirs.encode(masks)
    assert ours.encode(other[:, :, 5]) == theirs.encode(masks[:, :, 5])
    assert ours.encode(other * np.uint8(255)) == theirs.encode(masks)


def test_encode_takes_any_value_as_foreground():
    mask = np.array([[1, 2], [0, 3]], np.uint8, order="F")
    assert ours.encode(mask) == theirs.encode((mask > 0).astype(np.uint8, order="F"))


def test_uncompressed_codes_are_read_everywhere():
    code = {"size": (2, 3), "counts": [1, 2, 3]}
    (rle,) = theirs.frPyObjects([{"size": [2, 3], "counts": [1, 2, 3]}], 2, 3)
    assert np.array_equal(ours.decode(code), theirs.decode(rle))
    assert ours.merge([code, rle]) == rle


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("12", "counts sum to 3, not 4 \\* 4"),
        (b"1234567", "counts sum to .* or more, not 4 \\* 4"),
        ("O", "a negative run"),
        ("P", "counts is not a run-length string"),
        ("1\x00", "counts is not a run-length string"),
        ("\xb1", "counts is not a run-length string"),
        ("oooooooooo0", "counts holds a number over 40 bits"),
        ([-1, 17], "a negative run"),
        ([2**64], "counts holds a number over 64 bits"),
        ([2**32, 16], "counts sum to 42949672.. or more"),
        ([1.5, 14.5], "counts must be a string or a list of ints"),
        (7, "counts must be a string or a list of ints"),
    ],
)
def test_malformed_codes(counts, message):
    good = {"size": [4, 4], "counts": [16]}
    bad = {"size": [4, 4], "counts": counts}
    calls = [
        (ours.decode, [good, bad]),
        (ours.area, [good, bad]),
        (ours.toBbox, [good, bad]),
        (ours.merge, [good, bad]),
        (lambda rles: ours.iou(rles, [good], [0]), [good, bad]),
        (lambda rles: ours.frPyObjects(rles, 4, 4), [good, bad]),
    ]
    for call, rles in calls:
        with pytest.raises(ValueError, match=rf"\[1\] is malformed: ({message})"):
            call(rles)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ([4], "size is .4., expected .height, width."),
        ([4, 4, 4], "expected .height, width."),
        ([-4, -4], "size is -4 x -4"),
        ([2**16, 2**16], "size is 65536 x 65536, expected at most"),
        ([2**62, 2**62], "expected at most"),
        ([2**80, 1], "int too big|too large"),
        ([4.5, 4], "size holds 4.5"),
        (None, "NoneType"),
    ],
)
def test_malformed_sizes(size, message):
    with pytest.raises(ValueError, match=rf"rleObjs\[0\] is malformed: .*({message})"):
        ours.area([{"size": size, "counts": [16]}])
    with pytest.raises(ValueError, match=r"rleObjs\[0\] is malformed: no 'size'"):
        ours.area({"counts": [16]})


@pytest.mark.parametrize("wide", [True, False])
def test_iou_of_a_side_that_masks_cannot_have(wide):
    side = 3_000_000_000
    counts = [2**31 - 64, 128, side - 2**31 - 64]
    code = {"size": [1, side] if wide else [side, 1], "counts": counts}
    with pytest.raises(ValueError, match="size must be in 0"):
        ours.iou([code], [code], [0])


def test_a_gigantic_count_takes_no_memory():
    with pytest.raises(ValueError, match="counts sum to 4000000000 or more"):
        ours.decode([{"size": [4, 4], "counts": [4_000_000_000]}])
    with pytest.raises(ValueError, match="counts sum to 16, not 60000"):
        ours.decode([{"size": [60000, 70000], "counts": [16]}])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300, 2.0**28 + 1])
def test_wild_coordinates(value):
    polygons = [[1, 1, 5, 1, 5, 5], [1, 1, 5, value, 5, 5, 1, 5]]
    with pytest.raises(ValueError, match=r"pyobj\[1\] has the coordinate"):
        ours.frPyObjects(polygons, 8, 8)
    with pytest.raises(ValueError, match=r"pyobj\[0\] has the coordinate"):
        ours.frPyObjects(np.array([[0, 0, 4, value]]), 8, 8)


def test_bad_input():
    code = ours.encode(np.zeros((4, 4), np.uint8))
    box = [[1, 1, 3, 3]]
    for shape in [(4,), (1, 1, 1, 1)]:
        with pytest.raises(TypeError, match="bimask is a uint8 array"):
            ours.encode(np.zeros(shape, np.uint8))
    with pytest.raises(TypeError, match="bimask is an int64 array"):
        ours.encode(np.zeros((4, 4), np.int64))
    with pytest.raises(ValueError, match="rleObjs is empty"):
        ours.decode([])
    with pytest.raises(TypeError, match="dt is a dict"):
        ours.iou(code, [code], [0])
    with pytest.raises(TypeError, match="different kinds"):
        ours.iou([code], box, [0])
    with pytest.raises(ValueError, match=r"pyiscrowd has shape \(2,\), expected \(1,\)"):
        ours.iou([code], [code], [0, 0])
    with pytest.raises(ValueError, match=r"gt has shape \(1, 3\), expected \(N, 4\)"):
        ours.iou(box, [[1, 1, 3]], [0])
    with pytest.raises(ValueError, match="dt is no array of numbers"):
        ours.iou([[1, 1, 3, 3], [1]], box, [0])
    with pytest.raises(ValueError, match=r"pyobj has shape \(2, 8\), expected \(N, 4\)"):
        ours.frPyObjects(np.zeros((2, 8)), 8, 8)
    with pytest.raises(ValueError, match="pyobj is empty"):
        ours.frPyObjects([], 8, 8)
    with pytest.raises(TypeError, match="pyobj is 'x'"):
        ours.frPyObjects("x", 8, 8)
    with pytest.raises(ValueError, match=r"pyobj\[1\] is malformed"):
        ours.frPyObjects([[1, 1, 3, 3, 5], [1, "x", 3, 3, 5]], 8, 8)
    with pytest.raises(ValueError, match="size is -8 x 8"):
        ours.frPyObjects([[1, 1, 3, 3, 5]], -8, 8)


def test_the_names_of_arguments():
    for name in ours.__all__:
        expected = list(inspect.signature(getattr(theirs, name)).parameters)
        assert list(inspect.signature(getattr(ours, name)).parameters) == expected


def annotated_images(folder):
    """(size, annotations) of each image of each file."""
    files = [
        *sorted(folder.glob("nuclei/instances_*.json")),
        *sorted(folder.glob("coco_open/instances_*.json")),
        *sorted(folder.glob("coco_results/*.json*")),
    ]
    for path in files:
        data = path.read_bytes()
        content = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        sizes, by_image = {}, {}
        if isinstance(content, dict):
            sizes = {i["id"]: (i["height"], i["width"]) for i in content["images"]}
            content = content["annotations"]
        for annotation in content:
            if "segmentation" in annotation:
                by_image.setdefault(annotation["image_id"], []).append(annotation)
        for image, some in by_image.items():
            yield sizes.get(image), some


def texts(rles):
    return [c if isinstance(c, str) else c.decode() for c in (rle["counts"] for rle in rles)]


def test_real_annotations(shared_data):
    seen = 0
    for size, some in annotated_images(shared_data):
        rles = []
        for annotation in some:
            segmentation = annotation["segmentation"]
            if isinstance(segmentation, list):
                segmentation = both("merge", both("frPyObjects", segmentation, *size))
            elif isinstance(segmentation["counts"], list):
                segmentation = both("frPyObjects", segmentation, *size)
            rles.append(segmentation)
        seen += len(rles)
        for begin in range(0, len(rles), 255):  # more are too many for pycocotools with NumPy 2
            both("area", rles[begin : begin + 255])
        both("toBbox", rles)
        both("merge", rles)
        few = rles[:8]
        both("iou", rles, few, [a.get("iscrowd", 0) for a in some[:8]])
        assert texts(both("encode", both("decode", few))) == texts(few)
    assert seen > 40_000
