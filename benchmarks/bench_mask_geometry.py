"""Sets, geometry, label images and polygons of masks, beside dense arrays and other libraries."""

import numpy as np
import pytest
from pycocotools import mask as coco

from pyifcn import Masks

# pycocotools against NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

COUNT, SIZE = 100, (1040, 1388)
SMALLER = (800, 1068)


@pytest.fixture(scope="module")
def masks(blobs):
    return blobs(COUNT, SIZE)


@pytest.fixture(scope="module")
def dense(masks):
    return masks.to_dense()


@pytest.mark.parametrize("op", ["union", "intersection", "difference"])
@pytest.mark.parametrize("who", ["pyifcn", "NumPy", "pycocotools"])
def test_sets(compare, masks, dense, op, who):
    other = masks.translate(15, -10)
    moved = other.to_dense()
    codes, other_codes = masks.to_rle(), other.to_rle()
    on_dense = {
        "union": lambda: dense | moved,
        "intersection": lambda: dense & moved,
        "difference": lambda: dense & ~moved,
    }
    ways = {"pyifcn": lambda: getattr(masks, op)(other), "NumPy": on_dense[op]}
    if op != "difference":
        ways["pycocotools"] = lambda: [
            coco.merge(pair, op == "intersection") for pair in zip(codes, other_codes, strict=True)
        ]
    if who not in ways:
        pytest.skip("pycocotools has no difference")
    assert ways["pyifcn"]() == Masks.from_dense(on_dense[op]())
    compare(f"{op}, 100 with 100 masks of 1040 x 1388", who, ways[who])


@pytest.mark.parametrize("who", ["pyifcn", "NumPy", "pycocotools"])
def test_merge(compare, masks, dense, who):
    codes = masks.to_rle()
    ways = {
        "pyifcn": masks.merge,
        "NumPy": lambda: dense.any(0),
        "pycocotools": lambda: coco.merge(codes),
    }
    assert masks.merge() == Masks.from_dense(dense.any(0)[None])
    compare("merge, 100 masks of 1040 x 1388", who, ways[who])


def resize_dense(dense):
    rows, columns = (
        (2 * np.arange(after) + 1) * before // (2 * after)
        for before, after in zip(SIZE, SMALLER, strict=True)
    )
    return dense[:, rows[:, None], columns]


GEOMETRY = {
    "crop": (lambda m: m.crop((101, 70, 1201, 900)), lambda d: d[:, 70:900, 101:1201].copy()),
    "flip": (lambda m: m.flip(), lambda d: d[:, :, ::-1].copy()),
    "flip vertical": (lambda m: m.flip("vertical"), lambda d: d[:, ::-1].copy()),
    "translate": (
        lambda m: m.translate(37, -20),
        lambda d: np.pad(d, ((0, 0), (0, 20), (37, 0)))[:, 20:, : d.shape[2]],
    ),
    "resize": (lambda m: m.resize(SMALLER), resize_dense),
}


def torchvision_way(work, dense):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    pixels = torch.from_numpy(dense.view(np.uint8))
    nearest = functional.InterpolationMode.NEAREST_EXACT
    ways = {
        "crop": lambda: functional.crop(pixels, 70, 101, 830, 1100).contiguous(),
        "flip": lambda: functional.horizontal_flip(pixels),
        "flip vertical": lambda: functional.vertical_flip(pixels),
        "resize": lambda: functional.resize(pixels, SMALLER, nearest),
    }
    if work not in ways:
        pytest.skip("torchvision moves images by resampling them, which takes seconds")
    return ways[work]


@pytest.mark.parametrize("work", GEOMETRY)
@pytest.mark.parametrize("who", ["pyifcn", "NumPy", "torchvision"])
def test_geometry(compare, masks, dense, work, who):
    ours, on_dense = GEOMETRY[work]
    ways = {"pyifcn": lambda: ours(masks), "NumPy": lambda: on_dense(dense)}
    if who == "torchvision":
        ways[who] = torchvision_way(work, dense)
    if who != "pyifcn":
        # Where a centre falls between two pixels, torchvision's float32 may take the other.
        wrong = (ours(masks).to_dense() != np.asarray(ways[who]())).mean()
        assert wrong <= (1e-3 if (work, who) == ("resize", "torchvision") else 0)
    compare(f"{work}, 100 masks of 1040 x 1388", who, ways[who])


@pytest.fixture(scope="module")
def labels():
    """10,000 discs in an image of 4000 x 4000."""
    rng = np.random.default_rng(0)
    image = np.zeros((4000, 4000), np.int32)
    y, x = np.mgrid[:40, :40]
    for i in range(10_000):
        patch = image[i // 100 * 40 :, i % 100 * 40 :][:40, :40]
        patch[np.hypot(y - 20, x - 20) < rng.uniform(8, 19)] = i + 1
    return image


@pytest.mark.parametrize("who", ["pyifcn", "SciPy find_objects and crops", "NumPy unique"])
def test_from_labels(compare, labels, who):
    masks, values = Masks.from_labels(labels)
    assert values.tolist() == list(range(1, 10_001))
    assert np.array_equal(masks.area, np.bincount(labels.ravel())[1:])

    def crops():
        ndimage = pytest.importorskip("scipy.ndimage")
        boxes = ndimage.find_objects(labels)
        return [labels[box] == i for i, box in enumerate(boxes, 1)]

    ways = {
        "pyifcn": lambda: Masks.from_labels(labels),
        "SciPy find_objects and crops": crops,
        "NumPy unique": lambda: np.unique(labels, return_inverse=True),
    }
    compare("from_labels, 10,000 discs of 4000 x 4000", who, ways[who])


@pytest.mark.parametrize("who", ["pyifcn", "NumPy on crops"])
def test_to_labels(compare, labels, who):
    masks, _ = Masks.from_labels(labels)
    boxes = masks.boxes.tolist()
    crops = [masks.patch(i) for i in range(len(masks))]

    def paint():
        image = np.zeros((4000, 4000), np.int32)
        for i in reversed(range(len(crops))):
            x1, y1, x2, y2 = boxes[i]
            image[y1:y2, x1:x2][crops[i]] = i + 1
        return image

    ways = {"pyifcn": masks.to_labels, "NumPy on crops": paint}
    assert np.array_equal(compare("to_labels, the same", who, ways[who]), labels)


@pytest.mark.parametrize("count", [10, 100])
@pytest.mark.parametrize("who", ["pyifcn", "supervision"])
@pytest.mark.filterwarnings("ignore:OpenCV")
def test_to_polygons(compare, masks, dense, who, count):
    few = masks[:count]
    for code, polygons in zip(few.to_rle(), few.to_polygons(), strict=True):
        back = coco.merge(coco.frPyObjects(polygons, *SIZE))
        assert back["counts"].decode() == code["counts"]
    ways = {"pyifcn": few.to_polygons}
    if who == "supervision":
        if count > 10:
            pytest.skip("takes seconds without OpenCV")
        supervision = pytest.importorskip("supervision")
        ways[who] = lambda: [supervision.mask_to_polygons(mask) for mask in dense[:count]]
    compare(f"to_polygons, {count} masks of 1040 x 1388", who, ways[who])
