"""`open_dataset` finds the format, or is told; and the real data through it."""

from __future__ import annotations

import gzip
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from pyifcn.data import FORMATS, DataError, SyntheticShapes, open_dataset, write_coco


@pytest.fixture
def folder(tmp_path):
    write_coco(SyntheticShapes(3, size=(40, 50)), tmp_path / "a.json", tmp_path / "images")
    return tmp_path


def kind(*arguments, **options):
    return type(open_dataset(*arguments, **options)).__name__


def test_json(folder):
    content = json.loads((folder / "a.json").read_text())
    assert kind(folder / "a.json", folder / "images") == "CocoInstances"
    (folder / "a.json.gz").write_bytes(gzip.compress((folder / "a.json").read_bytes()))
    assert kind(str(folder / "a.json.gz"), format="coco") == "CocoInstances"
    content["images"][0]["not_exhaustive_category_ids"] = []
    (folder / "l.json").write_text(json.dumps(content))
    assert kind(folder / "l.json") == "LvisInstances"
    assert kind(folder / "l.json", format="coco") == "CocoInstances"
    assert kind(folder / "a.json", format="lvis") == "LvisInstances"
    parts = {"images": [], "annotations": [], "categories": []}
    (folder / "e.json").write_text(json.dumps(parts))
    assert kind(folder / "e.json") == "CocoInstances"
    assert kind(folder / "e.json", format="coco-panoptic") == "CocoPanoptic"
    image = {"id": 1, "file_name": "a.png", "height": 4, "width": 5}
    annotation = {"image_id": 1, "file_name": "a.png", "segments_info": []}
    (folder / "e.json").write_text(
        json.dumps(parts | {"images": [image], "annotations": [annotation]})
    )
    assert kind(folder / "e.json") == "CocoPanoptic"


@pytest.mark.parametrize("content", ["3", "[]", "{}", '{"images": {}}', '{"images": [1]}'])
def test_json_of_no_format(folder, content):
    (folder / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a.json.*(is not COCO instances|images\[0\] is 1)"):
        open_dataset(folder / "a.json", folder)


def test_folders(folder):
    labels = folder / "labels"
    labels.mkdir()
    for i in range(3):
        np.save(labels / f"shapes_{i:05d}.npy", np.eye(40, 50, dtype=np.uint8))
    data = open_dataset(labels, folder / "images")
    assert type(data).__name__ == "LabelImages"
    assert len(data[1:]) == 2
    assert data[1].masks.area.tolist() == [40]
    assert pickle.loads(pickle.dumps(data[1:]))[0].masks == data[1].masks
    with pytest.raises(DataError, match="labels looks like none of the known formats; give one of"):
        open_dataset(labels)
    assert kind(labels, format="labels") == "LabelImages"
    with pytest.raises(DataError, match="ImageSets"):
        open_dataset(labels, format="voc")
    layouts = {"gtFine": "leftImg8bit does", "SegmentationObject": "ImageSets", "inst": "split"}
    for part, message in layouts.items():
        (labels / part).mkdir()
        with pytest.raises(DataError, match=message):
            open_dataset(labels)
        (labels / part).rmdir()


def test_bad_options(folder):
    with pytest.raises(ValueError, match=r"format must be one of coco, .*, labels, got 'pascal'"):
        open_dataset(folder, format="pascal")
    with pytest.raises(ValueError, match=r"split is 'val', but .* format coco, without splits"):
        open_dataset(folder / "a.json", folder, split="val")
    with pytest.raises(ValueError, match="on_error must be 'refuse' or 'skip', got True"):
        open_dataset(folder / "a.json", folder, on_error=True)
    with pytest.raises(DataError, match="images is a folder, not a json file"):
        open_dataset(folder / "images", format="coco")
    with pytest.raises(DataError, match=r"b.json does not exist"):
        open_dataset(folder / "b.json")
    for name in FORMATS:
        with pytest.raises(DataError, match="nowhere"):
            open_dataset(folder / "nowhere", format=name)


@pytest.mark.parametrize("name", ["coco_open", "nuclei"])
def test_real_masks_as_label_images(name, shared_data, tmp_path):
    """What COCO's json says, painted into 16 bits, is read back; what lies below is hidden."""
    data = open_dataset(shared_data / name / "instances_val.json", shared_data / name / "images")
    expected = {}
    for i, record in enumerate(data.records[:12]):
        path = tmp_path / f"{record['file_name'].rpartition('.')[0]}_masks.png"
        expected[path.name] = labels = data.truth(i).masks.to_labels()
        Image.fromarray(labels.astype(np.uint16)).save(path)
    painted = open_dataset(tmp_path, format="labels")
    assert len(painted) == 12
    for i, record in enumerate(painted.records):
        labels = expected[record["labels"]]
        values = np.setdiff1d(labels, 0)
        assert np.array_equal(painted.truth(i).masks.to_dense(), labels == values[:, None, None])
