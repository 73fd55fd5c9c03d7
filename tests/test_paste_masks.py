"""Pasting soft masks: every target against slow references and torchvision, memory, bad input."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn

F = torch.nn.functional

CONVENTIONS = ["torchvision", "detectron2"]
MARGIN = 1e-5  # about the threshold, where the answer is open


def torchvision_values(mask, box, size):
    """The soft mask on the image, stretched over whole pixels; outside of them 0."""
    height, width = size
    image = np.zeros(size)
    kind = box.dtype.type
    ring = torch.from_numpy(np.pad(mask, 1))
    low, high = [], []
    for axis, cells in ((0, mask.shape[1]), (1, mask.shape[0])):
        half = (box[2 + axis] - box[axis]) * kind(0.5) * kind((cells + 2) / cells)
        centre = (box[2 + axis] + box[axis]) * kind(0.5)
        low.append(centre - half)
        high.append(centre + half)
    if not np.isfinite(low + high).all():
        return image
    (x1, y1), (x2, y2) = map(int, low), map(int, high)
    if x2 < max(x1, 0) or y2 < max(y1, 0) or x1 >= width or y1 >= height:
        return image
    wide = F.interpolate(
        ring[None, None], size=(y2 - y1 + 1, x2 - x1 + 1), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    top, left = max(y1, 0), max(x1, 0)
    bottom, right = min(y2 + 1, height), min(x2 + 1, width)
    image[top:bottom, left:right] = wide[top - y1 : bottom - y1, left - x1 : right - x1]
    return image


def detectron2_values(mask, box, size):
    """The soft mask sampled at the centres of the pixels; -1 where nothing is sampled."""
    height, width = size
    image = np.full(size, -1.0)
    if not np.isfinite(box).all():
        return image
    ranges, grids = [], []
    for axis, pixels in ((0, width), (1, height)):
        low, high = box[axis], box[2 + axis]
        first = int(min(max(math.floor(low) - 1, 0), pixels))
        end = int(min(max(math.ceil(high) + 1, 0), pixels))
        ranges.append(slice(first, max(end, first)))
        centres = np.arange(first, max(end, first), dtype=np.float32) + np.float32(0.5)
        with np.errstate(divide="ignore", invalid="ignore"):
            grids.append(((centres - low) / (high - low) * 2 - 1).astype(mask.dtype))
    if not all(map(len, grids)):
        return image
    y, x = torch.meshgrid(*map(torch.from_numpy, reversed(grids)), indexing="ij")
    values = F.grid_sample(
        torch.from_numpy(mask)[None, None], torch.stack([x, y], -1)[None], align_corners=False
    )
    image[ranges[1], ranges[0]] = values[0, 0].numpy()
    return image


def check(masks, boxes, size, convention, threshold=0.5):
    """Compares with the slow reference and returns the dense masks."""
    got = pyifcn.paste_masks(
        masks, boxes, size, threshold=threshold, convention=convention, out="bool"
    )
    assert got.shape == (len(masks), *size)
    assert got.dtype == bool
    values_of = torchvision_values if convention == "torchvision" else detectron2_values
    for mask, box, image in zip(masks, boxes, got, strict=True):
        values = values_of(mask, box, size)
        expected = values > threshold if convention == "torchvision" else values >= threshold
        wrong = (image != expected) & (abs(values - threshold) > MARGIN)
        assert not wrong.any(), (box, np.argwhere(wrong)[:5], values[wrong][:5])
    return got


def blobs(rng, count, side, dtype=np.float32):
    """Soft masks with smooth borders."""
    coarse = torch.from_numpy(rng.standard_normal((count, 1, 4, 4)))
    size = (side, side) if isinstance(side, int) else side
    logits = F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)[:, 0]
    return (4 * logits).sigmoid().numpy().astype(dtype)


def random_boxes(rng, count, size, dtype=np.float32):
    """Boxes of all sizes, inside, across the borders and outside; some between whole pixels."""
    height, width = size
    sides = np.exp(rng.uniform(np.log(0.3), np.log(2 * max(size)), (count, 2)))
    centres = rng.uniform(-0.3, 1.3, (count, 2)) * [width, height]
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
    whole = rng.random(count) < 0.3
    boxes[whole] = boxes[whole].round()
    return boxes.astype(dtype)


SIZES = [(1, 1), (1, 130), (130, 1), (37, 63), (20, 64), (41, 65), (9, 127), (64, 128), (33, 129)]


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("side", [1, 2, 7, 14, 28, 33, 56, 63, 65, (5, 130)])
def test_equals_the_reference(target, convention, side):
    rng = np.random.default_rng(0)
    for size in SIZES:
        shape = (12, side, side) if isinstance(side, int) else (12, *side)
        noise = rng.random(shape, dtype=np.float32)
        masks = np.concatenate([noise, blobs(rng, 12, side)])
        boxes = random_boxes(rng, 24, size)
        dense = check(masks, boxes, size, convention)
        packed = pyifcn.paste_masks(masks, boxes, size, convention=convention)
        assert packed == pyifcn.Masks.from_dense(dense)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_geometry(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    size = data.draw(st.tuples(st.integers(1, 140), st.integers(1, 200)))
    side = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 90)))
    kinds = st.sampled_from([np.float32, np.float64])
    masks = data.draw(st.sampled_from([blobs, lambda r, n, s, t: r.random((n, *s)).astype(t)]))(
        rng, 10, side, data.draw(kinds)
    )
    boxes = random_boxes(rng, 10, size, data.draw(kinds))
    convention = data.draw(st.sampled_from(CONVENTIONS))
    threshold = data.draw(st.sampled_from([0.5, 0.3, 0.05, 0.999, 1.5]))
    dense = check(masks, boxes, size, convention, threshold)
    packed = pyifcn.paste_masks(masks, boxes, size, threshold=threshold, convention=convention)
    assert packed == pyifcn.Masks.from_dense(dense)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_targets_agree(convention, dtype):
    rng, size = np.random.default_rng(1), (300, 500)
    masks = np.concatenate([rng.random((30, 28, 28)), blobs(rng, 30, 28)]).astype(dtype)
    masks[::7, 3:9, 5] = np.nan
    masks[1::7, 3:9, 5] = np.inf
    masks[2::7, 3:9, 5] = -np.inf
    boxes = random_boxes(rng, 60, size, dtype)
    before, results = pyifcn.current_target(), []
    for target in pyifcn.available_targets():
        pyifcn.use_target(target)
        arguments = {"convention": convention, "out": "uint8"}
        results.append(
            (
                pyifcn.paste_masks(masks, boxes, size, **arguments),
                pyifcn.paste_masks(masks, boxes, size, threshold=None, **arguments),
            )
        )
    pyifcn.use_target(before)
    for hard, soft in results:
        np.testing.assert_array_equal(hard, results[0][0])
        np.testing.assert_array_equal(soft, results[0][1])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_soft_values(target, rng, convention):
    size = (60, 131)
    masks = np.concatenate([rng.random((10, 14, 14)), blobs(rng, 10, 14)])
    boxes = random_boxes(rng, 20, size, np.float64)
    got = pyifcn.paste_masks(masks, boxes, size, threshold=None, convention=convention, out="uint8")
    values_of = torchvision_values if convention == "torchvision" else detectron2_values
    for mask, box, image in zip(masks, boxes, got, strict=True):
        exact = np.maximum(values_of(mask, box, size), 0) * 255
        assert (image <= exact + 1e-3).all()
        assert (image > exact - 1 - 1e-3).all()
    wild = np.array([[[-1.0, 2.0], [np.nan, np.inf]]])
    got = pyifcn.paste_masks(wild, boxes[:1] * 0 + [0, 0, 9, 9], size, threshold=None, out="uint8")
    assert got.min() == 0
    assert got.max() == 255


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("side", [1, 2, 7, 28, 33, (5, 130)])
def test_values_as_they_are(target, convention, side):
    rng = np.random.default_rng(0)
    values_of = torchvision_values if convention == "torchvision" else detectron2_values
    for size in SIZES:
        shape = (12, side, side) if isinstance(side, int) else (12, *side)
        for out, near in (("float32", MARGIN), ("float64", 1e-12)):
            masks = np.concatenate([rng.random(shape), blobs(rng, 12, side)]).astype(out)
            boxes = random_boxes(rng, 24, size, np.dtype(out).type)
            got = pyifcn.paste_masks(
                masks, boxes, size, threshold=None, convention=convention, out=out
            )
            assert got.dtype == out
            for mask, box, image in zip(masks, boxes, got, strict=True):
                expected = np.nan_to_num(np.maximum(values_of(mask, box, size), 0))
                np.testing.assert_allclose(image, expected, rtol=0, atol=near)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_values_of_all_targets_agree(convention):
    rng, size = np.random.default_rng(1), (300, 500)
    masks = np.concatenate([rng.random((30, 28, 28)), blobs(rng, 30, 28)])
    masks[::7, 3:9, 5] = np.nan
    boxes = random_boxes(rng, 60, size, np.float64)
    before, results = pyifcn.current_target(), []
    for out in ("float32", "float64"):
        for target in pyifcn.available_targets():
            pyifcn.use_target(target)
            got = pyifcn.paste_masks(
                masks, boxes, size, threshold=None, convention=convention, out=out
            )
            results.append(got)
        pyifcn.use_target(before)
        for got in results:
            np.testing.assert_array_equal(got, results[0])
        assert np.isnan(results[0]).any()
        results.clear()


def test_equals_torchvision(rng):
    try:
        from torchvision.models.detection.roi_heads import paste_masks_in_image
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    size = (240, 333)
    for side in (1, 2, 7, 14, 28, 33, 56):
        masks = np.concatenate([rng.random((50, side, side)), blobs(rng, 50, side)])
        masks = torch.from_numpy(masks.astype(np.float32))[:, None]
        boxes = torch.from_numpy(random_boxes(rng, 100, size)).clamp(-200, 330)
        boxes = boxes[(boxes[:, 2:] > 1).all(1) & (boxes[:, :2] < 230).all(1)]
        masks = masks[: len(boxes)]
        values = paste_masks_in_image(masks, boxes, size)[:, 0]
        got = pyifcn.paste_masks(masks, boxes, size, out="bool")
        assert not ((got != (values > 0.5)) & ((values - 0.5).abs() > MARGIN)).any()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_odd_boxes(target, convention):
    nan, inf = np.nan, np.inf
    masks = np.ones((1, 5, 5), np.float32)
    nothing = [
        [nan, 1, 5, 5],
        [1, 1, 5, nan],
        [-inf, 0, inf, 9],
        [0, 0, 9, inf],
        [-3e38, -3e38, 3e38, 3e38],
        [100, 100, 120, 120],
        [-50, -50, -20, -20],
        [9, 9, 2, 2],
        [-3e38, 0, -2e38, 9],
        [2e38, 0, 3e38, 9],
    ]
    if convention == "detectron2":
        nothing.remove([-3e38, -3e38, 3e38, 3e38])
        nothing += [[4, 4, 4, 4], [4.5, 4.5, 4.5, 4.5]]
    for dtype in (np.float32, np.float64):
        boxes = np.array(nothing, dtype)
        if dtype == np.float64 and convention == "torchvision":
            boxes = np.delete(boxes, 4, 0)  # no overflow
        count = len(boxes)
        got = pyifcn.paste_masks(
            masks.repeat(count, 0), boxes, (20, 30), convention=convention, out="bool"
        )
        assert not got.any(), boxes[got.any((1, 2))]
        whole = np.array([[-1e9, -1e9, 1e9, 1e9], [-1e30, -1e30, 1e30, 1e30]], dtype)
        got = pyifcn.paste_masks(masks.repeat(2, 0), whole, (20, 30), convention=convention)
        assert got.boxes.tolist() == [[0, 0, 30, 20]] * 2
        assert got.area.tolist() == [600, 600]


def test_zero_size_boxes_as_torchvision_has_them(target):
    # A box without area covers a pixel, and detectron2's up to 4 pixels inverted are mirrored.
    masks = np.ones((1, 1, 1), np.float32)
    got = pyifcn.paste_masks(masks, np.array([[4, 5, 4, 5]], np.float32), (9, 9))
    assert got.boxes.tolist() == [[4, 5, 5, 6]]
    rng = np.random.default_rng(0)
    masks = rng.random((200, 6, 6), dtype=np.float32)
    boxes = random_boxes(rng, 200, (20, 20))
    boxes[:, 2:] = boxes[:, :2] + rng.uniform(-3, 3, (200, 2)).astype(np.float32)
    for convention in CONVENTIONS:
        check(masks, boxes, (20, 20), convention)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_odd_values_and_thresholds(target, convention):
    masks = np.full((1, 4, 4), 0.75)
    box = np.array([[2.0, 2.0, 10.0, 10.0]])

    def paste(masks=masks, **arguments):
        return pyifcn.paste_masks(masks, box, (12, 12), convention=convention, **arguments)

    at = paste(threshold=0.75).area[0]
    assert at > 30 if convention == "detectron2" else at == 0
    assert paste(threshold=np.nextafter(0.75, 0)).area[0] > 30
    assert paste(threshold=math.inf).area[0] == paste(threshold=1e300).area[0] == 0
    assert paste(masks * np.nan).area[0] == 0
    assert paste(masks * np.inf).area[0] > 60
    assert paste(masks * -np.inf).area[0] == 0
    assert paste(masks * 0, threshold=0).area[0] == (100 if convention == "detectron2" else 0)


@pytest.mark.parametrize("out", ["masks", "bool", "uint8"])
def test_empty(target, out):
    for size in ((5, 6), (0, 6), (5, 0), (0, 0)):
        for count in (0, 3):
            masks = np.ones((count, 4, 4), np.float32)
            boxes = np.zeros((count, 4), np.float32) + np.array([0, 0, 9, 9], np.float32)
            got = pyifcn.paste_masks(masks, boxes, size, out=out)
            assert len(got) == count
            if out == "masks":
                assert got.size == size
            else:
                assert got.shape == (count, *size)
                assert got.dtype == out
    got = pyifcn.paste_masks(np.ones((0, 0, 0)), np.ones((0, 4)), (5, 6), out=out)
    assert len(got) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_and_kinds(rng, dtype):
    size = (70, 90)
    masks = torch.from_numpy(blobs(rng, 20, 14)).to(dtype)
    boxes = torch.from_numpy(random_boxes(rng, 20, size)).to(dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    expected = pyifcn.paste_masks(masks.to(wide).numpy(), boxes.to(wide).numpy(), size, out="bool")
    got = pyifcn.paste_masks(masks, boxes, size, out="bool")
    assert got.dtype == torch.bool
    np.testing.assert_array_equal(got.numpy(), expected)
    bytes_ = pyifcn.paste_masks(masks[:, None], boxes, list(size), out="uint8")
    assert bytes_.dtype == torch.uint8
    assert torch.equal(bytes_.bool(), got)
    packed = pyifcn.paste_masks(masks.requires_grad_(), boxes, size)
    assert isinstance(packed.words, torch.Tensor)
    assert torch.equal(packed.to_dense(), got)
    assert pyifcn.Masks.from_soft(masks, boxes, size) == packed
    assert not pyifcn.paste_masks(masks, boxes, size, out="bool").requires_grad
    pyifcn.paste_masks(masks, boxes.to(torch.float64), size)  # the types may differ


def test_layouts(rng):
    masks = rng.random((14, 20, 14), dtype=np.float32).transpose(1, 2, 0)
    boxes = random_boxes(rng, 20, (50, 50))
    expected = pyifcn.paste_masks(np.ascontiguousarray(masks), boxes, (50, 50))
    got = pyifcn.paste_masks(masks[::-1], np.asfortranarray(boxes)[::-1], torch.Size([50, 50]))
    assert got == expected[::-1]


def test_the_number_of_threads_changes_nothing(rng):
    masks = torch.from_numpy(blobs(rng, 100, 28))
    boxes = torch.from_numpy(random_boxes(rng, 100, (300, 400)))
    threads, results = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        packed = pyifcn.paste_masks(masks, boxes, (300, 400))
        assert torch.equal(
            packed.to_dense(), pyifcn.paste_masks(masks, boxes, (300, 400), out="bool")
        )
        results.append(packed)
    torch.set_num_threads(threads)
    assert results[0] == results[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators
    masks, boxes = torch.rand(3, 5, 5), torch.tensor([[0.0, 0, 9, 9]]).repeat(3, 1)
    for threshold, out in ((0.5, "bool"), (0.5, "uint8"), (None, "uint8"), (None, "float32")):
        arguments = (masks, boxes, 12, 13, threshold, "detectron2", out)
        torch.library.opcheck(torch.ops.pyifcn.paste_masks.default, arguments)


def test_compile_in_one_graph(rng):
    masks = torch.from_numpy(blobs(rng, 5, 7)).requires_grad_()
    boxes = torch.from_numpy(random_boxes(rng, 5, (20, 30)))

    def area(masks, boxes):
        return pyifcn.paste_masks(masks, boxes, (20, 30), out="bool").sum((1, 2))

    compiled = torch.compile(area, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(masks, boxes), area(masks, boxes))


PROGRAM = """
import re
from pathlib import Path
import numpy as np
import pyifcn

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

