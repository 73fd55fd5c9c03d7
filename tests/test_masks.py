"""`Masks` against dense NumPy arrays and pycocotools."""

from __future__ import annotations

import gzip
import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pyifcn.masks import Masks

SIZES = [
    (1, 1),
    (7, 5),
    (16, 63),
    (17, 64),
    (9, 65),
    (5, 127),
    (6, 128),
    (7, 129),
    (40, 130),
    (3, 700),
]


def images():
    """Dense masks whose pixels come in runs, so that whole columns and words are filled."""

    def build(height, width, runs, start):
        pixels = np.repeat(np.arange(len(runs)) % 2 == start, runs)
        return np.resize(pixels, (2, height, width))

    side, runs = st.integers(1, 140), st.lists(st.integers(1, 400), min_size=1, max_size=40)
    return st.builds(build, side, side, runs, st.integers(0, 1))


def coco_rle(dense):
    codes = [coco.encode(np.asfortranarray(mask)) for mask in dense.view(np.uint8)]
    return [{"size": c["size"], "counts": c["counts"].decode()} for c in codes]


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


@pytest.mark.parametrize("size", SIZES)
def test_dense_round_trip(target, size):
    dense = random_dense(np.random.default_rng(0), 16, size)
    masks = Masks.from_dense(dense)
    assert np.array_equal(masks.to_dense(), dense)
    assert np.array_equal(masks.area, dense.sum((1, 2)))
    assert masks == Masks.from_dense(dense.astype(np.uint8) * 255)
    for i, (x1, y1, x2, y2) in enumerate(masks.boxes.tolist()):
        patch = masks.patch(i)
        assert np.array_equal(patch, dense[i, y1:y2, x1:x2])
        if patch.size:
            assert all(edge.any() for edge in (patch[0], patch[-1], patch[:, 0], patch[:, -1]))


def orders(dense):
    """The same masks, in other orders in memory."""
    for axes in itertools.permutations(range(3)):
        yield np.ascontiguousarray(dense.transpose(axes)).transpose(np.argsort(axes))
    n, height, width = dense.shape
    for steps in [(1, 1, 2), (1, 3, 1), (2, 2, 2), (-1, -1, -1), (1, -2, 1), (1, 1, -3)]:
        reach = [abs(step) for step in steps]
        roomy = np.ones((n * reach[0], height * reach[1], width * reach[2]), dense.dtype)
        view = roomy[:: steps[0], :: steps[1], :: steps[2]]
        view[:] = dense
        yield view
    roomy = np.ones((n + 2, height + 5, width + 3), dense.dtype)
    roomy[1:-1, 2:-3, 1:-2] = dense
    yield roomy[1:-1, 2:-3, 1:-2]


@pytest.mark.parametrize("size", [*SIZES, (1, 130), (130, 1), (64, 64), (63, 65), (200, 140)])
def test_dense_in_any_order(target, size):
    dense = random_dense(np.random.default_rng(8), 8, size)
    for values in (dense, dense.astype(np.uint8) * 3):
        expected = Masks.from_dense(values)
        for array in orders(values):
            assert np.array_equal(array, values)
            assert Masks.from_dense(array) == expected


def test_dense_of_one_mask_shown_many_times():
    dense = np.broadcast_to(random_dense(np.random.default_rng(9), 4, (20, 70))[1], (50, 20, 70))
    assert np.array_equal(Masks.from_dense(dense).to_dense(), dense)


@pytest.mark.parametrize("size", SIZES)
def test_rle_equals_pycocotools(target, size):
    dense = random_dense(np.random.default_rng(1), 24, size)
    masks = Masks.from_dense(dense)
    expected = coco_rle(dense)
    assert masks.to_rle() == expected
    assert Masks.from_rle(expected) == masks
    assert Masks.from_rle([r | {"counts": r["counts"].encode()} for r in expected]) == masks


@settings(max_examples=100, deadline=None)
@given(images())
def test_any_image(dense):
    masks = Masks.from_dense(dense)
    assert np.array_equal(masks.to_dense(), dense)
    assert np.array_equal(masks.area, dense.sum((1, 2)))
    assert masks.to_rle() == coco_rle(dense)
    assert Masks.from_rle(masks.to_rle()) == masks
    assert Masks(masks.size, masks.boxes, masks.offsets, masks.words) == masks


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=12)
    | st.binary(max_size=12)
    | st.text("0123456789:;<=>?@ABCNOPQnop", max_size=12)
    | st.lists(st.integers(-3, 40), max_size=6)
)
def test_any_code_is_read_or_refused(counts):
    try:
        masks = Masks.from_rle([{"size": [5, 7], "counts": counts}])
    except ValueError as error:
        if not str(error).startswith("rles[0] is malformed"):
            raise
        return
    (again,) = masks.to_rle()
    assert Masks.from_rle([again]) == masks
    if isinstance(counts, list):
        pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        assert np.array_equal(masks.to_dense()[0].T.ravel(), pixels)


