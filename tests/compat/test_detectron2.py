"""`pyifcn.compat.detectron2` beside detectron2 and AdelaiDet, where they are installed."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

import pyifcn
from pyifcn.compat import detectron2 as ours


def from_library(module, name):
    library = pytest.importorskip(module, reason=f"{module} is not installed", exc_type=ImportError)
    return getattr(library, name)


def same_arguments(name, theirs):
    expected, got = (inspect.signature(f).parameters for f in (theirs, getattr(ours, name)))
    assert [(p.name, p.default) for p in got.values()] == [
        (p.name, p.default) for p in expected.values()
    ]


@pytest.mark.parametrize("side", [1, 2, 7, 28, 33])
def test_pasting(side):
    theirs = from_library("detectron2.layers.mask_ops", "paste_masks_in_image")
    same_arguments("paste_masks_in_image", theirs)
    rng = np.random.default_rng(side)
    for size in ((1, 1), (37, 63), (240, 333)):
        corners = rng.uniform(-0.2, 0.9, (40, 2)) * size[::-1]
        boxes = np.hstack([corners, corners + rng.uniform(1, 150, (40, 2))]).astype(np.float32)
        boxes = torch.from_numpy(boxes[(boxes[:, 2:] > 1).all(1)])
        masks = torch.from_numpy(rng.random((len(boxes), side, side), np.float32))
        for threshold in (0.5, 0.3, -1):
            expected = theirs(masks, boxes, size, threshold)
            got = ours.paste_masks_in_image(masks, boxes, size, threshold)
            assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
            assert (got.int() - expected.int()).abs().max() <= 1
            assert (
                got != expected
            ).float().mean() < 1e-3  # those at the threshold but for rounding
    empty = torch.zeros(0, side, side), torch.zeros(0, 4), (5, 6)
    assert ours.paste_masks_in_image(*empty).shape == theirs(*empty).shape
    assert ours.paste_masks_in_image(*empty).dtype == theirs(*empty).dtype


@pytest.mark.parametrize("count", [0, 1, 65, 999, 1500])
def test_batched_nms(count):
    theirs = from_library("detectron2.layers.nms", "batched_nms")
    same_arguments("batched_nms", theirs)
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, 300, (count, 2))
    boxes = torch.from_numpy(np.hstack([corners, corners + rng.uniform(0, 60, (count, 2))]))
    scores = torch.from_numpy(rng.random(count, np.float32))
    idxs = torch.from_numpy(rng.integers(0, 7, count))
    assert torch.equal(ours.batched_nms(boxes, scores, idxs, 0.5), theirs(boxes, scores, idxs, 0.5))


def some_masks(count):
    generator = torch.Generator().manual_seed(count)
    masks = torch.zeros(count, 30, 50, dtype=torch.bool)
    for mask in masks:
        y, x, h, w = (torch.rand(4, generator=generator) * 20).int().tolist()
        mask[y : y + h, x : x + w] = True
    labels = torch.randint(0, 3, (count,), generator=generator)
    scores = torch.rand(count, generator=generator).sort(descending=True)[0]
    return labels, masks, masks.sum((1, 2)).float(), scores


def test_matrix_nms():
    theirs = from_library("adet.modeling.solov2.utils", "matrix_nms")
    same_arguments("matrix_nms", theirs)
    for count in (0, 1, 2, 50):
        labels, masks, areas, scores = some_masks(count)
        seen = areas > 0
        case = labels[seen], masks[seen], areas[seen], scores[seen]
        for options in ({}, {"sigma": 0.5}, {"kernel": "linear"}):
            expected, got = theirs(*case, **options), ours.matrix_nms(*case, **options)
            if not count:
                assert got == expected == []
            else:
                torch.testing.assert_close(got, expected)


def test_mask_nms():
    theirs = from_library("adet.modeling.solov2.utils", "mask_nms")
    same_arguments("mask_nms", theirs)
    for count in (0, 1, 2, 50):
        case = some_masks(count)
        for threshold in (0.1, 0.5):
            expected, got = theirs(*case, threshold), ours.mask_nms(*case, threshold)
            if not count:
                assert got == expected == []
            else:
                assert got.dtype == expected.dtype
                assert torch.equal(got, expected)


def test_accelerate():
    from_library("detectron2.layers.mask_ops", "paste_masks_in_image")
    import detectron2

    before = detectron2.layers.mask_ops.paste_masks_in_image
    with pyifcn.accelerate("detectron2"):
        assert detectron2.layers.mask_ops.paste_masks_in_image is not before
    assert detectron2.layers.mask_ops.paste_masks_in_image is before


@pytest.mark.filterwarnings("ignore")  # theirs, of newer torch
def test_mask_rcnn_finds_the_same():
    config_of = from_library("detectron2.model_zoo", "get_config")
    from detectron2.modeling import build_model

    config = config_of("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", trained=False)
    config.MODEL.DEVICE = "cpu"
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    config.MODEL.PIXEL_STD = [1e4] * 3  # untrained layers amplify
    torch.manual_seed(0)
    model = build_model(config).eval()
    image = 255 * torch.rand((3, 160, 240), generator=torch.Generator().manual_seed(1))

    def found():
        with torch.no_grad():
            return model([{"image": image, "height": 120, "width": 167}])[0]["instances"]

    before = found()
    with pyifcn.accelerate("detectron2"):
        after = found()
    assert len(before) > 20
    for name in ("scores", "pred_classes"):
        assert torch.equal(after.get(name), before.get(name))
    assert torch.equal(after.pred_boxes.tensor, before.pred_boxes.tensor)
    assert before.pred_masks.any()
    assert (after.pred_masks != before.pred_masks).float().mean() < 1e-4
    assert torch.equal(found().pred_masks, before.pred_masks)
