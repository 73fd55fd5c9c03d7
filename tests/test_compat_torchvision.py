"""`pyifcn.compat.torchvision` and `.detectron2` against slow references, and what they refuse."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="it works on torch tensors")

import torch

import pyifcn
from pyifcn.compat import detectron2, torchvision

SIZES = [0, 1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 300]


def reference_nms(boxes, scores, threshold):
    order, keep = np.argsort(-scores, kind="stable"), []
    while len(order):
        i, order = order[0], order[1:]
        keep.append(int(i))
        low, high = (
            np.maximum(boxes[i, :2], boxes[order, :2]),
            np.minimum(boxes[i, 2:], boxes[order, 2:]),
        )
        inter = np.maximum(high - low, 0).prod(1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        with np.errstate(all="ignore"):
            iou = inter / (areas[i] + areas[order] - inter)
        order = order[~(iou.astype(float) > threshold)]
    return keep


def case(count):
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, 60, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0, 30, (count, 2))]).round()
    return boxes.astype(np.float32), rng.permutation(count).astype(np.float32)


@pytest.mark.parametrize("count", SIZES)
def test_nms(count):
    boxes, scores = case(count)
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
    idxs = np.random.default_rng(0).integers(0, 3, count)
    for threshold in (0.3, 0.5):
        assert torchvision.nms(*tensors, threshold).tolist() == reference_nms(
            boxes, scores, threshold
        )
        apart = boxes + 1000 * idxs[:, None].astype(np.float32)
        expected = reference_nms(apart, scores, threshold)
        for dtype in (torch.int64, torch.int32, torch.float32):
            some = torch.from_numpy(idxs).to(dtype)
            for module in (torchvision, detectron2):
                assert module.batched_nms(*tensors, some, threshold).tolist() == expected
        double = tensors[0].double(), tensors[1], torch.from_numpy(idxs)
        assert detectron2.batched_nms(*double, threshold).tolist() == expected


def test_many_boxes_of_equal_scores():
    boxes, scores = (torch.from_numpy(a) for a in case(1500))
    scores, idxs = (scores % 9).contiguous(), torch.arange(1500) % 4
    keep = torchvision.batched_nms(boxes, scores, idxs, 0.5)
    assert sorted(keep.tolist()) == sorted(pyifcn.batched_nms(boxes, scores, idxs, 0.5).tolist())
    assert (scores[keep].diff() <= 0).all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float64])
def test_masks_to_boxes(rng, dtype):
    masks = rng.random((20, 9, 70)) < 0.02
    masks[3] = False
    expected = np.zeros((20, 4))
    for i in np.flatnonzero(masks.any((1, 2))):
        y, x = np.nonzero(masks[i])
        expected[i] = x.min(), y.min(), x.max(), y.max()
    got = torchvision.masks_to_boxes(torch.from_numpy(masks).to(dtype))
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got.numpy(), expected)
    assert torchvision.masks_to_boxes(torch.zeros(3, 0, 5, dtype=dtype)).shape == (0, 4)


def test_pooling():
    maps = torch.arange(4.0).repeat_interleave(36).reshape(1, 4, 6, 6).requires_grad_()
    rois = torch.tensor([[0.0, 1, 1, 5, 5]])
    for name in ("pool", "align"):
        function = getattr(torchvision, f"ps_roi_{name}")
        expected = getattr(pyifcn, f"ps_roi_{name}")(maps, rois, 2)
        assert torch.equal(function(maps, rois, 2), expected)
        assert torch.equal(function(maps, [rois[:, 1:]], output_size=(2, 2)), expected)
        module = getattr(torchvision, {"pool": "PSRoIPool", "align": "PSRoIAlign"}[name])
        made = module(2, 1.0, *([-1] if name == "align" else []))
        assert torch.equal(made(maps, rois), expected)
        expected.sum().backward()
        assert maps.grad.sum() > 0
    assert repr(torchvision.PSRoIPool(2, 0.5)) == "PSRoIPool(output_size=2, spatial_scale=0.5)"
    assert repr(torchvision.PSRoIAlign(2, 0.5, -1)) == (
        "PSRoIAlign(output_size=2, spatial_scale=0.5, sampling_ratio=-1)"
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_pasting(rng, dtype):
    masks = torch.from_numpy(rng.random((9, 1, 7, 7))).to(dtype)
    corners = rng.uniform(-5, 50, (9, 2))
    boxes = torch.from_numpy(np.hstack([corners, corners + 20])).float()
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    name = str(computed).removeprefix("torch.")
    expected = pyifcn.paste_masks(masks, boxes, (40, 70), threshold=None, out=name)
    got = torchvision.paste_masks_in_image(masks, boxes, (40, 70))
    assert got.shape == (9, 1, 40, 70)
    assert torch.equal(got[:, 0], expected.to(dtype))
    whole = torchvision.paste_masks_in_image(masks, boxes.long(), (40, 70))
    assert torch.equal(
        whole, torchvision.paste_masks_in_image(masks, boxes.long().float(), (40, 70))
    )
    assert torchvision.paste_masks_in_image(masks[:0], boxes[:0], (4, 7)).shape == (0, 1, 4, 7)
    for least, out in ((0.5, "bool"), (-1, "uint8")):
        got = detectron2.paste_masks_in_image(
            masks[:, 0], SimpleNamespace(tensor=boxes), (40, 70), least
        )
        expected = pyifcn.paste_masks(
            *(masks, boxes, (40, 70)),
            threshold=None if least < 0 else least,
            convention="detectron2",
            out=out,
        )
        assert torch.equal(got, expected)
    empty = detectron2.paste_masks_in_image(masks[:0, 0], boxes[:0], (4, 7))
    assert (empty.shape, empty.dtype) == ((0, 4, 7), torch.uint8)


def some_masks():
    masks = torch.zeros(6, 8, 9, dtype=torch.bool)
    masks[0, 1:5, 1:5] = masks[1, 2:5, 1:5] = masks[2, 1:5, 2:9] = masks[3, 1:5, 1:5] = True
    labels = torch.tensor([1, 1, 1, 2, 1, 1])  # the last two are empty
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.5])
    return labels, masks, masks.sum((1, 2)).float(), scores


def test_mask_nms():
    labels, masks, areas, scores = some_masks()
    keep = detectron2.mask_nms(labels, masks, areas, scores)
    assert keep.dtype == torch.bool
    assert keep.tolist() == [True, False, True, True, True, False]
    single = detectron2.mask_nms(labels, masks.float(), areas, scores, 0.9)
    assert single.dtype == torch.float32
    assert single.tolist() == [1, 1, 1, 1, 1, 0]
    assert detectron2.mask_nms(labels[:0], masks[:0], areas[:0], scores[:0]) == []


def test_matrix_nms():
    labels, masks, areas, scores = (t[:4] for t in some_masks())
    flat = masks.reshape(4, -1).double()
    inter = flat @ flat.T
    iou = inter / (areas[:, None] + areas - inter)
    iou = (iou * (labels[:, None] == labels)).triu(1)
    most = iou.max(0).values[:, None]
    gaussian = ((-2 * iou**2).exp() / (-2 * most**2).exp()).min(0).values * scores
    linear = ((1 - iou) / (1 - most)).min(0).values * scores
    case = labels, masks, areas, scores
    torch.testing.assert_close(detectron2.matrix_nms(*case), gaussian.float())
    torch.testing.assert_close(detectron2.matrix_nms(*case, kernel="linear"), linear.float())
    assert detectron2.matrix_nms(*(t[:0] for t in case)) == []


class Instances(SimpleNamespace):
    def __getitem__(self, which):
        return self.scores[which].tolist()


def test_ml_nms():
    boxes, scores = (torch.from_numpy(a) for a in case(50))
    found = Instances(
        pred_boxes=SimpleNamespace(tensor=boxes), scores=scores, pred_classes=torch.arange(50) % 2
    )
    keep = torchvision.batched_nms(boxes, scores, found.pred_classes, 0.5)
    assert detectron2.ml_nms(found, 0.5) == scores[keep].tolist()
    assert detectron2.ml_nms(found, 0.5, 3) == scores[keep[:3]].tolist()
    assert detectron2.ml_nms(found, 0) is found


B, S = torch.zeros(2, 4), torch.zeros(2)
M = torch.zeros(2, 1, 5, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: torchvision.nms(B.numpy(), S.numpy(), 0.5), TypeError, "boxes is a float32 array"),
        (lambda: torchvision.nms(B, S.double(), 0.5), TypeError, "scores is float64"),
        (lambda: torchvision.nms(B, S[:1], 0.5), ValueError, "scores has 1 elements"),
        (lambda: torchvision.batched_nms(B, S, S + 0.5, 0.5), ValueError, "idxs holds a number"),
        (lambda: torchvision.batched_nms(B, S, [0, 0], 0.5), TypeError, "idxs is a list"),
        (lambda: torchvision.masks_to_boxes(S), TypeError, "masks is a bool tensor of shape"),
        (lambda: torchvision.ps_roi_pool(None, B, 3), TypeError, "input is None"),
        (
            lambda: torchvision.paste_masks_in_image(M[:, 0], B, (9, 9)),
            TypeError,
            r"masks is a float32 tensor of shape \(2, 5, 5\), expected floating \(N, 1, M, M\)",
        ),
        (
            lambda: torchvision.paste_masks_in_image(M[..., :4], B, (9, 9)),
            ValueError,
            r"masks has shape \(2, 1, 5, 4\), expected square masks",
        ),
        (
            lambda: torchvision.paste_masks_in_image(M, B, (9, 9), 2),
            ValueError,
            "padding is 2, expected 1",
        ),
        (
            lambda: torchvision.paste_masks_in_image(M, B[:1], (9, 9)),
            ValueError,
            r"boxes has shape \(1, 4\), expected \(2, 4\)",
        ),
        (lambda: detectron2.batched_nms(B[:, :3], S, S, 0.5), ValueError, r"expected a tensor"),
        (
            lambda: detectron2.paste_masks_in_image(M, B, (9, 9)),
            TypeError,
            r"masks is a float32 tensor .*, expected a tensor \(N, M, M\)",
        ),
        (
            lambda: detectron2.paste_masks_in_image(M[:, 0, :4], B, (9, 9)),
            ValueError,
            "expected square masks",
        ),
        (
            lambda: detectron2.matrix_nms(S, M[:, 0] + 0.5, S, S),
            ValueError,
            "seg_masks holds numbers other than 0 and 1",
        ),
        (
            lambda: detectron2.mask_nms(S.long(), M[:, 0], S + 1, S),
            ValueError,
            r"sum_masks\[0\] is 1.0, but the mask has 0 pixels",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_swap_align2nat():
    maps = torch.randn(2, 9, 7, 10, requires_grad=True)
    module = detectron2.SwapAlign2Nat(2, pad_val=-4)
    out = module(maps)
    assert torch.equal(out, pyifcn.swap_align2nat(maps, 2, -4.0))
    out.sum().backward()
    assert maps.grad.shape == maps.shape
    assert repr(module) == "SwapAlign2Nat(lambda_val=2, pad_val=-4.0)"
    with pytest.raises(ValueError, match="lambda_val is 0, expected at least 1"):
        detectron2.SwapAlign2Nat(0)


def test_another_default_device_or_dtype():
    case = labels, masks, areas, scores = some_masks()
    expected = detectron2.matrix_nms(*case), detectron2.mask_nms(*case)
    with torch.device("meta"):
        got = detectron2.matrix_nms(*case), detectron2.mask_nms(*case)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    half = detectron2.matrix_nms(labels, masks, areas, scores.half())
    assert torch.equal(half, detectron2.matrix_nms(labels, masks, areas, scores.half().float()))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert torchvision.masks_to_boxes(masks[:0]).dtype == torch.float32
    finally:
        torch.set_default_dtype(before)


def test_what_accelerate_leaves_to_the_original():
    covers = {r.ours: r.covers for r in torchvision.REPLACEMENTS + detectron2.REPLACEMENTS}
    maps, rois = torch.zeros(2, 4, 6, 6), torch.tensor([[1.0, 1, 1, 5, 5]])
    for function in (torchvision.ps_roi_pool, torchvision.ps_roi_align):
        takes = covers[function]
        for boxes, size in ((rois, 2), (rois[:0], (2, 2)), ([rois[:, 1:]] * 2, [2, 2])):
            assert takes(maps, boxes, size, 0.5)
        assert takes(maps, rois * torch.nan, 2)  # a ValueError
        for boxes, size, scale in (
            ([rois[:, 1:]], 2, 1.0),
            (rois, torch.tensor([2, 2]), 1.0),
            (rois, np.array([2, 2]), 1.0),
            (rois + 0.5, 2, 1.0),
            (rois, 2, 0.0),
            (rois, 2, -1.0),
        ):
            assert not takes(maps, boxes, size, spatial_scale=scale)
    takes = covers[torchvision.paste_masks_in_image]
    assert takes(M, B, (9, 9))
    assert not takes(M.byte(), B, (9, 9))
    labels, masks, areas, scores = some_masks()
    for function in (detectron2.matrix_nms, detectron2.mask_nms):
        assert covers[function](labels, masks, areas, scores)
        assert not covers[function](labels.float(), masks, areas, scores)
        assert not covers[function](labels > 1, masks, areas, scores)