def test_a_code_of_a_huge_image_costs_little():
    masks = Masks.from_rle([{"size": [60000, 70000], "counts": [4_000_000_000, 5, 199_999_995]}])
    assert masks.area.tolist() == [5]
    assert masks.words.size == 5
    assert Masks.from_rle(masks.to_rle()) == masks


def read_json(path):
    if not path.is_file():
        pytest.skip(
            f"../shared/data/{path.parent.name} is missing: real data is not in the repository"
        )
    return json.loads(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_text()
    )


REAL = [
    "nuclei/instances_train.json",
    "nuclei/instances_val.json",
    "coco_open/instances_train.json",
    "coco_open/instances_val.json",
    "coco_results/*.json*",
]


def as_rle(segmentation, size):
    if isinstance(segmentation, list):
        return coco.merge(coco.frPyObjects(segmentation, *size))
    if isinstance(segmentation["counts"], list):
        return coco.frPyObjects(segmentation, *size)
    return segmentation


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools on NumPy 2
@pytest.mark.parametrize("pattern", REAL)
def test_real_masks(shared_data, pattern):
    """Dense -> Masks -> RLE -> Masks of every annotation and every result."""
    paths = sorted(shared_data.glob(pattern))
    if not paths:
        pytest.skip(f"../shared/data/{pattern} is missing: real data is not in the repository")
    for path in paths:
        records = read_json(path)
        sizes = {}
        if isinstance(records, dict):
            if "annotations" not in records:
                continue
            sizes = {image["id"]: (image["height"], image["width"]) for image in records["images"]}
            records = records["annotations"]
        rles = {}
        for record in records:
            size = sizes.get(record["image_id"])
            if "segmentation" in record:
                rle = as_rle(record["segmentation"], size)
                rles.setdefault(record["image_id"], []).append(rle)
        for codes in rles.values():
            for first in range(0, len(codes), 50):  # no more are ever dense at once
                check_real_masks(codes[first : first + 50])


def check_real_masks(codes):
    masks = Masks.from_rle(codes)
    dense = masks.to_dense()
    assert np.array_equal(dense[0], coco.decode(codes[0]))
    assert Masks.from_dense(dense) == masks
    expected = [c if isinstance(c, str) else c.decode() for c in (rle["counts"] for rle in codes)]
    assert [rle["counts"] for rle in masks.to_rle()] == expected
    assert np.array_equal(masks.area, coco.area(codes))
    x, y, w, h = coco.toBbox(codes).T
    some = masks.area > 0
    assert np.array_equal(masks.boxes[some], np.stack([x, y, x + w, y + h], 1)[some])
    crowd = np.zeros(len(codes), np.uint8)
    assert np.array_equal(masks.iou(masks), coco.iou(codes, codes, crowd))
    assert np.array_equal(masks.iou(masks, kind="iof"), coco.iou(codes, codes, crowd + 1))


def test_uncompressed_rle():
    masks = Masks.from_rle([{"size": [2, 3], "counts": [1, 2, 3]}, {"size": [2, 3], "counts": [6]}])
    assert masks.to_dense().astype(int).tolist() == [[[0, 1, 0], [1, 0, 0]], [[0] * 3] * 2]


def test_patches_are_cut_and_tightened(target):
    rng = np.random.default_rng(4)
    size, patches, boxes, dense = (30, 80), [], [], []
    for _ in range(60):
        h, w = rng.integers(1, 40, 2)
        x, y = rng.integers(-50, 90), rng.integers(-50, 40)
        patch = rng.random((h, w)) < 0.3
        canvas = np.zeros((200, 300), bool)
        canvas[y + 60 : y + 60 + h, x + 60 : x + 60 + w] = patch
        patches.append(patch)
        boxes.append([x, y, x + w, y + h])
        dense.append(canvas[60:90, 60:140])
    assert Masks.from_patches(patches, np.array(boxes), size) == Masks.from_dense(np.array(dense))


