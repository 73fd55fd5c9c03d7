"""`pyifcn.compat.mmcv` against slow references of what mmcv's and mmdet's functions do."""

import inspect

import numpy as np
import pytest

pytest.importorskip("torch", reason="it works on torch tensors")

import torch

from pyifcn.compat import mmcv

SIZES = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200]


def iou_with(box, boxes, offset):
    """As mmcv's C++ computes it, in float32."""
    one = np.float32(offset)
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    inter = np.maximum(high - low + one, 0).prod(1)
    area, areas = (box[2:] - box[:2] + one).prod(), (boxes[:, 2:] - boxes[:, :2] + one).prod(1)
    with np.errstate(all="ignore"):
        return inter / (area + areas - inter)


def reference_nms(boxes, scores, threshold, offset=0, score_threshold=0, max_num=-1):
    order = np.argsort(-scores, kind="stable")
    if score_threshold > 0:
        order = order[scores[order] > np.float32(score_threshold)]
    keep = []
    while len(order):
        i, order = order[0], order[1:]
        keep.append(i)
        order = order[~(iou_with(boxes[i], boxes[order], offset) > np.float32(threshold))]
    keep = np.array(keep[: max_num if max_num > 0 else None], int)
    return np.hstack([boxes[keep], scores[keep, None]]), keep


def reference_soft(boxes, scores, threshold, sigma, least, method, offset):
    scores, left, found = scores.copy(), list(range(len(scores))), []
    while left:
        i = max(left, key=lambda k: scores[k])
        left.remove(i)
        found.append(i)
        if not left:
            break
        iou = iou_with(boxes[i], boxes[left], offset)
        weights = {
            "naive": np.where(iou >= np.float32(threshold), 0, 1),
            "linear": np.where(iou >= np.float32(threshold), 1 - iou, 1),
            "gaussian": np.exp(-(iou * iou) / np.float32(sigma)),
        }[method].astype(np.float32)
        scores[left] *= weights
        left = [k for k in left if scores[k] >= np.float32(least)]
    found = np.array(found, int)
    return np.hstack([boxes[found], scores[found, None]]), found


def case(rng, count):
    corners = rng.uniform(0, 60, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 30, (count, 2))]).round()
    return boxes.astype(np.float32), ((rng.permutation(count) + 1) / (count + 1)).astype(np.float32)


def both_kinds(function, boxes, scores, *arguments, **options):
    """Calls with arrays and with tensors, and returns the arrays."""
    dets, inds = function(boxes, scores, *arguments, **options)
    assert isinstance(dets, np.ndarray)
    assert inds.dtype == np.int64
    tensors = function(torch.from_numpy(boxes), torch.from_numpy(scores), *arguments, **options)
    for tensor, array in zip(tensors, (dets, inds), strict=True):
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(tensor.numpy(), array)
    return dets, inds


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("count", SIZES)
def test_nms(target, count, offset):
    boxes, scores = case(np.random.default_rng(count), count)
    boxes += np.float32(0.1)  # not whole
    for options in ({}, {"score_threshold": 0.4}, {"max_num": 3}):
        for threshold in (0, 0.3, 0.5, 0.7):
            got = both_kinds(mmcv.nms, boxes, scores, threshold, offset, **options)
            expected = reference_nms(boxes, scores, threshold, offset, **options)
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("count", SIZES)
def test_soft_nms(count, method, offset):
    boxes, scores = case(np.random.default_rng(count), count)
    for threshold, sigma, least in ((0.3, 0.5, 1e-3), (0.5, 0.3, 0.3), (0.3, 0.5, 2.0)):
        arguments = (threshold, sigma, least, method, offset)
        got = both_kinds(mmcv.soft_nms, boxes, scores, *arguments)
        expected = reference_soft(boxes, scores, *arguments)
        np.testing.assert_array_equal(got[1], expected[1])
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
        assert got[0].dtype == np.float32


