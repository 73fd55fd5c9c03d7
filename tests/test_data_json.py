"""COCO's panoptic format and LVIS' on small files of their own, right and wrong."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from PIL import Image

from pyifcn.data import (
    CocoInstances,
    CocoPanoptic,
    DataError,
    ImageError,
    LvisInstances,
    SkippedWarning,
    open_dataset,
)

SIZE = (20, 30)
IDS = np.zeros(SIZE, np.uint32)  # segments: 7 a person, 300 the sky, 70000 people, 16777215 a dog
IDS[:6] = 300
IDS[4:12, 3:9] = 7
IDS[8:20, 15:30] = 70000
IDS[15:17, 2:6] = 2**24 - 1
PANOPTIC = {
    "images": [
        {"id": 12, "file_name": "a.jpg", "height": 20, "width": 30, "channels": 3},
        {"id": 5, "file_name": "b.jpg", "height": 20, "width": 30, "channels": 1},
    ],
    "annotations": [
        {
            "image_id": 12,
            "file_name": "a.png",
            "segments_info": [
                {"id": 70000, "category_id": 1, "iscrowd": 1, "area": 180, "bbox": [15, 8, 15, 12]},
                {"id": 300, "category_id": 90, "iscrowd": 0, "area": 162},
                {"id": 16777215, "category_id": 18, "iscrowd": 0, "area": 7.5},
                {"id": 7, "category_id": 1},
            ],
        },
        {"image_id": 5, "file_name": "b.png", "segments_info": []},
    ],
    "categories": [
        {"id": 1, "name": "person", "isthing": 1},
        {"id": 18, "name": "dog", "isthing": 1},
        {"id": 90, "name": "sky", "isthing": 0},
    ],
}


def save_ids(ids, path):
    colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=2).astype(np.uint8)
    Image.fromarray(colours).save(path)


@pytest.fixture
def panoptic(tmp_path):
    """A folder as COCO's archives make it: `p.json` beside the folder `p`."""
    (tmp_path / "p.json").write_text(json.dumps(PANOPTIC))
    (tmp_path / "p").mkdir()
    (tmp_path / "images").mkdir()
    save_ids(IDS, tmp_path / "p/a.png")
    save_ids(np.zeros(SIZE, np.uint32), tmp_path / "p/b.png")
    for name in "ab":
        Image.new("RGB", (30, 20), "red").save(tmp_path / f"images/{name}.jpg")
    return tmp_path


def test_panoptic(panoptic):
    data = CocoPanoptic(panoptic / "p.json", panoptic / "images")
    assert data.categories == {1: "person", 18: "dog"}
    assert len(data) == 2
    sample = data[0]
    assert sample.image.shape == (20, 30, 3)
    assert (sample.image_id, sample.file_name) == (12, "a.jpg")
    assert np.array_equal(sample.masks.to_dense(), [i == IDS for i in (70000, 2**24 - 1, 7)])
    assert sample.labels.tolist() == [1, 18, 1]
    assert sample.crowd.tolist() == [True, False, False]
    assert sample.areas.tolist() == [180, 7.5, (IDS == 7).sum()]
    assert len(data[1].masks) == 0
    assert len(data.filter(lambda record: record["channels"] == 1)) == 1
    (panoptic / "p").rename(panoptic / "q")
    with pytest.raises(ImageError, match=r"p.a.png does not exist"):
        data[0]
    again = CocoPanoptic(panoptic / "p.json", segments=panoptic / "q")
    assert again.truth(0).masks == sample.masks
    content = json.loads((panoptic / "p.json").read_text())
    content["categories"] += content["categories"][-1:]  # twice is once
    (panoptic / "p.json").write_text(json.dumps(content))
    assert CocoPanoptic(panoptic / "p.json").categories == again.categories


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