def test_patches_in_any_order(target):
    rng = np.random.default_rng(10)
    patches = [rng.random((h, w)) < 0.5 for h, w in rng.integers(1, 80, (20, 2))]
    corners = rng.integers(-9, 60, (20, 2))
    expected = Masks.from_patches(patches, corners, (90, 100))
    assert Masks.from_patches(list(map(np.asfortranarray, patches)), corners, (90, 100)) == expected
    mirrored = [np.ascontiguousarray(patch[::-1, ::-1])[::-1, ::-1] for patch in patches]
    assert Masks.from_patches(mirrored, corners, (90, 100)) == expected


def test_many_tiny_masks():
    count, size = 100_000, (3000, 5000)
    rng = np.random.default_rng(11)
    shapes = rng.integers(0, 5, (count, 2))
    corners = rng.integers(-3, size[0], (count, 2))
    patches = [np.ones(tuple(shape), bool) for shape in shapes]
    masks = Masks.from_patches(patches, corners, size)
    low, high = np.maximum(corners, 0), np.minimum(corners + shapes[:, ::-1], size[::-1])
    area = np.maximum(high - low, 0).prod(1)
    assert np.array_equal(masks.area, area)
    order = rng.permutation(count)
    assert np.array_equal(masks[order].area, area[order])
    assert np.array_equal(masks[order].boxes, masks.boxes[order])
    assert masks[order][np.argsort(order)] == masks
    assert Masks.cat([masks[:99], masks[99:]]) == masks
    assert pickle.loads(pickle.dumps(masks)) == masks
    assert Masks.from_rle(masks.to_rle()) == masks


def test_images_too_large_for_pixels():
    """Only boxes cost anything."""
    side = 2**31 - 1
    corners = np.array([[0, 0], [side - 3, side - 2], [5, side - 1], [side, side], [-2, -2]])
    masks = Masks.from_patches([np.ones((3, 4), bool)] * 5, corners, (side, side))
    assert masks.area.tolist() == [12, 6, 4, 0, 2]
    assert masks.words.size <= 16
    assert masks[[1, 0]].boxes.tolist() == [[side - 3, side - 2, side, side], [0, 0, 4, 3]]


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
    assert masks[np.int64(3)] == masks[np.array(3)] == masks[3]
    assert masks[np.array([1, 2], np.uint8)] == masks[1:3]
    assert len(masks[5:2]) == 0
    assert len(masks[np.zeros(10, bool)]) == 0
    for wrong in (10, -11, [10], [-11], np.ones(9, bool)):
        with pytest.raises(IndexError):
            masks[wrong]
    for wrong in (1.5, [1.5], [[1]], "1", None):
        with pytest.raises(TypeError, match="expected ints or bools of rank 1"):
            masks[wrong]


def test_value_semantics():
    masks = Masks.from_dense(random_dense(np.random.default_rng(6), 5, (9, 65)))
    assert pickle.loads(pickle.dumps(masks)) == masks
    assert masks != masks[:4]
    assert masks != "masks"
    assert repr(masks) == f"Masks(5, size=(9, 65), {masks.nbytes} bytes)"


def test_empty():
    for masks in [
        Masks.from_dense(np.zeros((0, 4, 5), bool)),
        Masks.from_rle([], (4, 5)),
        Masks.from_patches([], np.zeros((0, 4), int), (4, 5)),
    ]:
        assert len(masks) == 0
        assert masks.to_dense().shape == (0, 4, 5)
        assert masks.iou(masks).shape == (0, 0)
        assert masks.nms(np.zeros(0), 0.5).tolist() == []
        assert masks.to_rle() == []


