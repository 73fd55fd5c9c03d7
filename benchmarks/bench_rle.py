"""COCO's codes, beside pycocotools, hotcoco and faster-coco-eval."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from pyifcn import Masks
from pyifcn.compat import pycocotools as ours

# pycocotools against NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

COUNT, SIZE = 300, (480, 640)
WORK = f"{COUNT} masks of {SIZE[0]} x {SIZE[1]}"
DATA = Path(__file__).parents[2] / "shared" / "data"
PEERS = {
    "pyifcn": "pyifcn.compat.pycocotools",
    "pycocotools": "pycocotools.mask",
    "hotcoco": "hotcoco.mask",
    "faster-coco-eval": "faster_coco_eval.core.mask",
}


def module_of(who):
    package, _, name = PEERS[who].rpartition(".")
    found = getattr(pytest.importorskip(package), name, None)  # hotcoco's is no module of its own
    return found or importlib.import_module(PEERS[who])


def texts(rles):
    return [c.encode() if isinstance(c, str) else bytes(c) for c in (r["counts"] for r in rles)]


@pytest.fixture(scope="module")
def dense():
    """Ellipses 20 to 300 pixels across: uint8 (H, W, N) in Fortran's order."""
    rng = np.random.default_rng(0)
    height, width = SIZE
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((height, width, COUNT), np.uint8, order="F")
    for i in range(COUNT):
        (cy, cx), (ry, rx) = rng.uniform(0, SIZE), rng.uniform(10, 150, 2)
        masks[:, :, i] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
    return masks


@pytest.fixture(scope="module")
def codes(dense):
    return ours.encode(dense)


@pytest.mark.parametrize("who", PEERS)
def test_encode(compare, dense, codes, who):
    module = module_of(who)
    found = compare(f"encode, {WORK}", who, lambda: module.encode(dense))
    assert texts(found) == texts(codes)


@pytest.mark.parametrize("who", ["pyifcn", "pycocotools of the copy that it asks for"])
def test_encode_masks_in_c_order(compare, dense, codes, who):
    module = importlib.import_module("pycocotools.mask")
    by_mask = np.ascontiguousarray(dense.transpose(2, 0, 1))
    ways = {
        "pyifcn": lambda: Masks.from_dense(by_mask).to_rle(),
        "pycocotools of the copy that it asks for": lambda: module.encode(
            np.asfortranarray(by_mask.transpose(1, 2, 0))
        ),
    }
    found = compare(f"encode, {WORK} (N, H, W) in C order", who, ways[who])
    assert texts(found) == texts(codes)


@pytest.mark.parametrize("who", PEERS)
def test_decode(compare, dense, codes, who):
    module = module_of(who)
    found = compare(f"decode, {WORK}", who, lambda: module.decode(codes))
    assert np.array_equal(found, dense)


@pytest.mark.parametrize("who", PEERS)
def test_iou(compare, codes, who):
    module = module_of(who)
    crowd = [0] * COUNT
    found = compare(f"iou of codes, {COUNT} x {WORK}", who, lambda: module.iou(codes, codes, crowd))
    assert np.array_equal(found, ours.iou(codes, codes, crowd))


@pytest.mark.parametrize("who", PEERS)
def test_box_iou(compare, codes, who):
    module = module_of(who)
    boxes, crowd = ours.toBbox(codes), [0] * COUNT
    found = compare(
        f"iou of boxes, {COUNT} x {COUNT}", who, lambda: module.iou(boxes, boxes, crowd)
    )
    assert np.array_equal(found, ours.iou(boxes, boxes, crowd))


@pytest.mark.parametrize("who", PEERS)
def test_merge(compare, codes, who):
    module = module_of(who)
    found = compare(f"merge, {WORK}", who, lambda: module.merge(codes))
    assert texts([found]) == texts([ours.merge(codes)])


@pytest.mark.parametrize("who", PEERS)
@pytest.mark.parametrize("what", ["area", "toBbox"])
def test_measures(compare, codes, who, what):
    # One by one, as COCO's own API asks; pycocotools cannot do more than 255 at once with NumPy 2.
    measure = getattr(module_of(who), what)
    found = compare(f"{what}, {WORK}", who, lambda: [measure(code) for code in codes])
    assert np.array_equal(found, getattr(ours, what)(codes))


@pytest.fixture(scope="module")
def polygons():
    path = DATA / "coco_open" / "instances_train.json"
    if not path.is_file():
        pytest.skip("../shared/data is missing: real data is not part of the repository")
    content = json.loads(path.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    return [
        (annotation["segmentation"], *sizes[annotation["image_id"]])
        for annotation in content["annotations"]
        if isinstance(annotation["segmentation"], list)
    ]


@pytest.mark.parametrize("who", PEERS)
def test_polygons(compare, polygons, who):
    module = module_of(who)
    expected = [texts(ours.frPyObjects(*polygon)) for polygon in polygons]
    found = compare(
        f"frPyObjects, {len(polygons)} objects of COCO one by one",
        who,
        lambda: [module.frPyObjects(*polygon) for polygon in polygons],
    )
    assert [texts(rles) for rles in found] == expected


@pytest.mark.parametrize("who", ["pyifcn", "pycocotools frPyObjects, merge and decode"])
def test_polygons_to_masks(compare, polygons, who):
    theirs = importlib.import_module("pycocotools.mask")
    height, width = 640, 640
    parts = [polygon for polygon, _, _ in polygons]

    def one_by_one():
        rles = [theirs.merge(theirs.frPyObjects(polygon, height, width)) for polygon in parts]
        return [theirs.decode(rle) for rle in rles]

    ways = {
        "pyifcn": lambda: Masks.from_polygons(parts, (height, width)),
        "pycocotools frPyObjects, merge and decode": one_by_one,
    }
    compare(f"{len(parts)} masks of COCO's polygons on {height} x {width}", who, ways[who])
    few = Masks.from_polygons(parts[:50], (height, width)).to_dense()
    assert np.array_equal(few, one_by_one()[:50])
