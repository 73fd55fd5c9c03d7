"""Masks and what they share, beside pycocotools, hotcoco, torch and supervision.

Those of real detectors need ../shared/data, which is not part of the repository.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from pyifcn import Masks, mask_iou, mask_nms

# pycocotools against NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

RESULTS = Path(__file__).parents[2] / "shared" / "data" / "coco_results"


def ellipses(rng, count, size):
    """Turned ellipses, 20 to 260 pixels across."""
    y, x = np.mgrid[: size[0], : size[1]]
    dense = np.zeros((count, *size), bool)
    for mask in dense:
        cy, cx, angle = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(0, np.pi)
        a, b = rng.uniform(10, 130, 2)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        mask[:] = (along / a) ** 2 + (across / b) ** 2 < 1
    return dense


@pytest.fixture(scope="module")
def pairs():
    """Two sets of ellipses, dense."""
    rng = np.random.default_rng(0)
    return [ellipses(rng, 300, (480, 640)) for _ in range(2)]


@pytest.fixture(scope="module")
def many(blobs):
    return blobs(1000, (1040, 1388))


def iou_by_pycocotools(a, b, kind="iou"):
    return coco.iou(a, b, np.full(len(b), kind == "iof", np.uint8))


def iou_by_hotcoco(a, b):
    hotcoco = pytest.importorskip("hotcoco.mask")
    return lambda: np.asarray(hotcoco.iou(a, b, [False] * len(b)))


def iou_by_torch(a, b):
    torch = pytest.importorskip("torch")
    a, b = (torch.from_numpy(masks).flatten(1).float() for masks in (a, b))

    def run():
        inter = a @ b.T
        return (inter / (a.sum(1)[:, None] + b.sum(1) - inter)).numpy()

    return run


def iou_by_supervision(a, b):
    supervision = pytest.importorskip("supervision")
    return lambda: supervision.mask_iou_batch(a, b)


@pytest.mark.parametrize(
    "who",
    [
        "pyifcn",
        "pyifcn from RLE",
        "pyifcn from dense",
        "pycocotools",
        "hotcoco",
        "torch matmul of floats",
        "supervision from dense",
    ],
)
def test_iou(compare, pairs, who):
    a, b = map(Masks.from_dense, pairs)
    rles = a.to_rle(), b.to_rle()
    ways = {
        "pyifcn": lambda: lambda: a.iou(b),
        "pyifcn from RLE": lambda: lambda: Masks.from_rle(rles[0]).iou(Masks.from_rle(rles[1])),
        "pyifcn from dense": lambda: lambda: mask_iou(*pairs),
        "pycocotools": lambda: lambda: iou_by_pycocotools(*rles),
        "hotcoco": lambda: iou_by_hotcoco(*rles),
        "torch matmul of floats": lambda: iou_by_torch(*pairs),
        "supervision from dense": lambda: iou_by_supervision(*pairs),
    }
    found = compare("mask_iou, 300 x 300 ellipses on 480 x 640", who, ways[who]())
    assert np.allclose(found, iou_by_pycocotools(*rles), atol=1e-6)


@pytest.mark.parametrize("kind", ["iou", "iof"])
@pytest.mark.parametrize("who", ["pyifcn", "pyifcn, masks with themselves", "pycocotools"])
def test_iou_of_many(compare, many, who, kind):
    rles, others = many.to_rle(), many[:]
    ways = {
        "pyifcn": lambda: many.iou(others, kind=kind),
        "pyifcn, masks with themselves": lambda: many.iou(many, kind=kind),
        "pycocotools": lambda: iou_by_pycocotools(rles, rles, kind),
    }
    found = compare(f"{kind}, 1,000 x 1,000 masks of 1040 x 1388", who, ways[who])
    assert np.array_equal(found, iou_by_pycocotools(rles, rles, kind))


def greedy_nms(iou, order, threshold):
    alive, keep = np.ones(len(order), bool), []
    for i in order:
        if alive[i]:
            keep.append(i)
            alive &= iou[i] <= threshold
    return keep


def nms_by_pycocotools(rles, scores, threshold):
    return greedy_nms(iou_by_pycocotools(rles, rles), np.argsort(-scores, kind="stable"), threshold)


@pytest.fixture(scope="module")
def detections():
    """For each image the four detectors' codes, masks and scores together."""
    paths = sorted(RESULTS.glob("setA_*.json.gz"))
    if not paths:
        pytest.skip("../shared/data is missing: real data is not part of the repository")
    images = {}
    for path in paths:
        for record in json.loads(gzip.decompress(path.read_bytes())):
            rles, scores = images.setdefault(record["image_id"], ([], []))
            rles.append(record["segmentation"])
            scores.append(record["score"])
    return [(rles, Masks.from_rle(rles), np.array(scores)) for rles, scores in images.values()]


