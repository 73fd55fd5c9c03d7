"""Proposals: every target against assembling everything first, rendering, bad input."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn


def reference_nms(boxes, iou_threshold):
    """Greedy NMS of boxes in order, with torchvision's float32 arithmetic."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep = []
    for i in range(len(boxes)):
        for k in keep:
            low, high = (
                np.maximum(boxes[i, :2], boxes[k, :2]),
                np.minimum(boxes[i, 2:], boxes[k, 2:]),
            )
            width, height = np.maximum(np.float32(0), high - low)
            inter = width * height
            if float(inter / (areas[k] + areas[i] - inter)) > iou_threshold:
                break
        else:
            keep.append(i)
    return keep


def reference(
    score_maps,
    objectness,
    strides,
    size,
    mask_threshold=0.0,
    iou_threshold=0.8,
    max_proposals=1000,
    cells="nearest",
):
    """Assembles every window of one image, sorts, then suppresses; (level, y, x) and boxes."""
    rows = []
    for level, (maps, logits, stride) in enumerate(
        zip(score_maps, objectness, strides, strict=True)
    ):
        dense = pyifcn.assemble_dense(maps[None], size, cells=cells, pad_value=-np.inf)[0]
        for y, x in np.ndindex(*logits.shape):
            mask = dense[y, x] > mask_threshold
            if np.isnan(logits[y, x]) or not mask.any():
                continue
            (ys,), (xs,) = np.nonzero(mask.any(1)), np.nonzero(mask.any(0))
            cell_box = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1])
            cell_box += np.array([x, y, x, y]) - size // 2
            rows.append(
                (level, y, x, logits[y, x], cell_box.astype(np.float32) * np.float32(stride))
            )
    order = np.argsort([-row[3] for row in rows], kind="stable")
    boxes = np.array([rows[i][4] for i in order], np.float32).reshape(-1, 4)
    keep = reference_nms(boxes, iou_threshold)[:max_proposals]
    windows = np.array([rows[order[k]][:3] for k in keep], np.int64).reshape(-1, 3)
    return windows, boxes[keep]


def reference_mask(logits, window, level, image_size, mask_threshold):
    """One mask at the image's resolution, pixel by pixel."""
    size = len(logits)
    mask = np.zeros(image_size, bool)
    logits = np.where(np.isnan(logits), -np.inf, logits)
    logits = np.clip(logits, np.float32(-8.5e37), np.float32(8.5e37))

    def taps(pixels, centre, count):
        """For each pixel in the window: itself, two cells of the window, the second's weight."""
        first = centre - size // 2
        begin, end = max(first, 0), min(first + size, count)
        for pixel in range(pixels):
            if begin * level.stride <= pixel + 0.5 < end * level.stride:
                at = min(max((pixel + 0.5) / level.stride - 0.5, begin), end - 1)
                cell = int(at)
                weight = np.float32(at - cell)
                yield pixel, cell - first, min(cell + 1, end - 1) - first, weight

    _, y, x = window.tolist()
    columns = list(taps(image_size[1], x, level.width))
    for row, i0, i1, v in taps(image_size[0], y, level.height):
        for column, j0, j1, u in columns:
            upper = logits[i0, j0] + u * (logits[i0, j1] - logits[i0, j0])
            lower = logits[i1, j0] + u * (logits[i1, j1] - logits[i1, j0])
            mask[row, column] = upper + v * (lower - upper) > mask_threshold
    return mask


