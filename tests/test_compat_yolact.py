"""`pyifcn.compat.yolact` against plain tensor versions of what YOLACT's functions do."""

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="it works on torch tensors")

import torch

import pyifcn
from pyifcn.compat import yolact

SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 150]


def case(count, classes=5, coefficients=4):
    """Relative boxes around a few objects, coefficients, and scores without ties."""
    torch.manual_seed(count)
    objects = torch.rand(max(1, count // 5), 2) * 0.7
    low = objects[torch.randint(len(objects), (count,))] + 0.03 * torch.randn(count, 2)
    boxes = torch.cat([low, low + 0.1 + 0.15 * torch.rand(count, 2)], 1)
    scores = torch.randperm(classes * count).view(classes, count)
    scores = (scores + 1) / (classes * count + 1)
    return boxes, torch.randn(count, coefficients), scores


def iou_of_all(boxes):
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inter = (high - low).clamp(min=0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return inter / (areas[:, None] + areas - inter)


def stays(boxes, threshold):
    """Of boxes by falling score, those that no better one overlaps."""
    return iou_of_all(boxes).triu(1).amax(0) <= threshold


def reference_fast(boxes, masks, scores, threshold, top_k, least=None, most=100):
    found = []
    for number, of_class in enumerate(scores):
        order = of_class.argsort(descending=True)[:top_k]
        for i in order[stays(boxes[order], threshold)].tolist():
            if least is None or of_class[i] > least:
                found.append((-of_class[i].item(), number, i))
    found = sorted(found)[:most]
    classes, places = torch.tensor([each[1:] for each in found]).reshape(-1, 2).long().T
    return boxes[places], masks[places], classes, scores[classes, places]


def reference_traditional(boxes, masks, scores, threshold, least, size=550, most=100):
    pixels, found = boxes * size, []
    for number, of_class in enumerate(scores):
        order, gone = of_class.argsort(descending=True).tolist(), set()
        order = [i for i in order if of_class[i] > least]
        for rank, i in enumerate(order):
            if i in gone:
                continue
            found.append((-of_class[i].item(), number, i))
            for j in order[rank + 1 :]:
                a, b = pixels[i], pixels[j]
                sides = (torch.minimum(a, b)[2:] - torch.maximum(a, b)[:2] + 1).clamp(min=0)
                areas = (a[2:] - a[:2] + 1).prod() + (b[2:] - b[:2] + 1).prod()
                if sides.prod() / (areas - sides.prod()) >= threshold:
                    gone.add(j)
    found = sorted(found)[:most]
    classes, places = torch.tensor([each[1:] for each in found]).reshape(-1, 2).long().T
    return pixels[places] / size, masks[places], classes, scores[classes, places]


def detect(**options):
    return yolact.Detect(6, 0, top_k=200, conf_thresh=0.4, nms_thresh=0.5, **options)


def check(got, expected):
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("count", SIZES)
def test_fast_nms(count):
    boxes, masks, scores = case(count)
    for threshold, top_k in ((0.5, 200), (0.3, 200), (0.5, 7), (0.0, 200)):
        expected = reference_fast(boxes, masks, scores, threshold, top_k)
        check(detect().fast_nms(boxes, masks, scores, threshold, top_k), expected)
        got = detect().fast_nms(boxes, masks, scores, threshold, top_k, second_threshold=True)
        check(got, reference_fast(boxes, masks, scores, threshold, top_k, least=0.4))
    got = detect(max_num_detections=3).fast_nms(boxes, masks, scores)
    check(got, reference_fast(boxes, masks, scores, 0.5, 200, most=3))


@pytest.mark.parametrize("count", SIZES)
def test_cc_fast_nms(count):
    boxes, masks, scores = case(count)
    best, classes = scores.max(0)
    for threshold, top_k in ((0.5, 200), (0.3, 200), (0.5, 7)):
        order = best.argsort(descending=True)[:top_k]
        keep = order[stays(boxes[order], threshold)]
        expected = boxes[keep], masks[keep], classes[keep], best[keep]
        check(detect().cc_fast_nms(boxes, masks, scores, threshold, top_k), expected)


@pytest.mark.parametrize("count", [1, 7, 8, 17, 65])
def test_traditional_nms(count):
    boxes, masks, scores = case(count)
    for threshold, least in ((0.5, 0.05), (0.3, 0.5), (0.5, 2.0)):
        expected = reference_traditional(boxes, masks, scores, threshold, least)
        check(detect().traditional_nms(boxes, masks, scores, threshold, least), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_scores_come_by_index(dtype):
    generator = torch.Generator().manual_seed(0)
    some = torch.tensor([0.0, -0.0, 0.5, -0.5, 1, -1, float("nan"), float("inf"), -float("inf")])
    scores = some[torch.randint(9, (7, 90), generator=generator)].to(dtype)
    scores[0, :9] = -float("nan")
    apart = torch.arange(90.0)[:, None].expand(90, 4) + torch.tensor([0, 0, 0.5, 0.5])
    for top_k in (200, 90, 33, 1, 0, -5):
        order = scores.sort(dim=1, descending=True, stable=True)[1][:, :top_k]
        assert torch.equal(yolact._best(scores, top_k), order)
    found = detect().fast_nms(apart.to(dtype), torch.arange(90)[:, None], scores)
    assert found[1].shape == (100, 1)
    best, classes = scores.max(0)
    order = best.argsort(descending=True, stable=True)
    places = torch.arange(90)[:, None]
    found = detect().cc_fast_nms(apart.to(dtype), places, scores)
    assert torch.equal(found[1][:, 0], order)
    assert torch.equal(found[2], classes[order])


def test_gradients_reach_what_is_kept():
    boxes, masks, scores = (each.requires_grad_() for each in case(20))
    for name in ("fast_nms", "cc_fast_nms", "traditional_nms"):
        found = getattr(detect(), name)(boxes, masks, scores)
        for result, given in zip(
            (found[0], found[1], found[3]), (boxes, masks, scores), strict=True
        ):
            (grad,) = torch.autograd.grad(result.sum(), given)
            assert (grad != 0).any()


def test_nothing_is_left():
    boxes, masks, scores = torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(5, 0)
    for name in ("fast_nms", "cc_fast_nms", "traditional_nms"):
        if name == "cc_fast_nms":
            scores = torch.zeros(1, 0)
        found = getattr(detect(), name)(boxes, masks, scores)
        assert [tuple(each.shape) for each in found] == [(0, 4), (0, 3), (0,), (0,)]


@pytest.mark.parametrize("ways", [(True, False), (True, True), (False, False)])
def test_a_call(ways):
    generator = torch.Generator().manual_seed(1)
    predictions = {
        "loc": torch.randn(2, 60, 4, generator=generator),
        "conf": torch.rand(2, 60, 6, generator=generator) ** 3,
        "mask": torch.randn(2, 60, 4, generator=generator),
        "priors": torch.rand(60, 4, generator=generator),
        "proto": torch.randn(2, 9, 11, 4, generator=generator),
    }
    predictions["conf"][1] = 0
    ours = detect()
    ours.use_fast_nms, ours.use_cross_class_nms = ways
    (first, second) = ours(predictions, "the network")
    assert second == {"detection": None, "net": "the network"}
    keep = predictions["conf"][0, :, 1:].amax(1) > 0.4
    boxes = yolact.decode(predictions["loc"][0], predictions["priors"])[keep]
    masks, scores = predictions["mask"][0, keep], predictions["conf"][0, keep, 1:].T
    name = {(True, False): "fast_nms", (True, True): "cc_fast_nms"}.get(ways, "traditional_nms")
    options = {"conf_thresh": 0.4} if name == "traditional_nms" else {"top_k": 200}
    expected = getattr(ours, name)(boxes, masks, scores, 0.5, **options)
    found = first["detection"]
    check([found[key] for key in ("box", "mask", "class", "score")], expected)
    assert torch.equal(found["proto"], predictions["proto"][0])


def test_cross_class_is_not_traditional():
    ours = detect()
    ours.use_cross_class_nms = True
    _, masks, scores = boxes = case(5)
    with pytest.warns(UserWarning, match="no traditional NMS across classes"):
        ours.detect(0, torch.cat([scores[:1], scores])[None], boxes[0], masks[None], None)


def test_decode():
    loc, priors = torch.randn(50, 4), torch.rand(50, 4)
    centres = priors[:, :2] + 0.1 * loc[:, :2] * priors[:, 2:]
    sides = priors[:, 2:] * torch.exp(0.2 * loc[:, 2:])
    expected = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    torch.testing.assert_close(yolact.decode(loc, priors), expected)
    centres, sides = priors[:, :2] + loc[:, :2], priors[:, 2:] * torch.exp(loc[:, 2:])
    expected = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    torch.testing.assert_close(yolact.decode(loc, priors, True), expected)


def test_jaccard():
    boxes = case(33)[0]
    assert torch.equal(yolact.jaccard(boxes, boxes), iou_of_all(boxes))
    batch = yolact.jaccard(boxes[None, :9].expand(2, 9, 4), boxes[None].expand(2, 33, 4))
    assert torch.equal(batch[1], iou_of_all(boxes)[:9])
    crowd = yolact.jaccard(boxes, boxes, iscrowd=True)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None]
    assert torch.equal(crowd, yolact.intersect(boxes[None], boxes[None])[0] / areas)


def test_sanitize_coordinates():
    first, second = torch.tensor([0.5, -0.1, 0.29]), torch.tensor([0.25, 0.7, 1.3])
    low, high = yolact.sanitize_coordinates(first, second, 10)
    assert (low.tolist(), high.tolist()) == ([2, 0, 2], [5, 7, 10])
    low, high = yolact.sanitize_coordinates(first, second, 10, padding=1, cast=False)
    torch.testing.assert_close(low, torch.tensor([1.5, 0, 1.9]))
    torch.testing.assert_close(high, torch.tensor([6.0, 8, 10]))


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (33, 31)])
def test_crop(size):
    boxes = case(17)[0]
    boxes[3] = float("nan")
    masks = torch.rand(*size, 17)
    for padding in (0, 1, 3):
        expected = torch.zeros_like(masks)
        for n, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            for y in range(size[0]):
                for x in range(size[1]):
                    inside = (
                        max(x1 * size[1] - padding, 0) <= x < min(x2 * size[1] + padding, size[1])
                    )
                    inside &= (
                        max(y1 * size[0] - padding, 0) <= y < min(y2 * size[0] + padding, size[0])
                    )
                    expected[y, x, n] = masks[y, x, n] * inside
        assert torch.equal(yolact.crop(masks, boxes, padding), expected)
    assert torch.equal(yolact.crop(masks, boxes), yolact.crop(masks, boxes, 1))


def outputs(count, proto=(23, 31)):
    boxes, masks, scores = case(count)
    names = ("box", "mask", "class", "score")
    found = dict(zip(names, detect().fast_nms(boxes, masks, scores), strict=True))
    found["proto"] = torch.randn(*proto, 4)
    return [{"detection": None, "net": None}, {"detection": found, "net": None}]


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_masks", [True, False])
def test_postprocess(crop_masks, mode):
    det_output = outputs(40)
    found = det_output[1]["detection"]
    before = {key: value.clone() for key, value in found.items()}
    for threshold in (0, 0.7):
        got = yolact.postprocess(det_output, 60, 47, 1, mode, False, crop_masks, threshold)
        keep = found["score"] > threshold
        soft = (found["proto"] @ found["mask"][keep].T).sigmoid()
        if crop_masks:
            soft = yolact.crop(soft, found["box"][keep])
        soft = torch.nn.functional.interpolate(soft.permute(2, 0, 1)[None], (47, 60), mode=mode)[0]
        boxes = torch.cat(
            [found["box"][keep][:, :2].clamp(min=0), found["box"][keep][:, 2:].clamp(max=1)], 1
        )
        boxes = (boxes * torch.tensor([60, 47, 60, 47])).long()
        check(got[:3], (found["class"][keep], found["score"][keep], boxes))
        masks = got[3]
        assert masks.dtype == torch.float32
        near = (soft - 0.5).abs() < 1e-5
        assert torch.equal(masks.bool() | near, (soft > 0.5) | near)
        assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert all(torch.equal(found[key], value) for key, value in before.items())


def test_postprocess_of_nothing():
    det_output = outputs(8)
    for arguments in ((0,), (1, "bilinear", False, True, 2.0)):
        found = yolact.postprocess(det_output, 60, 47, *arguments)
        assert [tuple(each.shape) for each in found] == [(0,)] * 4
    found = det_output[1]["detection"]
    none = {key: each if key == "proto" else each[:0] for key, each in found.items()}
    masks = yolact.postprocess([{"detection": none}], 60, 47)[3]
    assert masks.shape == (0, 47, 60)


BOXES, MASKS, SCORES = torch.zeros(3, 4), torch.zeros(3, 2), torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((BOXES.numpy(), MASKS, SCORES), TypeError, "boxes is a float32 array .* expected a float"),
        ((BOXES.long(), MASKS, SCORES), TypeError, "boxes is an int64 tensor"),
        ((BOXES[:, :3], MASKS, SCORES), ValueError, r"boxes has shape \(3, 3\), expected \(P, 4\)"),
        ((BOXES, MASKS[:2], SCORES), ValueError, "masks has 2 elements, expected .* of 3"),
        ((BOXES, MASKS, SCORES[:, :2]), ValueError, "scores has 2 elements, expected .* of 3"),
        ((BOXES, MASKS, SCORES[0]), TypeError, r"scores is a float32 tensor of shape \(3,\)"),
        ((BOXES, MASKS, SCORES[:0]), ValueError, "scores has shape .* at least one class"),
        ((BOXES, MASKS, SCORES, float("nan")), ValueError, "is NaN"),
        ((BOXES, MASKS, SCORES, "0.5"), TypeError, "iou_threshold is '0.5', expected a number"),
    ],
)
def test_bad_input(arguments, error, message):
    for name in ("fast_nms", "cc_fast_nms", "traditional_nms"):
        with pytest.raises(error, match=message):
            getattr(detect(), name)(*arguments)


