"""`pyifcn.compat.torchvision` beside torchvision, and torchvision's detectors before and after."""

from __future__ import annotations

import inspect
import time
import warnings

import numpy as np
import pytest
import torch

try:
    import torchvision
except (ImportError, RuntimeError) as error:
    pytest.skip(f"torchvision cannot be imported: {error}", allow_module_level=True)

from torchvision import tv_tensors
from torchvision.models import detection
from torchvision.models.detection import roi_heads

import pyifcn
from pyifcn.compat import torchvision as ours

THEIRS = {name: getattr(torchvision.ops, name, None) for name in ours.__all__}
THEIRS["paste_masks_in_image"] = roi_heads.paste_masks_in_image
SIZES = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 500, 999, 1000, 1001, 3000]


def random_boxes(rng, count, extent=300.0, sides=60):
    corners = rng.uniform(-10, extent, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0, sides, (count, 2))])
    if count > 4:
        boxes[::3] = boxes[::3].round()
        boxes[1] = boxes[3]
    return boxes


def same(name, *arguments, **options):
    expected = THEIRS[name](*arguments, **options)
    got = getattr(ours, name)(*arguments, **options)
    assert (got.dtype, got.shape, got.device) == (expected.dtype, expected.shape, expected.device)
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
    return got


def test_the_names_of_arguments_and_their_defaults():
    for name, theirs in THEIRS.items():
        expected, got = (inspect.signature(f).parameters for f in (theirs, getattr(ours, name)))
        assert [(p.name, p.default) for p in got.values()] == [
            (p.name, p.default) for p in expected.values()
        ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", SIZES)
def test_nms(count, dtype):
    rng = np.random.default_rng(count)
    boxes = torch.from_numpy(random_boxes(rng, count)).to(dtype)
    scores = torch.from_numpy(rng.permutation(count) / max(count, 1)).to(dtype)
    for threshold in (-0.5, 0, 0.3, 0.5, 0.7, 1):
        same("nms", boxes, scores, threshold)
        for idxs in (
            torch.from_numpy(rng.integers(0, 5, count)),
            torch.from_numpy(rng.integers(-2, 91, count)).to(torch.int32),
            torch.from_numpy(rng.integers(0, 2, count)).to(torch.float32),
            torch.from_numpy(rng.integers(0, 2, count) > 0),
        ):
            same("batched_nms", boxes, scores, idxs, threshold)


@pytest.mark.parametrize("count", [65, 1000, 1001, 5000])
def test_nms_of_equal_scores(count):
    rng = np.random.default_rng(count)
    boxes = torch.from_numpy(random_boxes(rng, count, extent=1000.0))
    scores = torch.from_numpy(rng.integers(0, 9, count).astype(float))
    same("nms", boxes, scores, 0.5)
    same("batched_nms", boxes, scores, torch.from_numpy(rng.integers(0, 5, count)), 0.5)


def test_nms_of_odd_boxes():
    odd = torch.tensor([0.0, 1, 4, -3, 1e30, torch.inf, -torch.inf, torch.nan])
    rng = np.random.default_rng(0)
    boxes = odd[torch.from_numpy(rng.integers(0, len(odd), (300, 4)))]
    scores = torch.from_numpy(rng.permutation(300).astype(np.float32))
    same("nms", boxes, scores, 0.5)
    same("batched_nms", torch.zeros(0), scores, scores, 0.5)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_masks_to_boxes(dtype):
    rng = np.random.default_rng(0)
    for shape in ((0, 4, 5), (3, 0, 5), (1, 1, 1), (7, 33, 65), (20, 64, 130)):
        masks = np.zeros(shape)
        for mask in masks:
            y, x = (np.sort(rng.integers(0, side + 1, 2)) for side in shape[1:])
            mask[slice(*y), slice(*x)] = rng.random((np.ptp(y), np.ptp(x))) < 0.5
        same("masks_to_boxes", torch.from_numpy(masks).to(dtype))


@pytest.mark.parametrize("name", ["ps_roi_pool", "ps_roi_align"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pooling(name, dtype):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn((2, 2 * 12, 17, 33), generator=generator, dtype=dtype)
    corners = torch.rand((20, 2), generator=generator, dtype=dtype) * 200
    boxes = torch.cat([corners, corners + 1 + torch.rand((20, 2), dtype=dtype) * 90], 1)
    rows = torch.cat([torch.arange(20, dtype=dtype)[:, None] % 2, boxes], 1)
    ratios = [()] if name == "ps_roi_pool" else [(), (2,), (-1,)]
    for ratio in ratios:
        grads = []
        for function in (THEIRS[name], getattr(ours, name)):
            leaf = maps.clone().requires_grad_()
            out = function(leaf, rows, (3, 4), 0.125, *ratio)
            (out * torch.arange(out.numel()).reshape(out.shape).to(dtype)).sum().backward()
            grads.append(leaf.grad)
        torch.testing.assert_close(grads[0], grads[1])
        same(name, maps, rows, (3, 4), 0.125, *ratio)
        same(name, maps, [boxes[:5], boxes[5:]], (3, 4), 0.125, *ratio)
        same(name, maps[:, :18], rows, 3, *((1.0,) if ratio else ()), *ratio)
    module = {"ps_roi_pool": "PSRoIPool", "ps_roi_align": "PSRoIAlign"}[name]
    arguments = (3, 0.125) if name == "ps_roi_pool" else (3, 0.125, 2)
    made = [getattr(where, module)(*arguments) for where in (torchvision.ops, ours)]
    assert repr(made[0]) == repr(made[1])
    results = [m(maps[:, :18], rows) for m in made]
    assert torch.equal(*results)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("side", [1, 2, 7, 14, 28, 33])
def test_pasting(side, dtype):
    rng = np.random.default_rng(side)
    for size in ((1, 1), (37, 63), (64, 129), (240, 333)):
        corners = rng.uniform(-0.2, 0.9, (20, 2)) * size[::-1]
        boxes = np.hstack([corners, corners + rng.uniform(1, 150, (20, 2))])
        boxes = boxes[(boxes[:, 2:] > 1).all(1)]
        boxes = torch.from_numpy(boxes).to(
            torch.float64 if dtype == torch.float64 else torch.float32
        )
        masks = torch.from_numpy(rng.random((len(boxes), 1, side, side))).to(dtype)
        for places in (boxes, boxes.to(torch.int64)):
            expected = roi_heads.paste_masks_in_image(masks, places, size)
            got = ours.paste_masks_in_image(masks, places, size)
            assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
            near = {torch.float16: 2e-3, torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
            torch.testing.assert_close(got, expected, rtol=0, atol=near)
    same("paste_masks_in_image", torch.zeros(0, 1, side, side), torch.zeros(0, 4), (5, 6))


BOXES, SCORES = torch.zeros(3, 4), torch.zeros(3)
MAPS, ROIS = torch.zeros(1, 18, 5, 5), torch.zeros(2, 5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("nms", (BOXES.int(), SCORES.int(), 0.5)),
        ("nms", (BOXES, SCORES.double(), 0.5)),
        ("nms", (BOXES, SCORES[:2], 0.5)),
        ("nms", (BOXES[0], SCORES, 0.5)),
        ("nms", (BOXES[:, :3], SCORES, 0.5)),
        ("nms", (BOXES.numpy(), SCORES.numpy(), 0.5)),
        ("nms", (BOXES, SCORES, None)),
        ("batched_nms", (BOXES, SCORES, None, 0.5)),
        ("batched_nms", (BOXES, SCORES, torch.zeros(2), 0.5)),
        ("masks_to_boxes", (torch.ones(4, 5),)),
        ("masks_to_boxes", (None,)),
        ("ps_roi_pool", (MAPS, ROIS[:, :4], 3)),
        ("ps_roi_pool", (MAPS, ROIS, 4)),
        ("ps_roi_pool", (MAPS[0], ROIS, 3)),
        ("ps_roi_align", (MAPS, ROIS.double(), 3)),
        ("ps_roi_align", (MAPS, [ROIS], 3)),
        ("paste_masks_in_image", (torch.ones(1, 5, 5), BOXES[:1], (9, 9))),
        ("paste_masks_in_image", (torch.ones(1, 1, 5, 5), BOXES[0], (9, 9))),
    ],
)
def test_what_torchvision_refuses_is_refused_in_one_line(name, arguments):
    with pytest.raises(Exception):  # noqa: B017, PT011  of many kinds
        THEIRS[name](*arguments)
    with pytest.raises((TypeError, ValueError)) as caught:
        getattr(ours, name)(*arguments)
    assert "\n" not in str(caught.value)


def build(make, **options):
    torch.manual_seed(0)
    options = {"weights": None, "weights_backbone": None, "num_classes": 5, **options}
    return make(min_size=128, max_size=160, **options).eval()


MODELS = {
    "Mask R-CNN": lambda: build(
        detection.maskrcnn_resnet50_fpn, box_score_thresh=0.0, rpn_post_nms_top_n_test=300
    ),
    "RetinaNet": lambda: build(detection.retinanet_resnet50_fpn, score_thresh=0.0),
}


class Stages:
    """Times of what a detector calls."""

    NAMES = ("batched_nms", "paste_masks_in_image")

    def __init__(self, monkeypatch):
        self.seconds = dict.fromkeys(self.NAMES, 0.0)
        places = [
            (torchvision.ops.boxes, "batched_nms"),
            (detection.transform, "paste_masks_in_image"),
        ]
        for where, name in places:
            monkeypatch.setattr(where, name, self.timed(name, getattr(where, name)))

    def timed(self, name, function):
        def call(*arguments):
            start = time.perf_counter()
            result = function(*arguments)
            self.seconds[name] += time.perf_counter() - start
            return result

        return call


def run(model, images):
    """The detections, and the milliseconds of each stage."""
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        stages = Stages(patch)
        start = time.perf_counter()
        found = model(images)
        whole = time.perf_counter() - start
    return found, {name: 1e3 * s for name, s in {**stages.seconds, "all": whole}.items()}


@pytest.mark.parametrize("name", MODELS)
def test_detectors_find_the_same(name, capsys):
    model = MODELS[name]()
    images = [torch.rand((3, 480, 640), generator=torch.Generator().manual_seed(1))]
    run(model, images)  # warm
    before, times_before = run(model, images)
    with pyifcn.accelerate("torchvision"):
        run(model, images)
        after, times_after = run(model, images)
    again, _ = run(model, images)
    for one, other, third in zip(before, after, again, strict=True):
        assert len(one["scores"]) > 20
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], third[key])
            if key == "masks":
                torch.testing.assert_close(other[key], one[key], rtol=0, atol=1e-5)
            else:
                assert torch.equal(other[key], one[key]), key
    with capsys.disabled():
        print(f"\n{name}, ms: {'stage':>22} {'before':>9} {'after':>9}")
        for stage in times_before:
            print(f"{stage:>{len(name) + 28}} {times_before[stage]:9.2f} {times_after[stage]:9.2f}")


def test_what_we_do_not_do_goes_to_torchvision():
    masks = torch.rand(2, 1, 7, 7, requires_grad=True)
    boxes, scores = torch.tensor([[1.0, 2, 9, 12], [3, 0, 15, 8]]), torch.tensor([0.5, 0.9])
    with pyifcn.accelerate("torchvision"):
        detection.transform.paste_masks_in_image(masks, boxes, (20, 20)).sum().backward()
        assert masks.grad.abs().sum() > 0
        meta = torchvision.ops.masks_to_boxes(torch.zeros(2, 3, 4, device="meta"))
        assert meta.device.type == "meta"
        points = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(20, 20))
        assert torchvision.ops.nms(points, scores, 0.5).tolist() == [1, 0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_scripting_tracing_and_compiling():
    boxes, scores = torch.tensor([[1.0, 2, 9, 12], [3, 0, 15, 8]]), torch.tensor([0.5, 0.9])

    def suppress(boxes, scores):
        return torchvision.ops.nms(boxes, scores, 0.5)

    with pyifcn.accelerate("torchvision"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(suppress)
        traced = torch.jit.trace(suppress, (boxes, scores))
        compiled = torch.compile(suppress, fullgraph=True, backend="aot_eager")
        for made in (scripted, traced, compiled):
            assert made(boxes, scores).tolist() == [1, 0]
    assert "torchvision::nms" in str(scripted.graph) + str(traced.graph)


def test_real_masks(shared_data):
    from pyifcn.evaluation import read_results

    seen = 0
    for path in sorted((shared_data / "coco_results").glob("*.segm.json*")):
        for masks, scores, _ in list(read_results(path).values())[:5]:
            if not len(masks):
                continue
            dense = torch.from_numpy(masks.to_dense())
            boxes = same("masks_to_boxes", dense)
            same("nms", boxes, torch.from_numpy(np.asarray(scores, np.float32)), 0.5)
            seen += len(masks)
    assert seen > 100


@pytest.mark.parametrize("name", ["ps_roi_pool", "ps_roi_align"])
def test_pooling_that_goes_on(rng, name):
    maps = torch.from_numpy(rng.normal(size=(3, 4, 9, 9)))
    rois = torch.from_numpy(np.hstack([[[0], [1]], rng.uniform(0, 4, (2, 2)), [[7, 8], [5, 8]]]))
    for boxes, size, scale in (
        ([rois[:1, 1:], rois[1:, 1:]], 2, 1.0),
        (rois + torch.tensor([0.5, 0, 0, 0, 0]), 2, 1.0),
        (rois, torch.tensor([2, 2]), 1.0),
        (rois, np.array([2, 2]), 1.0),
        (rois, 2, -1.0),
    ):
        expected = getattr(torchvision.ops, name)(maps, boxes, size, scale)
        with pyifcn.accelerate("torchvision"):
            got = getattr(torchvision.ops, name)(maps, boxes, size, scale)
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


def test_whole_masks_go_on_to_be_pasted():
    masks, boxes = torch.ones(1, 1, 4, 4, dtype=torch.uint8), torch.tensor([[1.0, 1, 5, 5]])

    def pasted():
        try:
            return roi_heads.paste_masks_in_image(masks, boxes, (8, 8)).tolist()
        except RuntimeError as error:
            return str(error)

    expected = pasted()
    with pyifcn.accelerate("torchvision"):
        assert pasted() == expected