def blobs(rng, shape, dtype=np.float32):
    """Score maps that make compact masks of many sizes, a few values being special."""
    _, channels, height, width = shape
    y, x = np.mgrid[:height, :width]
    waves = rng.uniform(0.1, 0.6, (2, shape[0], channels, 1, 1))
    phase = rng.uniform(0, 6, (2, shape[0], channels, 1, 1))
    maps = np.sin(y * waves[0] + phase[0]) + np.sin(x * waves[1] + phase[1])
    maps += rng.normal(0, 0.2, maps.shape) - 0.5
    maps.reshape(-1)[:: max(1, maps.size // 11)] = np.nan
    maps.reshape(-1)[1 :: max(1, maps.size // 7)] = np.inf
    maps.reshape(-1)[2 :: max(1, maps.size // 5)] = 0.25
    return maps.astype(dtype)


def pyramid(rng, images, grid, shapes, dtype=np.float32):
    maps = [blobs(rng, (images, grid * grid, *shape), dtype) for shape in shapes]
    objectness = [rng.integers(-20, 20, (images, *shape)).astype(dtype) / 4 for shape in shapes]
    return maps, objectness


def check(maps, objectness, strides, size, image_size, **options):
    """Compares a call with the reference, all but the masks."""
    found = pyifcn.propose(
        maps, objectness, strides=strides, image_size=image_size, size=size, **options
    )
    for image, proposals in enumerate(found):
        windows, boxes = reference(
            [m[image] for m in maps], [o[image] for o in objectness], strides, size, **options
        )
        np.testing.assert_array_equal(proposals.windows, windows)
        height, width = image_size
        np.testing.assert_array_equal(
            proposals.boxes, np.clip(boxes, 0, np.float32([width, height, width, height]))
        )
        for proposal, (level, y, x) in zip(proposals, windows, strict=True):
            (logits,) = pyifcn.assemble(
                maps[level],
                np.array([[image, y, x]]),
                size,
                cells=options.get("cells", "nearest"),
                pad_value=-np.inf,
            )
            np.testing.assert_array_equal(proposal.logits[0], logits.astype(np.float32))
            logit = np.float64(objectness[level][image, y, x])
            np.testing.assert_allclose(proposal.scores, 1 / (1 + np.exp(-logit)), rtol=1e-6)
        assert (
            proposals.scores.dtype == proposals.boxes.dtype == proposals.logits.dtype == np.float32
        )
    return found


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("grid", "size"),
    [(1, 1), (1, 5), (2, 8), (5, 21), (4, 17), (7, 63), (3, 64), (3, 65), (5, 140)],
)
def test_equals_assembling_everything(target, rng, grid, size, dtype):
    maps, objectness = pyramid(rng, 2, grid, [(6, 9), (1, 1), (13, 17)], dtype)
    check(maps, objectness, [16.0, 30.5, 0.1 + 8], size, (104, 136))


@pytest.mark.parametrize("iou_threshold", [0.0, 0.05, 0.3, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("mask_threshold", [-0.5, 0.25, 1.1])
def test_thresholds(rng, iou_threshold, mask_threshold):
    maps, objectness = pyramid(rng, 1, 3, [(12, 20), (8, 13), (5, 9)])
    check(
        maps,
        objectness,
        [8, 12, 18],
        9,
        (96, 160),
        iou_threshold=iou_threshold,
        mask_threshold=mask_threshold,
        cells="floor",
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_geometry(data):
    grid = data.draw(st.integers(1, 5))
    size = data.draw(st.integers(grid, 40))
    shapes = data.draw(st.lists(st.tuples(*[st.integers(1, 12)] * 2), min_size=1, max_size=3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    maps, objectness = pyramid(rng, 1, grid, shapes)
    check(
        maps,
        objectness,
        [data.draw(st.sampled_from([1, 2.5, 8, 1 / 3])) for _ in shapes],
        size,
        (30, 30),
        mask_threshold=data.draw(st.sampled_from([-1.0, 0.0, 0.25, 0.3])),
        iou_threshold=data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.7, 0.8])),
        max_proposals=data.draw(st.sampled_from([0, 1, 7, 10**9])),
    )


def test_many_windows(target, rng):
    maps, objectness = pyramid(rng, 1, 5, [(30, 40), (20, 27)])
    (found,) = check(maps, objectness, [8, 12], 21, (240, 320))
    assert len(found) > 50


def test_special_objectness():
    maps = [np.ones((1, 1, 1, 6), np.float32)]
    objectness = [np.array([[[np.nan, -np.inf, -0.0, 0.0, np.inf, -np.nan]]], np.float32)]
    (found,) = pyifcn.propose(
        maps, objectness, strides=[1], image_size=(1, 6), size=1, iou_threshold=0.5
    )
    assert found.windows[:, 2].tolist() == [4, 2, 3, 1]
    assert found.scores.tolist() == [1, 0.5, 0.5, 0]


def test_empty_masks_are_dropped(target):
    maps = [np.full((2, 25, 9, 9), -1, np.float32)]
    maps[0][1, 12] = np.nan
    found = pyifcn.propose(
        maps, [np.zeros((2, 9, 9), np.float32)], strides=[8], image_size=(72, 72)
    )
    for proposals in found:
        assert len(proposals) == 0
        assert proposals.boxes.shape == (0, 4)
        assert proposals.logits.shape == (0, 21, 21)
        assert len(proposals.masks) == 0


@pytest.mark.parametrize("shape", [(0, 25, 5, 5), (1, 25, 0, 5), (1, 25, 5, 0)])
def test_empty_maps(shape):
    maps = np.zeros(shape, np.float32)
    for image_size in ((40, 40), [(40, 40)] * shape[0]):
        found = pyifcn.propose([maps], [maps[:, 0]], strides=[8], image_size=image_size)
        assert [len(proposals) for proposals in found] == [0] * shape[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("mask_threshold", [0.0, -0.0, 0.1, -1e-12, 1e-12, -3.3])
def test_torch(rng, dtype, mask_threshold):
    maps, objectness = pyramid(rng, 2, 5, [(8, 9), (12, 17)])
    maps[0].reshape(-1)[::13] = -0.0
    maps, objectness = (
        [torch.from_numpy(a).to(dtype).requires_grad_() for a in arrays]
        for arrays in (maps, objectness)
    )
    options = {"strides": [8, 8.5], "mask_threshold": mask_threshold}
    got = pyifcn.propose(maps, objectness, image_size=[(70, 80), (60, 90)], **options)
    expected = pyifcn.propose(
        [m.detach().double().numpy() for m in maps],
        [o.detach().double().numpy() for o in objectness],
        image_size=[(70, 80), (60, 90)],
        **options,
    )
    for ours, theirs in zip(got, expected, strict=True):
        assert len(ours)
        for name in ("scores", "boxes", "logits", "windows"):
            value = getattr(ours, name)
            assert isinstance(value, torch.Tensor)
            assert not value.requires_grad
            np.testing.assert_array_equal(value.numpy(), getattr(theirs, name))
        assert ours.masks == theirs.masks


def test_layouts(rng):
    maps, objectness = pyramid(rng, 2, 3, [(8, 9), (12, 17)])
    strided = [np.ascontiguousarray(m.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1) for m in maps]
    options = {"strides": [8, 4], "image_size": (64, 72), "size": 9}
    for ours, theirs in zip(
        pyifcn.propose(strided, [np.asfortranarray(o) for o in objectness], **options),
        pyifcn.propose(maps, objectness, **options),
        strict=True,
    ):
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)


def test_the_number_of_threads_changes_nothing(rng):
    maps, objectness = (
        [torch.from_numpy(a) for a in arrays] for arrays in pyramid(rng, 3, 5, [(40, 50), (20, 25)])
    )
    threads, found = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        proposals = pyifcn.propose(maps, objectness, strides=[8, 16], image_size=(320, 400))
        found.append([(p.boxes, p.masks) for p in proposals])
    torch.set_num_threads(threads)
    for (boxes, masks), (other_boxes, other_masks) in zip(*found, strict=True):
        assert torch.equal(boxes, other_boxes)
        assert masks == other_masks


@pytest.mark.parametrize("size", [1, 2, 21, 70])
@pytest.mark.parametrize("mask_threshold", [0.0, -0.3])
def test_masks_equal_the_reference(target, rng, size, mask_threshold):
    maps, objectness = pyramid(rng, 1, 1, [(5, 8), (11, 16)])
    image_size = 50, 133
    (found,) = pyifcn.propose(
        maps,
        objectness,
        strides=[17.3, 8],
        image_size=image_size,
        size=size,
        iou_threshold=1,
        max_proposals=25,
        mask_threshold=mask_threshold,
    )
    expected = [
        reference_mask(logits, window, found.levels[window[0]], image_size, mask_threshold)
        for logits, window in zip(found.logits, found.windows, strict=True)
    ]
    assert len(found) > 2
    assert found.masks == pyifcn.Masks.from_dense(np.array(expected))


def test_masks_are_rendered_once_and_indexed(rng):
    maps, objectness = pyramid(rng, 1, 5, [(20, 30)])
    (found,) = pyifcn.propose(maps, objectness, strides=[4], image_size=(80, 120))
    chosen = found[::2]
    masks = found.masks
    assert found.masks is masks
    assert chosen.masks == masks[::2] == found[::2].masks
    better = found.scores > 0.5
    np.testing.assert_array_equal(found[better].boxes, found.boxes[better])
    assert found[better].masks == masks[better]
    assert found[3].masks == masks[3]
    assert [len(p) for p in found] == [1] * len(found)
    assert repr(found) == f"Proposals({len(found)}, image_size=(80, 120))"
    with pytest.raises(IndexError):
        found[len(found)]


MAPS = [np.zeros((1, 25, 30, 40), np.float32), np.zeros((1, 25, 15, 20), np.float32)]
OBJECTNESS = [m[:, 0] for m in MAPS]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"strides": [8]}, ValueError, "score_maps, objectness and strides have 2, 2 and 1 levels"),
        (
            {"score_maps": [], "objectness": [], "strides": []},
            ValueError,
            "score_maps has 0 levels",
        ),
        ({"score_maps": [MAPS[0], 3]}, TypeError, r"score_maps\[1\] is 3, expected a NumPy array"),
        ({"score_maps": [MAPS[0], MAPS[1][0]]}, TypeError, r"score_maps\[1\] .* expected 4 dim"),
        (
            {"score_maps": [MAPS[0], MAPS[1].astype(float)]},
            TypeError,
            r"score_maps\[1\] is float64, expected float32",
        ),
        (
            {"score_maps": [m.astype(int) for m in MAPS]},
            TypeError,
            r"score_maps\[0\] is int64, expected float16",
        ),
        (
            {"score_maps": [m[:, :24] for m in MAPS]},
            ValueError,
            r"score_maps\[0\] has 24 channels, expected K . K",
        ),
        (
            {"score_maps": [MAPS[0], MAPS[1][:, :9]]},
            ValueError,
            r"score_maps\[1\] has 1 images of 9 channels, score_maps\[0\] 1 of 25",
        ),
        (
            {"objectness": OBJECTNESS[::-1]},
            ValueError,
            r"objectness\[0\] has shape \(1, 15, 20\), expected \(1, 30, 40\) as score_maps\[0\]",
        ),
        ({"objectness": [OBJECTNESS[0], None]}, TypeError, r"objectness\[1\] is None"),
        (
            {"objectness": [torch.from_numpy(o) for o in OBJECTNESS]},
            TypeError,
            r"objectness\[0\] is a .* tensor of shape .*, expected a NumPy array like the others",
        ),
        ({"strides": [8, 0]}, ValueError, r"strides\[1\] is 0, expected 2\^-20 to 2\^20"),
        ({"strides": [8, np.nan]}, ValueError, r"strides\[1\] is nan"),
        ({"strides": ["a", 8]}, TypeError, r"strides\[0\] is 'a', expected a number"),
        ({"image_size": [(4, 5), (6, 7)]}, ValueError, "image_size has 2 rows, expected 1"),
        ({"image_size": (4, -5)}, ValueError, "image_size is -5, expected at least 0"),
        ({"image_size": (4.5, 5)}, TypeError, "image_size is 4.5, expected an integer"),
        ({"image_size": (4, 2**31)}, ValueError, r"image_size is \(4, 2147483648\)"),
        ({"image_size": 7}, TypeError, r"image_size is 7, expected \(height, width\)"),
        ({"image_size": (4, (5, 6))}, TypeError, r"image_size is a tuple, expected an integer"),
        ({"image_size": [(1, 2, 3)]}, TypeError, r"image_size .* expected \(height, width\)"),
        ({"size": 4}, ValueError, "size is 4, expected at least the grid side 5"),
        ({"size": 2**40}, ValueError, "size is 1099511627776, expected at most"),
        ({"mask_threshold": np.nan}, ValueError, "mask_threshold is nan, expected a finite number"),
        ({"iou_threshold": np.nan}, ValueError, "iou_threshold is nan, expected 0 to 1"),
        ({"iou_threshold": 1.5}, ValueError, "iou_threshold is 1.5"),
        ({"max_proposals": -1}, ValueError, "max_proposals is -1, expected at least 0"),
        ({"cells": "round"}, ValueError, "cells is 'round', expected 'nearest' or 'floor'"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {
        "score_maps": MAPS,
        "objectness": OBJECTNESS,
        "strides": [8, 16],
        "image_size": (240, 320),
    } | change
    with pytest.raises(error, match=message):
        pyifcn.propose(**arguments)


def one_proposal():
    maps = np.full((1, 4, 16, 16), -1, np.float32)
    maps[:, :, 5:9, 6:10] = 1
    objectness = np.zeros((1, 16, 16), np.float32)
    objectness[0, 7, 8] = 2
    (found,) = pyifcn.propose([maps], [objectness], strides=[8], image_size=(120, 128), size=6)
    assert len(found[:1].masks) == 1
    return found[:1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": np.zeros((2, 3), np.int64)}, r"expected \(1, 3\): level, y, x"),
        ({"windows": np.zeros((1, 2), np.int64)}, r"expected \(1, 3\): level, y, x"),
        ({"logits": np.zeros((3, 6, 6), np.float32)}, r"expected \(3, 3\): level, y, x"),
        ({"logits": np.zeros((1, 6, 2), np.float32)}, "windows of 6 x 2, expected squares"),
        ({"image_size": (2**40, 5)}, "image_size is"),
        ({"levels": ((0.0, 16, 16),)}, "stride of 0, expected a positive one"),
        ({"levels": ((8.0, -1, 16),)}, "maps of -1 x 16"),
    ],
)
def test_masks_of_changed_proposals(change, message):
    with pytest.raises(ValueError, match=message):
        replace(one_proposal(), **change).masks  # noqa: B018


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ([1_000_000, 7, 8], "of level 1000000, expected one of 1"),
        ([-1, 7, 8], "of level -1, expected one of 1"),
        ([0, 16, 8], r"at \(16, 8\), expected inside maps of 16 x 16"),
        ([0, 7, -1], r"at \(7, -1\), expected inside"),
    ],
)
def test_bad_input_of_masks_outside(window, message):
    with pytest.raises(ValueError, match=message):
        replace(one_proposal(), windows=np.array([window])).masks  # noqa: B018
