"""mask_iou, mask_nms and masks_to_boxes against dense NumPy, pycocotools and torchvision."""

from __future__ import annotations

import numpy as np
import pytest

import pyifcn
from pyifcn import Masks, mask_iou, mask_nms, masks_to_boxes

SIZES = [(1, 1), (1, 200), (130, 1), (16, 63), (17, 64), (9, 65), (33, 127), (32, 128), (7, 129)]
KINDS = ["iou", "iof", "iomin"]


def random_dense(rng, count, size):
    """Blobs with holes all over the image, some full, some empty, some of one pixel."""
    y, x = np.mgrid[: size[0], : size[1]]
    dense = np.zeros((count, *size), bool)
    for i in range(count):
        cy, cx = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        r = rng.uniform(0.5, max(size) / 2)
        dense[i] = ((y - cy) ** 2 + (x - cx) ** 2 < r * r) & (rng.random(size) < 0.9)
    dense[::7] = False
    dense[1::7] = True
    dense[2::7, size[0] // 2, size[1] - 1] = True
    return dense


def reference_iou(a, b, kind):
    inter = np.einsum("nyx,myx->nm", a.astype(float), b.astype(float))
    mine, yours = a.sum((1, 2))[:, None], b.sum((1, 2))[None]
    over = {"iou": mine + yours - inter, "iof": mine + 0 * yours, "iomin": np.minimum(mine, yours)}
    return np.where(inter > 0, inter / np.maximum(over[kind], 1), 0)


def reference_nms(iou, scores, threshold, idxs=None):
    idxs = np.zeros(len(scores)) if idxs is None else idxs
    keep, groups = [], np.arange(len(scores))
    key = np.where(np.isnan(scores), -np.inf, -np.asarray(scores, float))
    for i in np.argsort(key, kind="stable"):
        better = [k for k in keep if iou[i, k] > threshold and idxs[i] == idxs[k]]
        if better:
            groups[i] = better[0]
        else:
            keep.append(i)
    return keep, groups.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_iou(target, size, kind):
    rng = np.random.default_rng(2)
    a, b = random_dense(rng, 40, size), random_dense(rng, 21, size)
    expected = reference_iou(a, b, kind)
    assert np.array_equal(mask_iou(a, b, kind=kind), expected)
    masks = Masks.from_dense(a)
    assert np.array_equal(masks.iou(Masks.from_dense(b), kind=kind), expected)
    assert np.array_equal(mask_iou(masks, masks, kind=kind), reference_iou(a, a, kind))
    assert np.array_equal(mask_iou(masks, masks[:], kind=kind), reference_iou(a, a, kind))


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 255, 256, 257, 300, 1000])
def test_iou_of_any_number(count):
    """Around the sizes of the tree's blocks."""
    rng = np.random.default_rng(count)
    patches = [rng.random(tuple(rng.integers(1, 9, 2))) < 0.8 for _ in range(count)]
    masks = Masks.from_patches(patches, rng.integers(-4, 70, (count, 2)), (70, 70))
    dense = masks.to_dense()
    assert np.array_equal(masks.iou(masks[::2]), reference_iou(dense, dense[::2], "iou"))


@pytest.mark.parametrize("count", [7, 20])
def test_iou_of_masks_of_many_words(count):
    """Few and many of them: a GPU counts them in different ways, in slices."""
    rng, size = np.random.default_rng(count), (1300, 700)
    dense = np.zeros((count, *size), bool)
    for mask in dense:
        y, x = rng.integers(0, 300, 2)
        mask[y : y + 900, x : x + 350] = rng.random(mask[y : y + 900, x : x + 350].shape) < 0.5
    masks, flat = Masks.from_dense(dense), dense.reshape(count, -1).astype(np.float32)
    shared, area = flat @ flat.T, dense.sum((1, 2))
    assert np.array_equal(masks.iou(masks), shared / (area[:, None] + area - shared))
    assert np.array_equal(masks.iou(masks[::-1], kind="iof"), (shared / area[:, None])[:, ::-1])