def test_arrays_are_checked_and_then_kept_from_writing():
    good = Masks.from_dense(np.ones((2, 3, 4), bool))
    boxes, offsets, words = good.boxes.copy(), good.offsets.copy(), good.words.copy()
    assert Masks((3, 4), boxes, offsets, words) == good
    for array in (good.boxes, good.offsets, good.words):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    with pytest.raises(AttributeError):
        good.size = (99, 99)
    own = Masks((3, 4), boxes, offsets, words)
    words[:] = 0
    assert own == good
    words[:] = good.words

    def refuse(message, error=ValueError, size=(3, 4), **change):
        with pytest.raises(error, match=message):
            Masks(size, **({"boxes": boxes, "offsets": offsets, "words": words} | change))

    with pytest.raises(TypeError, match=r"Masks\.from_dense, from_rle and others make one"):
        Masks(np.ones((2, 3, 4), bool))
    refuse("boxes is an int64 array", TypeError, boxes=boxes.astype(np.int64))
    refuse(r"boxes has shape \(2, 3\)", boxes=boxes[:, :3])
    refuse(r"boxes\[0\] is \[0, 0, 4, 3\], not a box inside the image", size=(2, 4))
    backward = np.array([boxes[0], [0, 0, 4, -3]], np.int32)
    refuse(r"boxes\[1\] is \[0, 0, 4, -3\], not a box", boxes=backward)
    refuse("size must be", TypeError, size=(3,))
    refuse("offsets has 2 elements, expected 3 for 2 boxes", offsets=offsets[:2])
    refuse(
        r"offsets\[1\] is 4 and words has 6 elements, expected 3",
        offsets=offsets + np.array([0, 1, 0]),
    )
    refuse("offsets ends with 7", offsets=offsets + np.array([0, 0, 1]))
    refuse("words has 5", words=words[:5])
    refuse("words has 7", words=np.append(words, words[:1]))
    for wrong in (words & np.uint64(7), words | np.uint64(16), words * (np.arange(6) > 0)):
        refuse(r"boxes\[0\] .* not the tight box", words=wrong.astype(np.uint64))


def test_bad_input():
    good = Masks.from_dense(np.ones((2, 3, 4), bool))
    with pytest.raises(TypeError, match="expected bool or uint8"):
        Masks.from_dense(np.ones((2, 3), bool))
    with pytest.raises(TypeError, match="expected bool or uint8"):
        Masks.from_dense(np.ones((2, 3, 4)))
    with pytest.raises(TypeError, match=r"patches\[1\] is a list, expected a bool array"):
        Masks.from_patches([np.ones((2, 2), bool), [[True]]], np.zeros((2, 2), int), (4, 4))
    with pytest.raises(ValueError, match="boxes has 1 rows for 2 patches"):
        Masks.from_patches([np.ones((2, 2), bool)] * 2, np.zeros((1, 2), int), (4, 4))
    with pytest.raises(TypeError, match="boxes is a float64 array"):
        Masks.from_patches([np.ones((2, 2), bool)], np.zeros((1, 2)), (4, 4))
    with pytest.raises(ValueError, match="size must be given"):
        Masks.from_rle([])
    with pytest.raises(IndexError):
        good.patch(2)
    with pytest.raises(ValueError, match="masks must not be empty"):
        Masks.cat([])
    with pytest.raises(TypeError, match=r"masks\[1\] is a bool array of shape"):
        Masks.cat([good, good.to_dense()])
    with pytest.raises(ValueError, match="masks differ in size"):
        Masks.cat([good, Masks.from_dense(np.ones((2, 4, 3), bool))])


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 3]}, "no 'counts'"),
        ({"size": [3, 2], "counts": "06"}, r"size is \[3, 2\], not \[2, 3\]"),
        ({"size": [2, 3], "counts": [5]}, "counts sum to 5, not 2"),
        ({"size": [2, 3], "counts": [5, 2]}, "counts sum to 7 or more, not 2"),
        ({"size": [2, 3], "counts": [7, -1]}, "counts sum to 7 or more, not 2"),
        ({"size": [2, 3], "counts": [-1, 7]}, "a negative run"),
        ({"size": [2, 3], "counts": [1.5]}, "counts must be a string or a list of ints"),
        ({"size": [2, 3], "counts": None}, "counts must be a string or a list of ints"),
        ({"size": [2, 3], "counts": "\x00"}, "counts is not a run-length string"),
        ({"size": [2, 3], "counts": "\udc80"}, "counts is not a run-length string"),
        ({"size": [2, 3], "counts": b"\xff"}, "counts is not a run-length string"),
        ({"size": [2, 3], "counts": "P"}, "counts is not a run-length string"),
        ({"size": [2, 3], "counts": "oooooooooo0"}, "counts holds a number over 40 bits"),
        ({"size": [2, 3], "counts": "O"}, "a negative run"),
        ({"size": [2, 3], "counts": "111O"}, "counts sum to 3, not 2"),
        ({"size": [2, 3], "counts": "011N"}, "a negative run"),
        ({"size": [2, 3], "counts": ""}, "counts sum to 0, not 2"),
    ],
)
def test_malformed_codes(rle, message):
    with pytest.raises(ValueError, match=rf"rles\[1\] is malformed: {message}"):
        Masks.from_rle([{"size": [2, 3], "counts": "6"}, rle])


