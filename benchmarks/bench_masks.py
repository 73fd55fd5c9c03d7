"""Masks, beside pycocotools and dense arrays."""

import numpy as np
import pytest
from pycocotools import mask as coco

from pyifcn import Masks

# pycocotools against NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

COUNT, SIZE = 1000, (1040, 1388)


@pytest.fixture(scope="module")
def masks():
    """Wavy blobs, 20 to 300 pixels across, all over the image."""
    rng = np.random.default_rng(0)
    patches, corners = [], []
    for _ in range(COUNT):
        height, width = rng.integers(20, 300, 2)
        y, x = np.mgrid[:height, :width]
        angle = np.arctan2(y - height / 2, x - width / 2)
        radius = np.hypot((y - height / 2) / height, (x - width / 2) / width)
        patches.append(radius < 0.45 + 0.05 * np.sin(rng.integers(3, 9) * angle))
        corners.append([rng.integers(0, SIZE[1] - width), rng.integers(0, SIZE[0] - height)])
    return Masks.from_patches(patches, np.array(corners), SIZE)


@pytest.fixture(scope="module")
def codes(masks):
    return masks.to_rle()


@pytest.mark.parametrize("who", ["pyifcn", "pycocotools from dense"])
def test_to_rle(compare, masks, who):
    few = masks[:100]
    dense = np.asfortranarray(few.to_dense().transpose(1, 2, 0).view(np.uint8))
    ways = {"pyifcn": few.to_rle, "pycocotools from dense": lambda: coco.encode(dense)}
    found = compare("to_rle, 100 masks of 1040 x 1388", who, ways[who])
    theirs = coco.encode(dense)
    assert [code["counts"].encode() for code in few.to_rle()] == [r["counts"] for r in theirs]
    assert len(found) == 100


def test_to_rle_of_many(compare, masks):
    compare("to_rle, 1,000 masks of 1040 x 1388", "pyifcn", masks.to_rle)


@pytest.mark.parametrize("who", ["pyifcn", "pycocotools to dense"])
def test_from_rle(compare, masks, codes, who):
    few = codes[:100]
    ways = {"pyifcn": lambda: Masks.from_rle(few), "pycocotools to dense": lambda: coco.decode(few)}
    compare("from_rle, 100 masks of 1040 x 1388", who, ways[who])
    dense = coco.decode(few).transpose(2, 0, 1)
    assert np.array_equal(Masks.from_rle(few).to_dense(), dense)


@pytest.mark.parametrize("kind", ["iou", "iof"])
@pytest.mark.parametrize("who", ["pyifcn", "pycocotools"])
def test_iou(compare, masks, codes, who, kind):
    crowd = np.full(COUNT, kind == "iof", np.uint8)
    ways = {
        "pyifcn": lambda: masks.iou(masks, kind=kind),
        "pycocotools": lambda: coco.iou(codes, codes, crowd),
    }
    found = compare(f"{kind}, 1,000 x 1,000 masks of 1040 x 1388", who, ways[who])
    assert np.array_equal(found, ways["pyifcn"]())


def greedy_nms(iou, order, threshold):
    alive, keep = np.ones(len(order), bool), []
    for i in order:
        if alive[i]:
            keep.append(i)
            alive &= iou[i] <= threshold
    return keep


@pytest.mark.parametrize("who", ["pyifcn", "pycocotools iou and NumPy"])
def test_nms(compare, masks, codes, who):
    scores = np.random.default_rng(1).random(COUNT)
    crowd = np.zeros(COUNT, np.uint8)
    order = np.argsort(-scores)
    ways = {
        "pyifcn": lambda: masks.nms(scores, 0.3),
        "pycocotools iou and NumPy": lambda: greedy_nms(coco.iou(codes, codes, crowd), order, 0.3),
    }
    found = compare("mask NMS, 1,000 masks of 1040 x 1388", who, ways[who])
    assert np.array_equal(found, ways["pyifcn"]())


@pytest.mark.parametrize("who", ["pyifcn", "NumPy packbits"])
def test_from_dense(compare, masks, who):
    dense = masks[:100].to_dense()
    ways = {
        "pyifcn": lambda: Masks.from_dense(dense),
        "NumPy packbits": lambda: np.packbits(dense, axis=2, bitorder="little"),
    }
    assert Masks.from_dense(dense) == masks[:100]
    compare("from_dense, 100 masks of 1040 x 1388", who, ways[who], dense.nbytes)


@pytest.mark.parametrize("who", ["pyifcn", "NumPy unpackbits"])
def test_to_dense(compare, masks, who):
    few = masks[:100]
    dense = few.to_dense()
    packed = np.packbits(dense, axis=2, bitorder="little")
    ways = {
        "pyifcn": few.to_dense,
        "NumPy unpackbits": lambda: np.unpackbits(packed, axis=2, count=SIZE[1], bitorder="little"),
    }
    assert np.array_equal(ways[who](), dense)
    compare("to_dense, 100 masks of 1040 x 1388", who, ways[who], dense.nbytes)
