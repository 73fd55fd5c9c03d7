"""`pyifcn.compat.yolact` beside YOLACT, where its folder is on sys.path."""

import inspect
import warnings

import numpy as np
import pytest

pytest.importorskip("torch", reason="it works on torch tensors")

import torch

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit.script is deprecated
        from data.config import yolact_base_config
        from layers import box_utils, output_utils
        from layers.functions import detection
except (ImportError, RuntimeError) as error:
    pytest.skip(f"YOLACT cannot be imported from sys.path: {error}", allow_module_level=True)

import pyifcn
from pyifcn.compat import yolact as ours


@pytest.fixture(autouse=True)
def yolact_base():
    """The configuration that ours has."""
    detection.cfg.replace(yolact_base_config)
    detection.cfg.mask_proto_debug = False  # as eval.py does


def some(count, classes=80):
    generator = torch.Generator().manual_seed(count)
    low = torch.rand(max(1, count // 5), 2, generator=generator) * 0.8
    low = low[torch.randint(len(low), (count,), generator=generator)]
    low = low + 0.02 * torch.randn(count, 2, generator=generator)
    boxes = torch.cat([low, low + 0.05 + 0.1 * torch.rand(count, 2, generator=generator)], 1)
    scores = torch.randperm(classes * count, generator=generator).view(classes, count)
    scores = (scores + 1) / (classes * count + 1)  # no two alike
    return boxes, torch.randn(count, 32, generator=generator), scores


def both(**settings):
    pair = [module.Detect(81, 0, 200, 0.05, 0.5) for module in (detection, ours)]
    for each in pair:
        vars(each).update(settings)
    return pair


def check(got, expected):
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "names",
    [
        ("fast_nms", detection.Detect, ours.Detect),
        ("cc_fast_nms", detection.Detect, ours.Detect),
        ("traditional_nms", detection.Detect, ours.Detect),
        ("detect", detection.Detect, ours.Detect),
        ("__call__", detection.Detect, ours.Detect),
        ("postprocess", output_utils, ours),
        ("jaccard", box_utils, ours),
    ],
)
def test_arguments(names):
    name, *owners = names
    theirs, here = (inspect.signature(getattr(owner, name)).parameters for owner in owners)
    assert [(p.name, p.default) for p in here.values()] == [
        (p.name, p.default) for p in theirs.values()
    ]


@pytest.mark.parametrize("count", [1, 2, 33, 199, 200, 201, 600])
@pytest.mark.parametrize("name", ["fast_nms", "cc_fast_nms"])
def test_fast_nms(count, name):
    case, (theirs, here) = some(count), both()
    for options in ((), (0.3,), (0.7, 20)):
        check(getattr(here, name)(*case, *options), getattr(theirs, name)(*case, *options))
    if name == "fast_nms":
        check(here.fast_nms(*case, 0.5, 200, True), theirs.fast_nms(*case, 0.5, 200, True))


@pytest.mark.parametrize("count", [1, 2, 33, 200])
def test_traditional_nms(monkeypatch, count):
    pytest.importorskip("Cython", reason="YOLACT compiles its own with Cython")
    monkeypatch.setattr(np, "int", int, raising=False)  # what it is written for
    case, (theirs, here) = some(count, 3), both()
    try:
        expected = theirs.traditional_nms(*case)
    except Exception as error:
        pytest.skip(f"YOLACT's own fails here: {error!r}")
    check(here.traditional_nms(*case), expected)


def test_box_utils():
    boxes, _, _ = some(50)
    other, _, _ = some(70)
    assert torch.equal(
        ours.intersect(boxes[None], other[None]), box_utils.intersect(boxes[None], other[None])
    )
    for crowd in (False, True):
        assert torch.equal(
            ours.jaccard(boxes, other, crowd), box_utils.jaccard(boxes, other, crowd)
        )
    masks = torch.rand(23, 31, 50)
    for padding in (0, 1, 2):
        assert torch.equal(ours.crop(masks, boxes, padding), box_utils.crop(masks, boxes, padding))
    for cast in (False, True):
        check(
            ours.sanitize_coordinates(boxes[:, 0], boxes[:, 2], 77, 1, cast),
            box_utils.sanitize_coordinates(boxes[:, 0], boxes[:, 2], 77, 1, cast),
        )
    for regressors in (False, True):
        got = ours.decode(boxes, other[:50].abs(), regressors)
        torch.testing.assert_close(got, box_utils.decode(boxes, other[:50].abs(), regressors))


def predictions():
    generator = torch.Generator().manual_seed(3)
    boxes, masks, scores = some(300)
    sides = boxes[:, 2:] - boxes[:, :2]
    return {
        "loc": 0.1 * torch.randn(1, 300, 4, generator=generator),
        "conf": torch.cat([torch.zeros(1, 300), scores**4]).T[None],
        "mask": masks[None],
        "priors": torch.cat([boxes[:, :2] + sides / 2, sides], 1),
        "proto": torch.randn(1, 69, 69, 32, generator=generator),
    }


def close(got, expected):
    check(got[:3], expected[:3])
    assert got[3].dtype == expected[3].dtype
    assert (got[3] != expected[3]).float().mean() < 1e-5  # those at the threshold but for rounding


@pytest.mark.parametrize("cross", [False, True])
def test_from_predictions_to_masks(cross):
    theirs, here = both(use_fast_nms=True, use_cross_class_nms=cross)
    for options in ({}, {"crop_masks": False}, {"score_threshold": 0.6}):
        expected = output_utils.postprocess(theirs(predictions(), None), 120, 90, **options)
        close(ours.postprocess(here(predictions(), None), 120, 90, **options), expected)


def test_accelerate():
    (theirs, _) = both(use_fast_nms=True)
    before = output_utils.postprocess(theirs(predictions(), None), 120, 90)
    original = detection.Detect.fast_nms
    with pyifcn.accelerate("yolact") as accelerated:
        assert "layers.functions.detection.Detect.fast_nms" in accelerated.replaced
        assert "layers.output_utils.postprocess" in accelerated.replaced
        assert detection.Detect.fast_nms is not original
        close(output_utils.postprocess(theirs(predictions(), None), 120, 90), before)
        detection.cfg.max_num_detections = 3
        assert len(theirs(predictions(), None)[0]["detection"]["score"]) == 3
    assert detection.Detect.fast_nms is original


def test_other_configurations_go_to_the_original(monkeypatch):
    (theirs, _) = both(use_fast_nms=True)
    monkeypatch.setattr(ours, "postprocess", None)
    output_utils.cfg.mask_proto_mask_activation = torch.tanh
    expected = output_utils.postprocess(theirs(predictions(), None), 120, 90)
    with pyifcn.accelerate("yolact"):
        check(output_utils.postprocess(theirs(predictions(), None), 120, 90), expected)