SEGMENT = "annotations", 0, "segments_info", 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("annotations"), "is not COCO panoptic: it has no list 'annotations'"),
        (put({}, "categories"), "is not COCO panoptic: 'categories' is no list"),
        (put(2, "categories", 2, "isthing"), "category 90: isthing is 2"),
        (put(2**70, "categories", 0, "id"), r"categories\[0\]: id is"),
        (without("width", "images", 1), r"images\[1\] has no 'width'"),
        (put(99, "annotations", 1, "image_id"), r"annotations\[1\]: there is no image with the id"),
        (put(12, "annotations", 1, "image_id"), r"annotations\[1\]: the image 12 has another one"),
        (without(1, "annotations"), "image 5 has no annotation"),
        (without("file_name", "annotations", 0), r"annotations\[0\] has no 'file_name'"),
        (put(None, "annotations", 0, "segments_info"), r"\[0\]: segments_info is None"),
        (put(3, *SEGMENT), r"segments_info\[1\] is 3, not an object"),
        (put(0, *SEGMENT, "id"), r"segments_info\[1\]: id is 0"),
        (put(2**24, *SEGMENT, "id"), r"segments_info\[1\]: id is 16777216"),
        (put(70000, *SEGMENT, "id"), r"segments_info\[1\]: id is 70000, which occurs twice"),
        (put(91, *SEGMENT, "category_id"), "there is no category 91"),
        (put(2, *SEGMENT, "iscrowd"), "iscrowd is 2, neither"),
        (put(-1, *SEGMENT, "area"), "area is -1"),
    ],
)
def test_malformed_panoptic(panoptic, change, message):
    content = copy.deepcopy(PANOPTIC)
    change(content)
    path = panoptic / "p.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"{path}.*{message}"):
        CocoPanoptic(path, panoptic / "images")


def test_panoptic_files_that_do_not_fit(panoptic):
    data = CocoPanoptic(panoptic / "p.json", panoptic / "images")
    ids = IDS.copy()
    ids[0, 0] = 8
    save_ids(ids, panoptic / "p/a.png")
    with pytest.raises(DataError, match=r"a.png: segment 8 is not in its segments_info"):
        data[0]
    save_ids(np.where(IDS == 7, 0, IDS), panoptic / "p/a.png")
    with pytest.raises(DataError, match=r"a.png: segment 7 has no pixels"):
        data[0]
    save_ids(IDS[:, :-1], panoptic / "p/a.png")
    with pytest.raises(DataError, match=r"a.png is 20 x 29 pixels, but .*p.json says 20 x 30"):
        data[0]
    Image.fromarray(IDS.astype(np.uint8)).save(panoptic / "p/a.png")
    with pytest.raises(ImageError, match=r"a.png holds pixels of kind L, expected RGB"):
        data[0]
    with pytest.warns(SkippedWarning, match=r"a.png holds pixels of kind L"):
        data = CocoPanoptic(panoptic / "p.json", panoptic / "images", on_error="skip")
    assert [record["id"] for record in data.records] == [5]


def test_malformed_panoptic_entries_are_skipped(panoptic):
    content = copy.deepcopy(PANOPTIC)
    content["annotations"][0]["segments_info"][0]["iscrowd"] = "no"
    content["images"].append({"id": 6, "file_name": "c.jpg", "height": 20, "width": 30})
    content["images"].append({"id": 7})
    (panoptic / "p.json").write_text(json.dumps(content))
    with pytest.warns(SkippedWarning):
        data = CocoPanoptic(panoptic / "p.json", panoptic / "images", on_error="skip")
    assert [sample.image_id for sample in data] == [5]
    assert len(data.skipped) == 3
    assert "images[3] has no 'file_name'" in data.skipped[0]
    assert data.skipped[1].startswith("a.jpg: ")
    assert data.skipped[2].startswith("c.jpg: ")


LVIS = {
    "info": {"version": "v1.0"},
    "images": [
        {
            "id": 391,
            "coco_url": "http://images.cocodataset.org/train2017/000000000391.jpg",
            "height": 20,
            "width": 30,
            "neg_category_ids": [800, 3],
            "not_exhaustive_category_ids": [4],
        },
        {
            "id": 4,
            "coco_url": "http://images.cocodataset.org/val2017/000000000004.jpg",
            "height": 20,
            "width": 30,
            "neg_category_ids": [],
            "not_exhaustive_category_ids": [],
        },
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 391,
            "category_id": 4,
            "segmentation": [[2, 2, 9, 2, 9, 8]],
            "area": 21.0,
            "bbox": [2, 2, 7, 6],
        }
    ],
    "categories": [
        {"id": 4, "name": "aerosol_can", "synset": "aerosol.n.02", "frequency": "c"},
        {"id": 3, "name": "airplane", "synset": "airplane.n.01", "frequency": "f"},
    ],
}


@pytest.fixture
def lvis(tmp_path):
    (tmp_path / "l.json").write_text(json.dumps(LVIS))
    for image in LVIS["images"]:
        path = tmp_path / "/".join(image["coco_url"].split("/")[-2:])
        path.parent.mkdir()
        Image.new("RGB", (30, 20), "blue").save(path)
    return tmp_path