@pytest.mark.parametrize("count", [0, 1, 65, 300])
def test_batched_nms(count):
    rng = np.random.default_rng(count)
    boxes, scores = map(torch.from_numpy, case(rng, count))
    idxs = torch.from_numpy(rng.integers(0, 4, count))
    for kind in ("nms", "soft_nms"):
        for more in ({}, {"max_num": 5} if kind == "nms" else {"min_score": 0.2}):
            config = {"type": kind, "iou_threshold": 0.5, **more}
            dets, keep = mmcv.batched_nms(boxes, scores, idxs, config)
            split, split_keep = mmcv.batched_nms(boxes, scores, idxs, {**config, "split_thr": 1})
            torch.testing.assert_close(split, dets)  # the coordinates are whole
            assert torch.equal(split_keep, keep)
            assert torch.equal(dets[:, :4], boxes[keep])
            assert "type" in config  # not taken out
            function = getattr(mmcv, kind)
            alone = function(boxes, scores, 0.5, **more)
            together = mmcv.batched_nms(boxes, scores, idxs, config, class_agnostic=True)
            for a, b in zip(together, alone, strict=True):
                torch.testing.assert_close(a, b)
            config["type"] = function
            assert torch.equal(mmcv.batched_nms(boxes, scores, idxs, config)[0], dets)
    dets, keep = mmcv.batched_nms(boxes, scores, idxs, None)
    assert torch.equal(keep, scores.argsort(descending=True))
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[keep])


@pytest.mark.parametrize("count", SIZES)
def test_nms_match(count):
    boxes, scores = case(np.random.default_rng(count), count)
    dets = np.hstack([boxes, scores[:, None]])
    for threshold in (0.3, 0.5):
        expected, left = [], np.argsort(-scores, kind="stable")
        while len(left):
            i, left = left[0], left[1:]
            gone = iou_with(boxes[i], boxes[left], 0) >= np.float32(threshold)
            expected.append([i, *left[gone]])
            left = left[~gone]
        got = mmcv.nms_match(dets, threshold)
        assert [group.tolist() for group in got] == expected
        assert all(isinstance(group, np.ndarray) and group.dtype == int for group in got)
        tensors = mmcv.nms_match(torch.from_numpy(dets), threshold)
        assert [group.tolist() for group in tensors] == expected
        assert all(group.dtype == torch.long for group in tensors)


def reference_matrix(masks, labels, scores, kernel="gaussian", sigma=2.0):
    """Masks are by falling score."""
    flat = masks.reshape(len(masks), -1).astype(float)
    inter = flat @ flat.T
    area = flat.sum(1)
    iou = np.triu(inter / (area[:, None] + area - inter), 1) * (labels[:, None] == labels)
    most = iou.max(0)[:, None]
    if kernel == "linear":
        return scores * ((1 - iou) / (1 - most)).min(0)
    return scores * (np.exp(-sigma * iou**2) / np.exp(-sigma * most**2)).min(0)


def some_masks(rng, count, size=(24, 40)):
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        y, x = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 20)
        mask[y : y + rng.integers(3, 12), x : x + rng.integers(3, 20)] = True
    return masks


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_mask_matrix_nms(rng, kernel):
    masks = some_masks(rng, 40)
    labels, scores = rng.integers(0, 3, 40), rng.random(40).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    lowered = reference_matrix(masks[order], labels[order], scores[order], kernel)
    tensors = [torch.from_numpy(a) for a in (masks, labels, scores)]
    for options, few in (
        ({}, lowered),
        ({"mask_area": tensors[0].sum((1, 2)).float()}, lowered),
        ({"filter_thr": 0.2}, lowered[lowered >= 0.2]),
        ({"max_num": 7}, np.sort(lowered)[-7:]),
    ):
        got, got_labels, got_masks, keep = mmcv.mask_matrix_nms(*tensors, kernel=kernel, **options)
        np.testing.assert_allclose(got.numpy(), np.sort(few)[::-1], rtol=1e-5)
        assert torch.equal(got_labels, tensors[1][keep])
        assert torch.equal(got_masks, tensors[0][keep])
    got = mmcv.mask_matrix_nms(*tensors, nms_pre=9, kernel=kernel)
    first = order[:9]
    expected = reference_matrix(masks[first], labels[first], scores[first], kernel)
    np.testing.assert_allclose(got[0].numpy(), np.sort(expected)[::-1], rtol=1e-5)
    whole = mmcv.mask_matrix_nms(tensors[0].float(), *tensors[1:], kernel=kernel)
    assert whole[2].dtype == torch.float32
    for options, some in (({}, slice(0)), ({"filter_thr": 2}, slice(None))):
        none = mmcv.mask_matrix_nms(*(t[some] for t in tensors), kernel=kernel, **options)
        assert [tuple(t.shape) for t in none] == [(0,), (0,), (0, 24, 40), (0,)]


