"""`CocoInstances` against pycocotools, and on files that are not right."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from pyifcn.data import CocoInstances, DataError, ImageError, SyntheticShapes, write_coco

# pycocotools' own decoder
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CONTENT = {
    "images": [
        {"id": 7, "file_name": "seven.png", "height": 20, "width": 30, "channels": 1},
        {"id": 3, "file_name": "three.png", "height": 10, "width": 12, "channels": 3},
        {"id": 9, "file_name": "nine.png", "height": 5, "width": 5, "channels": 1},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 3,
            "category_id": 5,
            "segmentation": {"size": [10, 12], "counts": [15, 5, 100]},
            "iscrowd": 1,
            "area": 5,
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 2,
            "segmentation": [[2, 2, 9, 2, 9, 8], [20.5, 3.25, 28, 3, 24, 12, 20, 9]],
            "area": 61.5,
        },
        {"id": 4, "image_id": 7, "category_id": 1, "segmentation": [[1, 1, 4, 1, 4, 6, 1, 6]]},
    ],
    "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "dirt"}, {"id": 5}],
}


@pytest.fixture
def folder(tmp_path):
    """A folder with `a.json` and its images."""
    (tmp_path / "a.json").write_text(json.dumps(CONTENT))
    for record in CONTENT["images"]:
        image = np.full((record["height"], record["width"], 3), record["id"], np.uint8)
        Image.fromarray(image).save(tmp_path / record["file_name"])
    return tmp_path


def dense(segmentation, height, width):
    """The mask as pycocotools decodes it."""
    rle = coco_mask.frPyObjects(segmentation, height, width)
    rle = coco_mask.merge(rle) if isinstance(rle, list) else rle
    return coco_mask.decode(rle).astype(bool)


def test_samples(folder):
    data = CocoInstances(folder / "a.json", folder)
    assert len(data) == 3
    assert data.categories == {1: "cell", 2: "dirt", 5: "5"}
    sample = data[0]
    assert (sample.image == 7).all()
    assert sample.image.shape == (20, 30, 3)
    assert (sample.image_id, sample.file_name) == (7, "seven.png")
    assert sample.info["channels"] == 1
    assert sample.labels.tolist() == [2, 1]
    assert sample.crowd.tolist() == [False, False]
    expected = [dense(CONTENT["annotations"][i]["segmentation"], 20, 30) for i in (1, 2)]
    assert np.array_equal(sample.masks.to_dense(), expected)
    assert sample.areas.tolist() == [61.5, expected[1].sum()]
    assert data[1].crowd.tolist() == [True]
    assert data[1].masks.area.tolist() == [5]
    assert len(data[2].masks) == 0
    assert data[2].masks.size == (5, 5)
    with pytest.raises(IndexError):
        data[3]


def test_views(folder):
    data = CocoInstances(folder / "a.json", folder)
    grey = data.filter(lambda record: record["channels"] == 1)
    assert [sample.image_id for sample in grey] == [7, 9]
    assert [sample.image_id for sample in data[1:]] == [3, 9]
    assert [sample.image_id for sample in data[::-2]] == [9, 7]
    assert data[-1].image_id == 9
    assert len(data) == 3
    again = pickle.loads(pickle.dumps(grey))
    assert again[0].masks == grey[0].masks


def test_fingerprints_tell_data_sets_apart(folder):
    data = CocoInstances(folder / "a.json", folder)
    own = data.fingerprint()
    assert own == CocoInstances(folder / "a.json").fingerprint()
    assert own == data[:].fingerprint()
    parts = [data[1:], data[::-1], data.filter(lambda record: record["channels"] == 1)]
    assert len({own, *(part.fingerprint() for part in parts)}) == 4
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["iscrowd"] = 1 - content["annotations"][0].get("iscrowd", 0)
    (folder / "a.json").write_text(json.dumps(content))
    assert CocoInstances(folder / "a.json", folder).fingerprint() != own


def test_truth_needs_no_images(folder):
    data = CocoInstances(folder / "a.json", folder / "elsewhere")
    assert data.truth(0).labels.tolist() == [2, 1]
    with pytest.raises(ImageError, match=r"seven.png does not exist"):
        data[0]


def test_image_of_another_size(folder):
    Image.new("RGB", (31, 20)).save(folder / "seven.png")
    with pytest.raises(DataError, match=r"seven.png is 20 x 31 pixels, but .*a.json says 20 x 30"):
        CocoInstances(folder / "a.json", folder)[0]


def test_written_samples_are_read_back(folder, tmp_path):
    samples = [*CocoInstances(folder / "a.json", folder), *SyntheticShapes(2, size=(64, 80))]
    for i, sample in enumerate(samples):
        sample.image_id = i
    write_coco(samples, tmp_path / "b.json", tmp_path / "b", SyntheticShapes.categories)
    data = CocoInstances(tmp_path / "b.json", tmp_path / "b")
    assert data.categories == {1: "disc", 2: "box", 3: "polygon", 4: "star", 5: "5"}
    for got, sample in zip(data, samples, strict=True):
        assert np.array_equal(got.image, sample.image)
        assert got.masks == sample.masks
        assert np.array_equal(got.labels, sample.labels)
        assert np.array_equal(got.crowd, sample.crowd)
        assert (
            got.areas.tolist()
            == (sample.masks.area if sample.areas is None else sample.areas).tolist()
        )
        assert got.info.get("channels") == sample.info.get("channels")
        assert (got.image_id, got.file_name) == (sample.image_id, sample.file_name)


def test_polygons_equal_pycocotools(tmp_path):
    rng = np.random.default_rng(0)
    height, width = 41, 70
    content = {"images": [], "annotations": []}
    content["images"].append({"id": 1, "file_name": "a.png", "height": height, "width": width})
    for i in range(200):
        parts = []
        for _ in range(rng.integers(1, 4)):
            corners = rng.uniform(-10, 80, (rng.integers(3, 9), 2))
            corners = np.rint(corners) if i % 2 else corners
            parts.append(corners.ravel().tolist())
        content["annotations"].append(
            {"id": i, "image_id": 1, "category_id": 1, "segmentation": parts}
        )
    (tmp_path / "a.json").write_text(json.dumps(content))
    got = CocoInstances(tmp_path / "a.json", tmp_path).truth(0).masks.to_dense()
    for mask, annotation in zip(got, content["annotations"], strict=True):
        assert np.array_equal(mask, dense(annotation["segmentation"], height, width))


@pytest.mark.parametrize("name", ["coco_open", "nuclei"])
def test_real_files_equal_pycocotools(name, shared_data):
    path = shared_data / name / "instances_val.json"
    data, theirs = CocoInstances(path, shared_data / name / "images"), COCO(path)
    for i, record in enumerate(data.records[:25]):
        truth = data.truth(i)
        annotations = theirs.loadAnns(theirs.getAnnIds(imgIds=record["id"]))
        expected = [coco_mask.decode(theirs.annToRLE(a)).astype(bool) for a in annotations]
        assert np.array_equal(
            truth.masks.to_dense(), np.array(expected).reshape(-1, *truth.masks.size)
        )
        assert truth.crowd.tolist() == [a["iscrowd"] == 1 for a in annotations]
        assert truth.areas.tolist() == [a["area"] for a in annotations]
    assert data[0].image.shape[:2] == data[0].masks.size


def without(key, *path):
    def change(content):
        for step in path:
            content = content[step]
        del content[key]

    return change


def put(value, *path):
    def change(content):
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


SEGMENTATION = "annotations", 1, "segmentation"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("images"), "is not COCO instances: it has no list 'images'"),
        (put({}, "annotations"), "is not COCO instances: it has no list 'annotations'"),
        (put(3, "categories"), "'categories' is no list"),
        (put([{"name": "x"}], "categories"), r"categories\[0\] has no 'id'"),
        (without("height", "images", 1), r"images\[1\] has no 'height'"),
        (put("20", "images", 0, "width"), r"images\[0\]: width is '20'"),
        (put(-1, "images", 0, "width"), r"images\[0\] has the size 20 x -1"),
        (put(2**40, "images", 0, "width"), r"images\[0\] has the size"),
        (put(True, "images", 0, "id"), r"images\[0\]: id is True"),
        (put([1], "images", 0), r"images\[0\] is a list, not an object"),
        (put(3, "images", 0, "id"), "two images have the id 3"),
        (put(None, "annotations", 2), r"annotations\[2\] is None, not an object"),
        (without("image_id", "annotations", 2), "annotation 4 has no 'image_id'"),
        (without("category_id", "annotations", 2), "annotation 4 has no 'category_id'"),
        (without("segmentation", "annotations", 2), "annotation 4 has no 'segmentation'"),
        (put(8, "annotations", 2, "image_id"), "annotation 4: there is no image with the id 8"),
        (put(99, "annotations", 2, "category_id"), "annotation 4: there is no category"),
        (put(2, "annotations", 2, "id"), "annotation 2: the id occurs twice"),
        (put(2, "annotations", 2, "iscrowd"), "annotation 4: iscrowd is 2"),
        (put(-3, "annotations", 2, "area"), "annotation 4: area is -3"),
        (put("x", *SEGMENTATION), "annotation 2: segmentation is 'x'"),
        (put([], *SEGMENTATION), "annotation 2: segmentation is empty"),
        (put([[1, 2, 3, 4]], *SEGMENTATION), "annotation 2: a polygon is not a list of at least"),
        (put([[1, 2, 3, 4, 5, 6, 7]], *SEGMENTATION), "annotation 2: a polygon is not a list"),
        (put([1, 2, 3, 4, 5, 6], *SEGMENTATION), "annotation 2: a polygon is not a list"),
        (
            put([[1, 2, 3, 4, 5, "6"]], *SEGMENTATION),
            "annotation 2: a polygon has the coordinate '6'",
        ),
        (put([[1, 2, 3, 4, 5, np.nan]], *SEGMENTATION), "annotation 2: .* coordinate nan"),
        (put([[1, 2, 3, 4, 5, 1e30]], *SEGMENTATION), r"annotation 2: .* coordinate 1e\+30"),
        (put({"counts": "1"}, *SEGMENTATION), "annotation 2: segmentation is neither"),
        (put({"size": [20, 30]}, *SEGMENTATION), "annotation 2: segmentation is neither"),
        (
            put({"size": [30, 20], "counts": [600]}, *SEGMENTATION),
            r"annotation 2: segmentation has size \[30, 20\], its image \[20, 30\]",
        ),
        (
            put({"size": [20, 30], "counts": [601]}, *SEGMENTATION),
            "annotation 2: segmentation is malformed: .*601",
        ),
        (
            put({"size": [20, 30], "counts": [700, -100]}, *SEGMENTATION),
            "annotation 2: .*malformed",
        ),
        (put({"size": [20, 30], "counts": "ab~"}, *SEGMENTATION), "annotation 2: .*malformed"),
        (put({"size": [20, 30], "counts": None}, *SEGMENTATION), "annotation 2: .*malformed"),
        (put({"size": [20, 30], "counts": [0.5]}, *SEGMENTATION), "annotation 2: .*malformed"),
    ],
)
def test_malformed(folder, change, message):
    content = copy.deepcopy(CONTENT)
    change(content)
    (folder / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        CocoInstances(folder / "a.json", folder)
    assert str(folder / "a.json") in str(caught.value)


def places(content, *above):
    """Every path of keys into nested dicts and lists."""
    if isinstance(content, dict | list):
        keys = list(content) if isinstance(content, dict) else range(len(content))
        for key in keys:
            yield (*above, key)
            yield from places(content[key], *above, key)


def test_anything_anywhere_is_used_or_refused(folder):
    refused = 0
    values = [
        None,
        True,
        -1,
        1.5,
        "x",
        [],
        {},
        [[1] * 6],
        10**400,
        {"size": [20, 30], "counts": ""},
    ]
    for place in places(CONTENT):
        for value in values:
            content = copy.deepcopy(CONTENT)
            put(value, *place)(content)
            (folder / "a.json").write_text(json.dumps(content))
            try:
                data = CocoInstances(folder / "a.json", folder)
                assert sum(len(data.truth(i).labels) for i in range(len(data))) <= 3
            except DataError:
                refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not json"),
        (b'{"images": [', "is not json"),
        (b"\xff\xfe\x00x", "is not json"),
        (b"[" * 100_000, "is not json"),
        (b"[]", "is not COCO instances: it holds a list"),
        (b"3", "is not COCO instances: it holds 3"),
    ],
)
def test_not_coco(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"a.json {message}"):
        CocoInstances(tmp_path / "a.json", tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"b.json does not exist"):
        CocoInstances(tmp_path / "b.json", tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        CocoInstances(tmp_path, tmp_path)