def test_lvis(lvis):
    data = LvisInstances(lvis / "l.json", lvis)
    assert data.categories == {4: "aerosol_can", 3: "airplane"}
    sample = data[0]
    assert sample.file_name == "train2017/000000000391.jpg"
    assert sample.labels.tolist() == [4]
    assert sample.crowd.tolist() == [False]
    assert sample.areas.tolist() == [21]
    assert sample.info["neg_category_ids"] == [800, 3]
    assert sample.info["not_exhaustive_category_ids"] == [4]
    assert len(data[1].masks) == 0
    instances = copy.deepcopy(LVIS)
    for image in instances["images"]:
        image["file_name"] = "x.jpg"
    (lvis / "c.json").write_text(json.dumps(instances))
    assert CocoInstances(lvis / "c.json").truth(0).masks == sample.masks
    assert LvisInstances(lvis / "c.json").records[0]["file_name"] == "x.jpg"


def test_lvis_images_in_one_folder(lvis):
    for path in lvis.glob("*2017/*.jpg"):
        path.rename(lvis / path.name)
    data = LvisInstances(lvis / "l.json", lvis)
    assert [sample.image_id for sample in data] == [391, 4]
    (lvis / "000000000391.jpg").unlink()
    with pytest.raises(ImageError, match=r"train2017.000000000391.jpg does not exist"):
        data[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("coco_url", "images", 0), r"images\[0\] has no 'coco_url'"),
        (put(3, "images", 0, "coco_url"), r"images\[0\]: coco_url is 3"),
        (put(3, "images", 0, "neg_category_ids"), r"\[0\]: neg_category_ids is 3, no list"),
        (put({}, "images", 1, "not_exhaustive_category_ids"), "ids is an object, no list"),
        (put("x", "images", 0), r"images\[0\] is 'x', not an object"),
        (put([[1, 2]], "annotations", 0, "segmentation"), "annotation 1: a polygon is not"),
    ],
)
def test_malformed_lvis(lvis, change, message):
    content = copy.deepcopy(LVIS)
    change(content)
    (lvis / "l.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        LvisInstances(lvis / "l.json", lvis)


def test_coco_skips_images_with_malformed_annotations(lvis):
    content = copy.deepcopy(LVIS)
    good = {"id": 2, "image_id": 4, "category_id": 4, "segmentation": [[2, 2, 9, 2, 9, 8]]}
    wrong = {"size": [20, 30], "counts": [601]}
    content["annotations"] += [
        good,
        {"id": 3, "image_id": 391, "category_id": 4, "segmentation": wrong},
        {"id": 4, "image_id": 391, "category_id": 4, "segmentation": wrong},
        {"id": 5, "image_id": 77, "category_id": 4, "segmentation": wrong},
        "annotation",
    ]
    (lvis / "l.json").write_text(json.dumps(content))
    with pytest.warns(SkippedWarning):
        data = open_dataset(lvis / "l.json", lvis, on_error="skip")
    assert [sample.image_id for sample in data] == [4]
    assert data[0].labels.tolist() == [4]
    assert [line.partition(f"{lvis / 'l.json'}: ")[2].split(":")[0] for line in data.skipped] == [
        "annotation 5",
        "annotations[5] is 'annotation', not an object",
        "annotation 3",
    ]
    assert data.skipped[2].startswith("train2017/000000000391.jpg: ")
    content["annotations"] = content["annotations"][:4]
    (lvis / "l.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="annotation 3: segmentation is malformed"):
        open_dataset(lvis / "l.json", lvis)


def test_coco_skips_images_that_cannot_be_read(lvis):
    path = lvis / "val2017/000000000004.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.warns(SkippedWarning, match="000000000004.jpg cannot be decoded"):
        data = open_dataset(lvis / "l.json", lvis, on_error="skip")
    assert [sample.image_id for sample in data] == [391]
    assert len(open_dataset(lvis / "l.json", on_error="skip")) == 2  # truths alone


def test_rotated_photograph(lvis):
    """COCO's size says which way up the annotators saw it."""
    path = lvis / "train2017/000000000391.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    for stored in ((30, 20), (20, 30)):
        Image.new("RGB", stored, "blue").save(path, exif=exif)
        assert LvisInstances(lvis / "l.json", lvis)[0].image.shape == (20, 30, 3)