def test_pairs_that_do_not_meet_are_zero_at_any_distance():
    far = np.array([[0, 0], [2**31 - 9, 0], [0, 2**31 - 9], [2**31 - 9, 2**31 - 9]])
    masks = Masks.from_patches([np.ones((5, 5), bool)] * 4, far, (2**31 - 1, 2**31 - 1))
    assert np.array_equal(masks.iou(masks), np.eye(4))
    assert masks.nms(np.zeros(4), 0).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("threshold", [-0.5, 0, 0.3, 0.5, 0.8, 1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_nms(target, size, threshold):
    rng = np.random.default_rng(3)
    dense = random_dense(rng, 60, size)
    scores = rng.integers(0, 8, 60) / 8
    scores[::11] = np.nan
    iou = reference_iou(dense, dense, "iou")
    for idxs in (None, rng.integers(-1, 2, 60)):
        keep, groups = reference_nms(iou, scores, threshold, idxs)
        got = mask_nms(dense, scores, threshold, idxs=idxs)
        assert got.dtype == np.int64
        assert got.tolist() == keep
        got, got_groups = mask_nms(dense, scores, threshold, idxs=idxs, return_groups=True)
        assert got.tolist() == keep
        assert got_groups.tolist() == groups


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 700])
def test_nms_with_threads(count):
    """Crowds that threads compare, a block of masks at once."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    patches = [rng.random(tuple(rng.integers(5, 20, 2))) < 0.9 for _ in range(count)]
    masks = Masks.from_patches(patches, rng.integers(0, 60, (count, 2)), (70, 90))
    scores = rng.integers(0, 99, count)
    keep, groups = reference_nms(masks.iou(masks), scores, 0.2)
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        assert masks.nms(scores, 0.2).tolist() == keep
        assert mask_nms(masks, scores, 0.2, return_groups=True)[1].tolist() == groups
    torch.set_num_threads(before)


def test_many_tiny_masks():
    count, side = 100_000, 8000
    rng = np.random.default_rng(5)
    patches = [np.ones(tuple(shape), bool) for shape in rng.integers(1, 6, (count, 2))]
    masks = Masks.from_patches(patches, rng.integers(0, side, (count, 2)), (side, side))
    scores = rng.random(count)
    keep, groups = masks.nms(scores, 0.3, return_groups=True)
    kept, order = masks[keep], rng.permutation(len(keep))[:2000]
    assert len(keep) < count
    mine = kept[order].iou(kept[order[:500]])
    assert (mine[~np.eye(2000, 500, dtype=bool)] <= 0.3).all()
    assert np.array_equal(groups[keep], keep)
    gone = np.setdiff1d(np.arange(count), keep)[:300]
    found = np.diag(masks[gone].iou(masks[groups[gone]]))
    assert (found > 0.3).all()
    assert (scores[groups[gone]] >= scores[gone]).all()


def test_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    dense = random_dense(rng, 20, (33, 70))
    scores, idxs = rng.random(20), rng.integers(0, 2, 20)
    tensor = torch.from_numpy(dense)
    for masks in (tensor, tensor.to(torch.uint8), Masks.from_dense(tensor)):
        got = mask_iou(masks, masks)
        assert got.dtype == torch.float64
        assert np.array_equal(got.numpy(), mask_iou(dense, dense))
        for given in (torch.from_numpy(scores), torch.from_numpy(scores).requires_grad_()):
            got = mask_nms(masks, given, 0.4, idxs=torch.from_numpy(idxs), return_groups=True)
            want = mask_nms(dense, scores, 0.4, idxs=idxs, return_groups=True)
            assert all(g.dtype == torch.int64 for g in got)
            assert all(map(np.array_equal, got, want))
        boxes = masks_to_boxes(masks)
        assert boxes.dtype == torch.float32
        assert np.array_equal(boxes.numpy(), masks_to_boxes(dense))
    coarse = torch.tensor([1, 2, 3] * 6 + [0, 0], dtype=torch.bfloat16)
    assert torch.equal(mask_nms(tensor, coarse, 0.4), mask_nms(tensor, coarse.float(), 0.4))


@pytest.mark.parametrize("size", SIZES)
def test_masks_to_boxes(target, size):
    dense = random_dense(np.random.default_rng(7), 30, size)
    expected = np.zeros((30, 4), np.float32)
    for mask, box in zip(dense, expected, strict=True):
        if mask.any():
            y, x = np.nonzero(mask)
            box[:] = x.min(), y.min(), x.max(), y.max()
    got = masks_to_boxes(dense)
    assert got.dtype == np.float32
    assert np.array_equal(got, expected)


def test_masks_to_boxes_as_torchvision():
    ops = pytest.importorskip("torchvision.ops")
    torch = pytest.importorskip("torch")
    dense = torch.from_numpy(random_dense(np.random.default_rng(8), 30, (40, 70)))
    dense = dense[dense.any(2).any(1)]
    assert torch.equal(masks_to_boxes(dense), ops.masks_to_boxes(dense))


def test_bad_input():
    good = Masks.from_dense(np.ones((2, 3, 4), bool))
    with pytest.raises(ValueError, match="differ in size"):
        mask_iou(good, np.ones((1, 4, 4), bool))
    with pytest.raises(TypeError, match="other is a bool array of shape"):
        good.iou(good.to_dense())
    with pytest.raises(TypeError, match="b is a float64 array of shape"):
        mask_iou(good, np.ones((1, 3, 4)))
    with pytest.raises(ValueError, match="kind is 'giou', expected 'iou', 'iof' or 'iomin'"):
        mask_iou(good, good, kind="giou")
    with pytest.raises(ValueError, match=r"scores has shape \(3,\), expected \(2,\)"):
        mask_nms(good, np.zeros(3), 0.5)
    with pytest.raises(TypeError, match="scores is a complex128 array of shape"):
        mask_nms(good, np.zeros(2, complex), 0.5)
    with pytest.raises(TypeError, match="idxs is a float64 array of shape"):
        mask_nms(good, np.zeros(2), 0.5, idxs=np.zeros(2))
    with pytest.raises(ValueError, match=r"idxs has shape \(1,\), expected \(2,\)"):
        mask_nms(good, np.zeros(2), 0.5, idxs=[0])
    with pytest.raises(ValueError, match="iou_threshold is nan"):
        mask_nms(good, np.zeros(2), np.nan)
    with pytest.raises(TypeError, match="iou_threshold is None"):
        mask_nms(good, np.zeros(2), None)
    with pytest.raises(TypeError, match="masks is a list, expected bool or uint8"):
        pyifcn.masks_to_boxes([[1, 2], [3]])
    with pytest.raises(TypeError, match="kind is None, expected a string"):
        mask_iou(good, good, kind=None)
    for several in (np.array([0.5, 0.6]), np.array([0.5])):
        with pytest.raises(TypeError, match="iou_threshold is a float64 array of shape"):
            mask_nms(good, np.zeros(2), several)


def test_tensors_without_elements():
    torch = pytest.importorskip("torch")
    good = Masks.from_dense(np.ones((2, 3, 4), bool))
    with torch.device("meta"):
        calls = {
            "array": lambda: Masks.from_dense(torch.ones(1, 3, 4, dtype=torch.bool)),
            "image": lambda: Masks.from_labels(torch.ones(3, 4, dtype=torch.int64)),
            "values": lambda: good.to_labels(torch.ones(2, dtype=torch.int64)),
            "index": lambda: good[torch.zeros(2, dtype=torch.int64)],
            "scores": lambda: good.nms(torch.ones(2), 0.5),
        }
        for name, call in calls.items():
            with pytest.raises(TypeError, match=f"{name} is on meta"):
                call()