def nms_by_supervision(images):
    """Its masks are dense, made beforehand, of the size it takes unless told otherwise."""
    supervision = pytest.importorskip("supervision")
    rows = []
    for _, masks, scores in images:
        boxes = np.column_stack([masks.boxes, scores, np.zeros(len(scores))]).astype(float)
        rows.append((boxes, masks.to_dense()))
    return lambda: [
        supervision.mask_non_max_suppression(boxes, dense, 0.5) for boxes, dense in rows
    ]


@pytest.mark.parametrize("who", ["pyifcn", "pyifcn from RLE", "pycocotools iou and NumPy"])
def test_nms_of_detectors(compare, detections, who):
    ways = {
        "pyifcn": lambda: [mask_nms(masks, scores, 0.5) for _, masks, scores in detections],
        "pyifcn from RLE": lambda: [
            mask_nms(Masks.from_rle(rles), scores, 0.5) for rles, _, scores in detections
        ],
        "pycocotools iou and NumPy": lambda: [
            nms_by_pycocotools(rles, scores, 0.5) for rles, _, scores in detections
        ],
    }
    group = f"mask_nms, four detectors on {len(detections)} images"
    for kept, other in zip(compare(group, who, ways[who]), ways["pyifcn"](), strict=True):
        assert np.array_equal(kept, other)


@pytest.mark.parametrize("who", ["pyifcn", "supervision"])
def test_nms_beside_supervision(compare, detections, who):
    """Supervision shrinks masks to 640 pixels before it compares, so it may keep others."""
    few = detections[:10]
    ways = {
        "pyifcn": lambda: lambda: [mask_nms(masks, scores, 0.5) for _, masks, scores in few],
        "supervision": lambda: nms_by_supervision(few),
    }
    found = compare("mask_nms, four detectors on 10 images", who, ways[who]())
    assert len(found) == len(few)


@pytest.mark.parametrize("who", ["pyifcn", "pycocotools iou and NumPy"])
def test_nms_of_many(compare, many, who):
    scores, rles = np.random.default_rng(1).random(len(many)), many.to_rle()
    ways = {
        "pyifcn": lambda: mask_nms(many, scores, 0.3),
        "pycocotools iou and NumPy": lambda: nms_by_pycocotools(rles, scores, 0.3),
    }
    found = compare("mask_nms, 1,000 masks of 1040 x 1388", who, ways[who])
    assert np.array_equal(found, ways["pyifcn"]())


TINY = 100_000


@pytest.fixture(scope="module")
def tiny():
    """Patches of 1 to 8 pixels a side on 4000 x 4000, their corners, and the masks."""
    rng = np.random.default_rng(2)
    patches = [np.ones(tuple(shape), bool) for shape in rng.integers(1, 9, (TINY, 2))]
    corners = rng.integers(0, 4000, (TINY, 2))
    return patches, corners, Masks.from_patches(patches, corners, (4000, 4000))


@pytest.mark.parametrize("work", ["from_patches", "index", "cat", "iou", "nms"])
def test_many_tiny_masks(compare, tiny, work):
    patches, corners, masks = tiny
    rng = np.random.default_rng(3)
    order, scores, few = rng.permutation(TINY), rng.random(TINY), masks[:10_000]
    ways = {
        "from_patches": lambda: Masks.from_patches(patches, corners, masks.size),
        "index": lambda: masks[order],
        "cat": lambda: Masks.cat([masks, few]),
        "iou": lambda: few.iou(few),
        "nms": lambda: masks.nms(scores, 0.3),
    }
    count = "10,000 x 10,000" if work == "iou" else "100,000"
    compare(f"{work}, {count} tiny masks", "pyifcn", ways[work])


@pytest.mark.parametrize(
    "who", ["pyifcn", "pyifcn, Fortran order", "NumPy packbits", "NumPy packbits, Fortran order"]
)
def test_from_dense(compare, many, who):
    few = many[:100]
    dense = few.to_dense()
    turned = np.asfortranarray(dense.transpose(1, 2, 0)).transpose(2, 0, 1)
    ways = {
        "pyifcn": lambda: Masks.from_dense(dense),
        "pyifcn, Fortran order": lambda: Masks.from_dense(turned),
        "NumPy packbits": lambda: np.packbits(dense, axis=2, bitorder="little"),
        "NumPy packbits, Fortran order": lambda: np.packbits(turned, axis=2, bitorder="little"),
    }
    assert Masks.from_dense(dense) == Masks.from_dense(turned) == few
    compare("from_dense, 100 masks of 1040 x 1388", who, ways[who], dense.nbytes)


@pytest.mark.parametrize("who", ["pyifcn", "NumPy unpackbits"])
def test_to_dense(compare, many, who):
    few = many[:100]
    dense = few.to_dense()
    packed, width = np.packbits(dense, axis=2, bitorder="little"), dense.shape[2]
    ways = {
        "pyifcn": few.to_dense,
        "NumPy unpackbits": lambda: np.unpackbits(packed, axis=2, count=width, bitorder="little"),
    }
    assert np.array_equal(ways[who](), dense)
    compare("to_dense, 100 masks of 1040 x 1388", who, ways[who], dense.nbytes)
