"""`pyifcn.compat.mmcv` beside mmcv and mmdet, where they are installed."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

import pyifcn
from pyifcn.compat import mmcv as ours

SIZES = [1, 2, 8, 17, 33, 64, 65, 500]


def from_library(module, name):
    library = pytest.importorskip(module, reason=f"{module} is not installed", exc_type=ImportError)
    theirs = getattr(library, name)
    expected, got = (inspect.signature(f).parameters for f in (theirs, getattr(ours, name)))
    assert [(p.name, p.default) for p in got.values()] == [
        (p.name, p.default) for p in expected.values()
    ]
    return theirs


def case(count):
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, 100, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 40, (count, 2))]).astype(np.float32)
    boxes[::2] = boxes[::2].round()
    scores = ((rng.permutation(count) + 1) / (count + 1)).astype(np.float32)
    return boxes, scores


def same(name, theirs, *arguments, near=0.0, **options):
    expected, got = theirs(*arguments, **options), getattr(ours, name)(*arguments, **options)
    for a, b in zip(got, expected, strict=True):
        assert type(a) is type(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=near)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("count", SIZES)
def test_nms(count, offset):
    theirs = from_library("mmcv.ops.nms", "nms")
    boxes, scores = case(count)
    for kind in (np.asarray, torch.from_numpy):
        for options in ({}, {"score_threshold": 0.3}, {"max_num": 4}):
            for threshold in (0.0, 0.3, 0.5, 0.7):
                arguments = kind(boxes), kind(scores), threshold, offset
                same("nms", theirs, *arguments, **options)


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("count", SIZES)
def test_soft_nms(count, method):
    theirs = from_library("mmcv.ops.nms", "soft_nms")
    boxes, scores = case(count)
    for offset in (0, 1):
        some = boxes.round() if offset else boxes
        for threshold, sigma, least in ((0.3, 0.5, 1e-3), (0.5, 0.3, 0.3), (0.3, 0.5, 2.0)):
            same(
                *("soft_nms", theirs, some, scores, threshold, sigma, least, method, offset),
                near=1e-5,
            )


@pytest.mark.parametrize("count", SIZES)
def test_batched_nms(count):
    theirs = from_library("mmcv.ops.nms", "batched_nms")
    boxes, scores = map(torch.from_numpy, case(count))
    idxs = torch.from_numpy(np.random.default_rng(0).integers(0, 4, count))
    for kind in ("nms", "soft_nms"):
        for options in ({}, {"split_thr": 10}, {"class_agnostic": True}):
            config = {"type": kind, "iou_threshold": 0.5, **options}
            same("batched_nms", theirs, boxes, scores, idxs, config, near=1e-5)
    same("batched_nms", theirs, boxes, scores, idxs, None)


@pytest.mark.parametrize("count", [0, *SIZES])
def test_nms_match(count):
    theirs = from_library("mmcv.ops.nms", "nms_match")
    boxes, scores = case(count)
    dets = np.hstack([boxes, scores[:, None]])
    for kind in (np.asarray, torch.from_numpy):
        for threshold in (0.3, 0.5):
            same("nms_match", theirs, kind(dets), threshold)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_mask_matrix_nms(kernel):
    theirs = from_library("mmdet.models.layers.matrix_nms", "mask_matrix_nms")
    generator = torch.Generator().manual_seed(0)
    for count in (0, 1, 2, 50):
        masks = torch.zeros(count, 30, 50, dtype=torch.bool)
        for mask in masks:
            y, x, h, w = (1 + torch.rand(4, generator=generator) * 20).int().tolist()
            mask[y : y + h, x : x + w] = True
        labels = torch.randint(0, 3, (count,), generator=generator)
        scores = torch.rand(count, generator=generator)
        for options in (
            {},
            {"filter_thr": 0.2},
            {"nms_pre": 9},
            {"max_num": 5},
            {"mask_area": masks.sum((1, 2)).float(), "sigma": 0.5},
        ):
            same(
                *("mask_matrix_nms", theirs, masks, labels, scores),
                kernel=kernel,
                near=1e-5,
                **options,
            )


def test_accelerate():
    from_library("mmcv.ops.nms", "nms")
    import mmcv.ops

    before = mmcv.ops.nms
    with pyifcn.accelerate("mmcv"):
        assert mmcv.ops.nms is not before
    assert mmcv.ops.nms is before


@pytest.mark.filterwarnings("ignore")  # theirs, of newer torch
@pytest.mark.parametrize("name", ["mask_rcnn/mask-rcnn", "solov2/solov2"])
def test_detectors_find_the_same(name):
    mmdet = pytest.importorskip("mmdet", reason="mmdet is not installed", exc_type=ImportError)
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    folder = Path(mmdet.__file__).parent / ".mim" / "configs"
    config = Config.fromfile(folder / f"{name}_r50_fpn_1x_coco.py").model
    config.backbone.init_cfg = None
    settings = config.test_cfg.get("rcnn", config.test_cfg)
    settings.score_thr = settings.filter_thr = 0.0
    torch.manual_seed(0)
    model = MODELS.build(config).eval()
    size = 160, 224
    image = torch.randn((1, 3, *size), generator=torch.Generator().manual_seed(1))
    about = dict.fromkeys(("img_shape", "ori_shape", "batch_input_shape", "pad_shape"), size)

    def found():
        sample = DetDataSample(metainfo={**about, "scale_factor": (1.0, 1.0)})
        with torch.no_grad():
            return model.predict(image, [sample])[0].pred_instances

    before = found()
    with pyifcn.accelerate("mmcv", "mmdet"):
        after = found()
    again = found()
    assert len(before) > 20
    assert before.masks.any()
    for key in before.keys():  # noqa: SIM118 - it is no dict
        torch.testing.assert_close(after[key], before[key], rtol=1e-5, atol=0)
        assert torch.equal(again[key], before[key])


def test_calls_that_go_on():
    theirs = from_library("mmcv.ops.nms", "nms")
    import mmcv.ops

    boxes, scores = case(33)
    b, s = map(torch.from_numpy, (boxes, scores))
    for arguments in ((boxes, scores.astype(float)), (boxes, s), (b, scores), (b, s.double())):
        expected = theirs(*arguments, 0.5)
        with pyifcn.accelerate("mmcv"):
            got = mmcv.ops.nms(*arguments, 0.5)
        for a, c in zip(got, expected, strict=True):
            assert type(a) is type(c)
            assert a.dtype == c.dtype
            np.testing.assert_array_equal(np.asarray(a), np.asarray(c))