rng = np.random.default_rng(0)
height, width = 3000, 4000
y, x = np.mgrid[-1:1:28j, -1:1:28j]
soft = (1 / (1 + np.exp(8 * (x**2 + y**2 - 0.8)))).astype(np.float32)[None].repeat(300, 0)
sides = rng.uniform(100, 1500, (300, 2))
corners = rng.uniform(0, 1, (300, 2)) * ([width, height] - sides)
boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
pyifcn.paste_masks(soft[:1], boxes[:1], (height, width)).to_rle()
before = peak()
masks = pyifcn.paste_masks(soft, boxes, (height, width))
codes = masks.to_rle()
print(len(codes), masks.nbytes, peak() - before)
"""


def test_memory_is_bounded_by_the_result(tmp_path):
    # The peak of this process alone; ru_maxrss begins with that of the process that started it.
    if not Path("/proc/self/status").exists():
        pytest.skip("/proc/self/status, which tells the peak, is of Linux")
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("AddressSanitizer keeps memory that was freed")
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, held, growth = map(int, done.stdout.split())
    assert count == 300
    assert held / 2 < growth < 100e6  # 3.6 GB as bool


MASKS = np.ones((2, 5, 5), np.float32)
BOXES = np.array([[1, 1, 4, 4], [0, 0, 5, 5]], np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"masks": [[1.0]]}, TypeError, "masks is a list, expected a NumPy array"),
        ({"masks": MASKS[0]}, TypeError, r"masks .*\(5, 5\), expected 3 dimensions"),
        ({"masks": MASKS[:, None].repeat(2, 1)}, TypeError, "expected 3 dimensions"),
        ({"masks": MASKS.astype(int)}, TypeError, "masks is int64, expected float16"),
        ({"masks": MASKS > 0}, TypeError, "masks is bool, expected float16"),
        ({"masks": MASKS[:, :0]}, ValueError, "masks has a side of 0, expected 1 to"),
        ({"boxes": BOXES[0]}, TypeError, "boxes .*, expected 2 dimensions"),
        ({"boxes": BOXES.astype(int)}, TypeError, "boxes is int64, expected float16"),
        ({"boxes": BOXES[:1]}, ValueError, r"boxes has shape \(1, 4\), expected \(2, 4\)"),
        ({"boxes": BOXES[:, :3]}, ValueError, r"boxes has shape \(2, 3\), expected \(2, 4\)"),
        (
            {"boxes": torch.zeros(2, 4)},
            TypeError,
            "boxes is a .* tensor .* expected a NumPy",
        ),
        ({"image_size": 5}, TypeError, "image_size must be"),
        ({"image_size": (5,)}, TypeError, "image_size must be"),
        ({"image_size": (5, 5.5)}, TypeError, "image_size must be"),
        ({"image_size": (5, -1)}, ValueError, "image_size must be in 0"),
        ({"image_size": (2**31, 1)}, ValueError, "image_size must be in 0"),
        (
            {
                "masks": MASKS[[0, 0, 0]],
                "boxes": BOXES[[0, 0, 0]],
                "image_size": (2**31 - 1, 2**31 - 1),
                "out": "bool",
            },
            ValueError,
            "image_size is .*: 3 such images are too large to address",
        ),
        ({"threshold": -0.1}, ValueError, "threshold is -0.1, expected at least 0"),
        ({"threshold": math.nan}, ValueError, "threshold is nan, expected at least 0"),
        ({"threshold": "0.5"}, TypeError, "threshold is '0.5', expected a number"),
        ({"threshold": None}, ValueError, "threshold is None with out='masks'"),
        ({"threshold": None, "out": "bool"}, ValueError, "threshold is None with out='bool'"),
        ({"convention": "mmdet"}, ValueError, "convention is 'mmdet', expected 'torchvision'"),
        ({"out": "float"}, ValueError, "out is 'float', expected 'masks', 'bool', 'uint8', 'flo"),
        ({"out": "float32"}, ValueError, "threshold is 0.5 with out='float32', expected None"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"masks": MASKS, "boxes": BOXES, "image_size": (9, 9)} | change
    with pytest.raises(error, match=message):
        pyifcn.paste_masks(**arguments)