def test_codes_of_too_many_pixels():
    with pytest.raises(ValueError, match="size is 65536 x 65536, expected at most"):
        Masks.from_rle([{"size": [65536, 65536], "counts": [0, 2**32]}])


def test_torch_storage():
    torch = pytest.importorskip("torch")
    dense = random_dense(np.random.default_rng(7), 16, (12, 90))
    ours = Masks.from_dense(dense)
    masks = Masks.from_dense(torch.from_numpy(dense))
    assert masks == ours
    assert masks == ours.to("cpu")
    assert masks.to("cpu") is masks
    assert masks.device == torch.device("cpu")
    assert ours.device == "cpu"
    assert masks.numpy() == ours
    assert ours.numpy() is ours
    assert repr(masks).endswith(" 2.4 kB, device='cpu')")
    for name in ("boxes", "offsets", "words", "area"):
        assert isinstance(getattr(masks, name), torch.Tensor)
        assert np.array_equal(getattr(masks, name).numpy(), getattr(ours, name))
    masks.boxes.zero_()
    assert np.array_equal(masks.boxes.numpy(), ours.boxes)
    assert torch.equal(masks.to_dense(), torch.from_numpy(dense))
    assert np.array_equal(masks.patch(-1).numpy(), ours.patch(-1))
    assert np.array_equal(masks.iou(ours).numpy(), ours.iou(masks))
    assert isinstance(masks.nms(np.zeros(16), 0.5), torch.Tensor)
    assert masks.to_rle() == ours.to_rle()
    for index in (3, slice(1, 9, 2), torch.tensor([4, 2]), torch.arange(16) % 2 == 0):
        assert masks[index] == ours[index]
        assert masks[index].device == masks.device
    assert Masks.cat(list(masks)) == masks
    assert pickle.loads(pickle.dumps(masks)) == masks
    assert Masks(masks.size, masks.boxes, masks.offsets, masks.words) == masks
    patches = [masks.patch(i) for i in range(16)]
    assert Masks.from_patches(patches, masks.boxes, masks.size) == masks
    with pytest.raises(TypeError, match="words is not of the library"):
        Masks(masks.size, masks.boxes, masks.offsets, ours.words)


def test_an_index_that_is_none():
    masks = Masks.from_dense(np.ones((5, 3, 4), bool))
    for index in (5, -6, np.uint64(2**64 - 1)):
        with pytest.raises(IndexError, match=f"index {index} is out of range for 5 masks"):
            masks[index]
    with pytest.raises(IndexError, match="out of range for 5 masks"):
        masks[np.array([2**64 - 1], np.uint64)]
    for index in (True, np.True_, (0, 1), ()):
        with pytest.raises(TypeError, match="index is"):
            masks[index]
    with pytest.raises(IndexError, match="index 9 is out of range"):
        masks.patch(9)


def test_cat_takes_what_lists_masks():
    masks = Masks.from_dense(np.ones((5, 3, 4), bool))
    assert Masks.cat(part for part in masks) == masks
    for wrong in (None, 3):
        with pytest.raises(TypeError, match=f"masks is {wrong}, expected a list of Masks"):
            Masks.cat(wrong)
    with pytest.raises(TypeError, match=r"masks\[0\] is a"):
        Masks.cat(np.zeros((2, 3)))


def test_no_patches():
    assert len(Masks.from_patches([], [], (3, 4))) == 0


def test_what_lists_no_codes_or_polygons():
    for wrong in ({"size": [2, 3], "counts": "123"}, "123", None):
        with pytest.raises(TypeError, match=r"rles is .*, expected a list of codes"):
            Masks.from_rle(wrong)
    for wrong in ("abc", None, {}):
        with pytest.raises(TypeError, match=r"polygons is .*, expected one list for each mask"):
            Masks.from_polygons(wrong, (8, 8))
        with pytest.raises(TypeError, match=r"polygons\[0\] is .*, expected a list of polygons"):
            Masks.from_polygons([wrong], (8, 8))
    points = [(1, 1), (5, 1), (5, 5)]
    flat = Masks.from_polygons([[[1, 1, 5, 1, 5, 5]]], (8, 8))
    assert Masks.from_polygons([[points]], (8, 8)) == flat
    assert Masks.from_polygons(iter([[points]]), (8, 8)) == flat