def test_bad_settings():
    with pytest.raises(ValueError, match="nms_thresh is 0, expected more than 0"):
        yolact.Detect(6, 0, 200, 0.05, 0)
    with pytest.raises(ValueError, match="max_num_detections is 0, expected at least 1"):
        detect(max_num_detections=0)
    with pytest.raises(ValueError, match="visualize_lincomb is True"):
        yolact.postprocess(outputs(3), 5, 5, 1, visualize_lincomb=True)
    with pytest.raises(TypeError, match=r"masks is a float32 tensor of shape \(3, 2\)"):
        yolact.crop(MASKS, BOXES)
    with pytest.raises(TypeError, match=r"box_b is a float32 tensor of shape \(1, 4\)"):
        yolact.intersect(BOXES[None], BOXES[0, None])


def test_another_package_of_that_name_is_left_alone(tmp_path):
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers/__init__.py").write_text("raise SystemExit('it was imported')")
    code = """
import pyifcn
try:
    pyifcn.accelerate("yolact")
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        "yolact cannot be accelerated: the package layers on sys.path, if any, is not YOLACT's"
    )


def test_is_not_accelerated_without_it():
    if pyifcn._accelerate._is_installed("yolact"):
        pytest.skip("YOLACT's folder is on sys.path")
    with pytest.raises(ImportError, match="yolact cannot be accelerated"):
        pyifcn.accelerate("yolact")


def test_another_default_device():
    boxes, masks, scores = case(20)
    for name in ("fast_nms", "cc_fast_nms", "traditional_nms"):
        expected = getattr(detect(), name)(boxes, masks, scores)
        with torch.device("meta"):
            got = getattr(detect(), name)(boxes, masks, scores)
        check(got, expected)


def test_what_accelerate_leaves_to_the_original(monkeypatch):
    takes = yolact.REPLACEMENTS[0].covers
    assert takes(None, BOXES, MASKS, SCORES)
    assert not takes(None, BOXES, MASKS, SCORES[0])
    assert not takes(None, BOXES[0], MASKS, SCORES)
    monkeypatch.setitem(sys.modules, "layers.output_utils", None)
    takes = yolact.REPLACEMENTS[-1].covers
    for odd in ([], [{}], [{"detection": {}}], [{"detection": None}]):
        assert not takes(odd, 5, 5)