def test_the_names_of_arguments():
    names = {
        mmcv.nms: "boxes scores iou_threshold offset score_threshold max_num",
        mmcv.soft_nms: "boxes scores iou_threshold sigma min_score method offset",
        mmcv.batched_nms: "boxes scores idxs nms_cfg class_agnostic",
        mmcv.nms_match: "dets iou_threshold",
        mmcv.mask_matrix_nms: "masks labels scores filter_thr nms_pre max_num kernel sigma "
        "mask_area",
    }
    for function, expected in names.items():
        assert list(inspect.signature(function).parameters) == expected.split()


def test_the_old_name_of_the_threshold():
    boxes, scores = case(np.random.default_rng(0), 20)
    with pytest.warns(DeprecationWarning, match="iou_thr is iou_threshold now"):
        _, inds = mmcv.nms(boxes, scores, iou_thr=0.5)
    assert inds.tolist() == mmcv.nms(boxes, scores, 0.5)[1].tolist()
    with pytest.raises(ValueError, match="iou_thr and iou_threshold are the same"):
        mmcv.nms(boxes, scores, iou_threshold=0.5, iou_thr=0.5)


B, S = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)
TB, TS = torch.from_numpy(B), torch.from_numpy(S)
M, L = torch.zeros(2, 3, 4, dtype=torch.bool), torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mmcv.nms([[0, 0, 1, 1]], S, 0.5), TypeError, "boxes is a list, expected a ten"),
        (lambda: mmcv.nms(B, [0, 1], 0.5), TypeError, "scores is a list, expected a tensor"),
        (lambda: mmcv.nms(B[:, :3], S, 0.5), ValueError, r"boxes has shape \(2, 3\)"),
        (lambda: mmcv.nms(B, S[:1], 0.5), ValueError, "scores has 1 elements"),
        (lambda: mmcv.nms(B, S[:1], 0.5, 1), ValueError, "scores has 1 elements"),
        (lambda: mmcv.nms(B, S, 0.5, 2), ValueError, "offset is 2, expected 0 or 1"),
        (lambda: mmcv.nms(B, S, np.nan), ValueError, "iou_threshold is NaN"),
        (lambda: mmcv.nms(B.astype(int), S, 0.5, 1), TypeError, "boxes is int64"),
        (lambda: mmcv.soft_nms(B, S, method="hard"), ValueError, "method is 'hard', expected"),
        (
            lambda: mmcv.soft_nms(B, S, method="naive", min_score=0),
            ValueError,
            "min_score is 0.0 with method='naive', expected more than 0",
        ),
        (lambda: mmcv.batched_nms(B, S, S, {}), TypeError, "boxes is a float32 array"),
        (
            lambda: mmcv.batched_nms(torch.zeros(2, 5), TS, L, {}),
            ValueError,
            r"boxes has shape \(2, 5\), expected \(N, 4\)",
        ),
        (
            lambda: mmcv.batched_nms(TB, TS, L, {"type": "nms_rotated"}),
            ValueError,
            "is 'nms_rotated', expected 'nms', 'soft_nms' or a function",
        ),
        (lambda: mmcv.nms_match(B, 0.5), ValueError, r"dets has shape \(2, 4\), expected"),
        (lambda: mmcv.nms_match([1], 0.5), TypeError, "dets is a list"),
        (
            lambda: mmcv.mask_matrix_nms(M, L[:1], TS),
            ValueError,
            "are 1, 2 and 2, expected as many of each",
        ),
        (
            lambda: mmcv.mask_matrix_nms(M, L, TS, kernel="cubic"),
            NotImplementedError,
            "kernel is 'cubic'",
        ),
        (
            lambda: mmcv.mask_matrix_nms(M + 0.5, L, TS),
            ValueError,
            "masks holds numbers other than 0 and 1",
        ),
        (
            lambda: mmcv.mask_matrix_nms(M, L, TS, mask_area=TS + 1),
            ValueError,
            r"mask_area\[0\] is 1.0, but the mask has 0 pixels",
        ),
        (
            lambda: mmcv.mask_matrix_nms(M, L, TS, mask_area=TS[:0]),
            (ValueError, IndexError),
            "mask_area|index",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_boxes_whose_score_is_nan_stay_where_categories_are_apart():
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]])
    scores, idxs = torch.tensor([0.5, torch.nan, 0.7]), torch.tensor([0, 0, 1])
    config = {"iou_threshold": 0.5, "split_thr": 1}
    assert sorted(mmcv.batched_nms(boxes, scores, idxs, config)[1].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_mask_matrix_nms_is_float32_at_least(rng, dtype):
    masks = torch.from_numpy(some_masks(rng, 9))
    labels, scores = torch.zeros(9, dtype=torch.long), torch.from_numpy(rng.random(9)).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    expected = mmcv.mask_matrix_nms(masks, labels, scores.to(wide))
    for options in ({}, {"filter_thr": 2}):
        assert mmcv.mask_matrix_nms(masks, labels, scores, **options)[0].dtype == wide
    assert torch.equal(mmcv.mask_matrix_nms(masks, labels, scores)[0], expected[0])


def test_another_default_device(rng):
    masks = torch.from_numpy(some_masks(rng, 5))
    labels, scores = torch.zeros(5, dtype=torch.long), torch.from_numpy(rng.random(5))
    areas = masks.sum((1, 2))
    expected = mmcv.mask_matrix_nms(masks, labels, scores, mask_area=areas)
    with torch.device("meta"):
        got = mmcv.mask_matrix_nms(masks, labels, scores, mask_area=areas)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_what_accelerate_leaves_to_the_original():
    covers = {r.ours: r.covers for r in mmcv.REPLACEMENTS}
    for name in ("nms", "soft_nms"):
        takes = covers[getattr(mmcv, name)]
        assert takes(B, S, 0.5)
        assert takes(TB, TS, iou_threshold=0.5)
        for boxes, scores in (
            (B, S.astype(float)),
            (B, TS),
            (TB, S),
            (TB, TS.double()),
            (TB, L),
            (TB[0], TS),
            (B, S[:1]),
        ):
            assert not takes(boxes, scores, 0.5)
    assert not takes(B, S, min_score=0, method="naive")
    takes = covers[mmcv.batched_nms]
    assert takes(TB, TS, L, {"type": "soft_nms"})
    assert takes(TB, TS, L, None)
    for boxes, scores in ((TB, TS.double()), (TB[0], TS), (torch.zeros(2, 5), TS), (B, S)):
        assert not takes(boxes, scores, L, {})
    assert covers[mmcv.nms_match](torch.zeros(2, 5), 0.5)
    assert not covers[mmcv.nms_match](S, 0.5)
    takes = covers[mmcv.mask_matrix_nms]
    assert takes(M, L, TS)
    for masks, labels in ((M, L.float()), (M, L > 0), (M.float(), L)):
        assert not takes(masks, labels, TS)
