"""On a GPU: the CPU's answers bit for bit, on torch's stream, without waiting.

The tests that are not marked `gpu` run under the emulation as well.
"""

import dataclasses
import importlib
import os
import pickle
import shutil
import sys

import numpy as np
import pytest
from cuda_emulation import operators
from optional import torch
from test_nms import falling_order, some_scores

import pyifcn
import pyifcn._array as _array
from pyifcn import Masks
from pyifcn._array import is_tensor

EMULATED = "PYIFCN_CUDA_EMULATION" in os.environ
DEVICE = "cpu" if EMULATED else "cuda"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
no_kernels = pytest.mark.skipif(
    not EMULATED and not torch.cuda.is_available(), reason="torch finds no GPU"
)


def on_gpu(function):
    return pytest.mark.gpu(no_gpu(function))


def random_windows(rng, count, shape):
    images, _, height, width = shape
    return torch.from_numpy(
        np.stack([rng.integers(0, n, count) for n in (images, height, width)], 1)
    )


def clustered_boxes(rng, count, dtype):
    objects = rng.uniform(0, 500, (max(1, count // 20), 4))
    objects[:, 2:] = objects[:, :2] + rng.uniform(8, 80, (len(objects), 2))
    boxes = objects[rng.integers(0, len(objects), count)] + rng.normal(0, 3, (count, 4))
    scores = rng.integers(0, 1 + count // 3, count)  # ties
    return torch.from_numpy(boxes).to(dtype), torch.from_numpy(scores).to(dtype)


@no_kernels
@pytest.mark.parametrize("dtype", FLOATS)
def test_windows_outside_the_maps_are_nan(dtype):
    maps = torch.ones(2, 9, 6, 7, dtype=dtype, device=DEVICE)
    centres = [
        [0, 5, 6],
        [-1, 0, 0],
        [2, 0, 0],
        [0, 6, 0],
        [0, 0, 7],
        [0, -(2**62), 2**62],
        [1, 0, 0],
    ]
    windows = torch.tensor(centres, device=DEVICE)
    got = pyifcn.assemble(maps, windows, 5)
    assert not got[[0, 6]].isnan().any()
    assert got[1:6].isnan().all()
    maps.requires_grad_()
    grad = torch.ones(len(windows), 5, 5, dtype=dtype, device=DEVICE)
    (got,) = torch.autograd.grad(pyifcn.assemble(maps, windows, 5), maps, grad)
    (expected,) = torch.autograd.grad(pyifcn.assemble(maps, windows[[0, 6]], 5), maps, grad[:2])
    assert torch.equal(got, expected)


@no_kernels
def test_masks_of_windows_outside_the_maps_are_empty():
    maps = [torch.ones(1, 4, 16, 16, device=DEVICE)]
    objectness = [torch.ones(1, 16, 16, device=DEVICE)]
    (found,) = pyifcn.propose(
        maps, objectness, strides=[8], image_size=(128, 128), size=6, iou_threshold=1
    )
    outside = [[0, 7, 8], [1, 7, 8], [-1, 7, 8], [2**62, 0, 0], [0, 16, 8], [0, 7, -1]]
    windows = torch.tensor(outside, device=DEVICE)
    changed = dataclasses.replace(found[: len(windows)], windows=windows)
    assert (changed.masks.area > 0).tolist() == [True] + [False] * 5


POOLING = {
    "pool": lambda maps, boxes: pyifcn.ps_roi_pool(maps, boxes, 3, 0.25),
    "align": lambda maps, boxes: pyifcn.ps_roi_align(maps, boxes, 3, 0.25),
    "align, 2 samples": lambda maps, boxes: pyifcn.ps_roi_align(maps, boxes, 3, 0.25, 2),
    "assemble": lambda maps, boxes: pyifcn.assemble_rois(maps, boxes, 9, grid=3),
}


@no_kernels
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", POOLING)
def test_boxes_of_no_image_are_nan(name, dtype):
    pool = POOLING[name]
    maps = torch.ones(2, 9, 6, 7, dtype=dtype, device=DEVICE, requires_grad=True)
    images = [0, 2, -1, 0.5, float("nan"), float("inf"), 1]
    boxes = torch.tensor([[i, 4, 4, 20, 20] for i in images], dtype=dtype, device=DEVICE)
    got = pool(maps, boxes)
    assert not got[[0, 6]].isnan().any()
    assert got[1:6].isnan().all()
    (gradient,) = torch.autograd.grad(got.sum(), maps)
    (expected,) = torch.autograd.grad(pool(maps, boxes[[0, 6]]).sum(), maps)
    assert torch.equal(gradient, expected)


@no_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [2047, 2048, 2049, 3000])
def test_boxes_come_by_falling_score(rng, count, dtype):
    scores = some_scores(rng, count, np.float64 if dtype == torch.float64 else np.float32)
    boxes = torch.zeros(count, 4, dtype=dtype, device=DEVICE)  # without area: all are kept
    keep = pyifcn.nms(boxes, torch.from_numpy(scores).to(DEVICE), 0.5)
    np.testing.assert_array_equal(keep.cpu(), falling_order(scores))


@no_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_nms_gives_the_cpus_bits(rng, monkeypatch, method, dtype):
    boxes, scores = clustered_boxes(rng, 200, dtype)
    scores /= 70
    scores[:9] = -scores[:9]
    idxs = torch.from_numpy(rng.integers(-2, 3, 200)).to(DEVICE)
    options = {"method": method, "min_score": -0.4}
    for categories in (None, idxs):
        got = pyifcn.soft_nms(boxes.to(DEVICE), scores.to(DEVICE), idxs=categories, **options)
        here = None if categories is None else categories.cpu()
        with monkeypatch.context() as patch:  # from the emulation to the CPU
            module = importlib.import_module("pyifcn.ops.soft_nms")
            patch.setattr(module, "compiled", _array.compiled)
            expected = pyifcn.soft_nms(boxes, scores, idxs=here, **options)
        assert all(
            torch.equal(ours.cpu(), theirs) for ours, theirs in zip(got, expected, strict=True)
        )


@pytest.fixture
def tensors_on_device(monkeypatch):
    """Under the emulation masks in tensors are taken for masks on a GPU."""
    if not EMULATED:
        return
    gpu, cpu = sys.modules["pyifcn._gpu"], pyifcn._runtime.cpu
    ours = {
        "on_gpu": is_tensor,
        "compiled": lambda like: (gpu, (0, 0)) if is_tensor(like) else (cpu, 1),
        "background": lambda shape, like, dtype: (
            torch.ones(shape, dtype=getattr(torch, dtype))
            if is_tensor(like)
            else np.zeros(shape, dtype)
        ),
    }
    for name, module in list(sys.modules.items()):
        if name.startswith("pyifcn.masks."):
            for function in ours.keys() & vars(module).keys():
                monkeypatch.setattr(module, function, ours[function])


def noise_in_rectangles(rng, count, size):
    """Some masks are full, some without pixels."""
    dense = np.zeros((count, *size), bool)
    for mask in dense[1:]:
        y1, y2 = np.sort(rng.integers(0, size[0] + 1, 2))
        x1, x2 = np.sort(rng.integers(0, size[1] + 1, 2))
        mask[y1:y2, x1:x2] = rng.random((y2 - y1, x2 - x1)) < rng.choice([0.03, 0.5, 1])
    dense[-2:] = True
    return dense


def to_host(answer):
    """NumPy arrays and masks in them; of masks on a device the arrays must lie there."""
    if isinstance(answer, Masks):
        assert answer.device == torch.empty(0, device=DEVICE).device
        return answer.numpy()
    return answer.cpu().numpy() if is_tensor(answer) else answer


def assert_same(expected, got):
    if isinstance(expected, (list, tuple)):
        assert len(expected) == len(got)
        for ours, theirs in zip(expected, got, strict=True):
            assert_same(ours, theirs)
        return
    got = to_host(got)
    assert type(expected) is type(got)
    if isinstance(expected, np.ndarray):
        assert (expected.dtype, expected.shape) == (got.dtype, got.shape)
        assert np.array_equal(expected, got)
    else:
        assert expected == got


def to_device(values, dtype=None):
    return torch.from_numpy(np.array(values, dtype)).to(DEVICE)


# `t` makes an array of the masks' kind.
METHODS = {
    "to_dense": lambda m, t: m.to_dense(),
    "patch": lambda m, t: [m.patch(i) for i in (0, 3, -1)],
    "area": lambda m, t: m.area,
    "boxes": lambda m, t: (m.boxes, m.offsets, m.words),
    "to_rle": lambda m, t: (m.to_rle(), m.to_rle(compressed=False), m[:0].to_rle()),
    "to_polygons": lambda m, t: m.to_polygons(),
    "crop": lambda m, t: [m.crop(box) for box in ((3, 2, 70, 20), (-9, -9, 200, 50), (5, 5, 5, 9))],
    "translate": lambda m, t: [m.translate(*d) for d in ((1, -1), (-64, 0), (90, 3), (10**30, 0))],
    "flip": lambda m, t: [m.flip(), m.flip("vertical"), m[:0].flip()],
    "resize": lambda m, t: [m.resize(size) for size in ((9, 31), (70, 300), m.size, (0, 5))],
    "union": lambda m, t: [m | m[::-1], m[3] | m, m | m[3]],
    "intersection": lambda m, t: [m & m[::-1], m[3] & m, m & m[3]],
    "difference": lambda m, t: [m - m[::-1], m[3] - m, m - m[3]],
    "merge": lambda m, t: [m.merge(), m[-2:].merge(intersect=True), m.merge(intersect=True)],
    "merge of none": lambda m, t: [m[:0].merge(), m[:0].merge(intersect=True), m[:1].merge()],
    "to_labels": lambda m, t: [
        m.to_labels(),
        m.to_labels(list(range(len(m)))),
        m.to_labels(t(range(len(m)))),
        m.to_labels(t(range(-5, len(m) - 5), "int32")),
        m[:0].to_labels(),
    ],
    "indexing": lambda m, t: [
        *(m[i] for i in (4, -1, slice(2, 7), slice(None, None, -3), [3, 3, 0], [])),
        *(m[t(i)] for i in ([4, -1, 4], [], [True, False] * (len(m) // 2), [False] * len(m))),
        m[t([1, 2], "uint8")],
        m[np.int64(2)],
    ],
    "iteration": lambda m, t: list(m),
    "cat": lambda m, t: [Masks.cat([m, m[2:5]]), Masks.cat(m)],
    "pickle": lambda m, t: pickle.loads(pickle.dumps(m)),
    "equality": lambda m, t: (m == m[:], m == m[::-1], m == m[1:], m == m.numpy(), m != m.flip()),
}


@no_kernels
@pytest.mark.parametrize("size", [(1, 1), (23, 130), (40, 64), (0, 5)])
@pytest.mark.parametrize("name", METHODS)
def test_masks_equal_the_cpu(rng, tensors_on_device, name, size):
    masks = Masks.from_dense(noise_in_rectangles(rng, 12, size))
    there = Masks.from_dense(torch.from_numpy(masks.to_dense()).to(DEVICE))
    assert there == masks
    assert there == masks.to(DEVICE)
    assert_same(METHODS[name](masks, np.array), METHODS[name](there, to_device))


@no_kernels
def test_masks_on_a_device_tell_where_they_are(rng, tensors_on_device):
    masks = Masks.from_dense(noise_in_rectangles(rng, 12, (23, 130))).to(DEVICE)
    assert repr(masks).endswith(f"device='{masks.device}')")
    assert masks.to(DEVICE) is masks


@no_kernels
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
)
def test_labels_equal_the_cpu(rng, tensors_on_device, dtype):
    info = np.iinfo(dtype)
    for size in [(1, 1), (9, 7), (33, 129), (0, 4), (4, 0)]:
        values = rng.integers(info.min, info.max, 12, dtype, endpoint=True)
        values[:6] = 0, 1, 100, info.max, info.min, 0
        image = values[np.kron(rng.integers(0, 12, size), np.ones((3, 5), int))]
        there = torch.from_numpy(image).to(DEVICE)
        assert_same(Masks.from_labels(image), Masks.from_labels(there))
        assert_same(Masks.from_labels(image.T), Masks.from_labels(there.T))
    assert len(Masks.from_labels(torch.zeros(3, 70, dtype=there.dtype, device=DEVICE))[0]) == 0


@no_kernels
def test_more_labels_than_there_was_room_for(rng, tensors_on_device):
    image = rng.permutation(300 * 300).reshape(300, 300) - 1000
    there = torch.from_numpy(image).to(DEVICE)
    assert_same(Masks.from_labels(image), Masks.from_labels(there))


@no_kernels
def test_bad_labels_on_a_device(rng, tensors_on_device):
    for dtype in (torch.bool, torch.float32, torch.complex64):
        with pytest.raises(TypeError, match=r"image is .*, expected integers"):
            Masks.from_labels(torch.zeros(3, 4, dtype=dtype, device=DEVICE))
    with pytest.raises(TypeError, match=r"image is .*, expected integers"):
        Masks.from_labels(torch.zeros(3, dtype=torch.int32, device=DEVICE))
    masks = Masks.from_dense(torch.ones(2, 3, 4, dtype=torch.bool, device=DEVICE))
    with pytest.raises(ValueError, match=r"values\[1\] is 2147483648, which does not fit into"):
        masks.to_labels(torch.tensor([1, 2**31], device=DEVICE))
    for wrong in (torch.tensor([1], device=DEVICE), torch.tensor([1], dtype=torch.int32)):
        with pytest.raises(ValueError, match=r"values has shape \(1,\), expected \(2,\)"):
            masks.to_labels(wrong.to(DEVICE))
    with pytest.raises(TypeError, match=r"values is .*, expected integers \(2,\)"):
        masks.to_labels(torch.tensor([0.5, 1], device=DEVICE))
    with pytest.raises(ValueError, match="other has 2 masks, expected 3 or 1"):
        masks[[0, 1, 0]] | masks
    with pytest.raises(ValueError, match="expected at most 2\\^32 - 1 pixels"):
        masks.crop((0, 0, 65536, 65536)).to_rle()


@no_kernels
def test_codes_count_to_the_last_pixel(tensors_on_device):
    """Runs, and where they end, that do not fit into 31 bits; several masks of such an image."""
    size = 60000, 70000
    counts = [[4_000_000_000, 5, 199_999_995], [4_199_999_999, 1], [0, 3, 4_199_999_997]]
    masks = Masks.from_rle([{"size": size, "counts": runs} for runs in counts])
    assert [rle["counts"] for rle in masks.to(DEVICE).to_rle(compressed=False)] == counts


@on_gpu
@pytest.mark.parametrize("name", METHODS)
def test_large_masks_equal_the_cpu(rng, name):
    masks = Masks.from_dense(noise_in_rectangles(rng, 60, (480, 700)))
    assert_same(METHODS[name](masks, np.array), METHODS[name](masks.to("cuda"), to_device))


@on_gpu
def test_masks_do_not_wait(rng):
    masks = Masks.from_dense(noise_in_rectangles(rng, 60, (480, 700))).to("cuda")
    values = torch.arange(60, dtype=torch.int32, device="cuda")

    def work():
        return masks.area, masks.to_dense(), masks.to_labels(), masks.to_labels(values)

    expected = work(), Masks.cat([masks, masks])
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = work(), Masks.cat([masks, masks])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(map(torch.equal, expected[0], got[0]))
    assert expected[1] == got[1]


@no_kernels
@pytest.mark.parametrize("dtype", FLOATS)
def test_detections_of_no_image_are_nan(dtype):
    maps = torch.ones(2, 5, 6, 7, dtype=dtype, device=DEVICE, requires_grad=True)
    rows = torch.ones(6, 5, dtype=dtype, device=DEVICE, requires_grad=True)
    images = torch.tensor([0, 2, -1, 2**62, -(2**62), 1], device=DEVICE)
    got = pyifcn.assemble_prototypes(maps, rows, images=images)
    assert not got[[0, 5]].isnan().any()
    assert got[1:5].isnan().all()
    of_maps, of_rows = torch.autograd.grad(got, (maps, rows), torch.ones_like(got))
    some = pyifcn.assemble_prototypes(maps, rows[[0, 5]], images=images[[0, 5]])
    expected, of_some = torch.autograd.grad(some, (maps, rows), torch.ones_like(some))
    assert torch.equal(of_maps, expected)
    assert torch.equal(of_rows, of_some)


ASSEMBLERS = {
    "prototypes": lambda maps, other: pyifcn.assemble_prototypes(maps[0], other[0, 0, :, :9]),
    "blend": lambda maps, other: pyifcn.blend(maps, other[:, :9], sigmoid=True),
    "swap": lambda maps, other: pyifcn.swap_align2nat(maps, 2),
}


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ASSEMBLERS)
def test_assemblers_equal_the_cpu(rng, name, dtype):
    maps = torch.from_numpy(rng.standard_normal((20, 9, 37, 43))).to(dtype)
    other = torch.from_numpy(rng.standard_normal((20, 9, 14, 14))).to(dtype)
    answers = []
    for device in ("cpu", "cuda"):
        here = [tensor.to(device).requires_grad_() for tensor in (maps, other)]
        out = ASSEMBLERS[name](*here)
        found = torch.autograd.grad(out, here, out.detach(), allow_unused=True)
        answers.append([out, *(grad for grad in found if grad is not None)])
    for expected, got in zip(*answers, strict=True):
        assert torch.equal(expected, got.cpu())


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", POOLING)
def test_pooling_equals_the_cpu(rng, name, dtype):
    pool = POOLING[name]
    maps = torch.from_numpy(rng.standard_normal((2, 21 * 9, 37, 43))).to(dtype)
    corners = rng.uniform(-20, 160, (2, 1000, 2))
    boxes = np.concatenate([rng.integers(0, 2, (1000, 1)), corners.min(0), corners.max(0)], 1)
    boxes = torch.from_numpy(boxes).to(dtype)
    answers = []
    for device in ("cpu", "cuda"):
        here = maps.to(device).requires_grad_()
        pooled = pool(here, boxes.to(device))
        answers.append([pooled, *torch.autograd.grad(pooled, here, pooled.detach())])
    for expected, got in zip(*answers, strict=True):
        assert torch.equal(expected, got.cpu())


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("grid", "size"), [(1, 1), (3, 7), (5, 21), (4, 33)])
def test_assemble_equals_the_cpu(rng, grid, size, dtype):
    maps = torch.from_numpy(rng.standard_normal((2, grid * grid, 37, 43))).to(dtype)
    windows = random_windows(rng, 700, maps.shape)
    grad = torch.from_numpy(rng.standard_normal((700, size, size))).to(dtype)
    answers = []
    for device in ("cpu", "cuda"):
        here = maps.to(device).requires_grad_()
        some = pyifcn.assemble(here, windows.to(device), size, pad_value=-1.5)
        every = pyifcn.assemble_dense(here, size)
        answers.append([some, every])
        answers[-1] += torch.autograd.grad(some, here, grad.to(device))
        answers[-1] += torch.autograd.grad(every, here, every.detach())
    for expected, got in zip(*answers, strict=True):
        assert torch.equal(expected, got.cpu())


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 5000])
def test_nms_equals_the_cpu(rng, count, dtype):
    boxes, scores = clustered_boxes(rng, count, dtype)
    idxs = torch.from_numpy(rng.integers(-3, 5, count))
    for threshold in (-0.1, 0.0, 0.3, 0.7, 1.0):
        got = pyifcn.nms(boxes.cuda(), scores.cuda(), threshold)
        assert torch.equal(got.cpu(), pyifcn.nms(boxes, scores, threshold))
        got = pyifcn.batched_nms(boxes.cuda(), scores.cuda(), idxs.cuda(), threshold)
        assert torch.equal(got.cpu(), pyifcn.batched_nms(boxes, scores, idxs, threshold))


def assert_equal_on_both(function, options, **tensors):
    """That a function gives the same for tensors here and on the GPU; None stands for itself."""
    there = {name: None if t is None else t.cuda() for name, t in tensors.items()}
    answers = function(**tensors, **options), function(**there, **options)
    for expected, got in zip(*answers, strict=True):
        assert torch.equal(expected, got.cpu())


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 5000])
def test_groups_equal_the_cpu(rng, count, dtype):
    boxes, scores = clustered_boxes(rng, count, dtype)
    idxs = torch.from_numpy(rng.integers(-3, 5, count))
    for threshold in (-0.1, 0.0, 0.3, 0.7, 1.0):
        options = {"iou_threshold": threshold, "return_groups": True}
        assert_equal_on_both(pyifcn.nms, options, boxes=boxes, scores=scores)
        assert_equal_on_both(pyifcn.batched_nms, options, boxes=boxes, scores=scores, idxs=idxs)


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 255, 257, 2048, 2049, 5000])
def test_nms_padded_equals_the_cpu(rng, count, dtype):
    images = [clustered_boxes(rng, count, dtype) for _ in range(7)]
    boxes, scores = map(torch.stack, zip(*images, strict=True))
    idxs = torch.from_numpy(rng.integers(-3, 5, (7, count)))
    for most in (0, 1, 100, count + 9):
        for some, least in ((None, None), (idxs, None), (idxs, count / 9)):
            options = {"iou_threshold": 0.4, "max_output": most, "score_threshold": least}
            assert_equal_on_both(pyifcn.nms_padded, options, boxes=boxes, scores=scores, idxs=some)


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 2049, 5000])
def test_fast_nms_equals_the_cpu(rng, count, dtype):
    boxes, scores = clustered_boxes(rng, count, dtype)
    idxs = torch.from_numpy(rng.integers(-3, 5, count))
    for threshold in (-0.1, 0.0, 0.3, 0.7, 1.0):
        for some in (None, idxs):
            there = None if some is None else some.cuda()
            got = pyifcn.fast_nms(boxes.cuda(), scores.cuda(), threshold, idxs=there)
            assert torch.equal(got.cpu(), pyifcn.fast_nms(boxes, scores, threshold, idxs=some))


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 255, 257, 2049, 5000])
def test_nms_from_iou_equals_the_cpu(rng, count, dtype):
    _, scores = clustered_boxes(rng, count, torch.float32)
    for power in (2, 200):  # much and little that is alike
        iou = torch.from_numpy(rng.random((count, count), np.float32) ** power).to(dtype)
        for threshold in (-0.1, 0.3, 0.95):
            options = {"iou_threshold": threshold, "return_groups": True}
            assert_equal_on_both(pyifcn.nms_from_iou, options, iou=iou, scores=scores)


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1023, 1025, 5000])
def test_soft_nms_equals_the_cpu(rng, count, method, dtype):
    boxes, scores = clustered_boxes(rng, count, dtype)
    scores = scores / (1 + count // 3)
    idxs = torch.from_numpy(rng.integers(-3, 80, count))
    for some in (None, idxs):
        for least in (1e-3, 0.3):
            options = {"method": method, "min_score": least}
            assert_equal_on_both(pyifcn.soft_nms, options, boxes=boxes, scores=scores, idxs=some)


@on_gpu
@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_nms_of_many_boxes(rng, method):
    boxes, scores = clustered_boxes(rng, 100_000, torch.float32)
    idxs = torch.from_numpy(rng.integers(0, 30_000, 100_000))
    for some in (None, idxs):
        options = {"method": method}
        assert_equal_on_both(
            pyifcn.soft_nms, options, boxes=boxes, scores=scores / 40_000, idxs=some
        )


@on_gpu
@pytest.mark.parametrize("count", [400_000, 1_000_000])
def test_nms_of_many_boxes(rng, count):
    boxes, scores = clustered_boxes(rng, count, torch.float32)
    got = pyifcn.nms(boxes.cuda(), scores.cuda(), 0.7)
    assert torch.equal(got.cpu(), pyifcn.nms(boxes, scores, 0.7))


def some_masks(rng, count, size=(300, 400), largest=150):
    """Noise in boxes of any size, so that some pairs meet; scores with ties and NaN."""
    patches = [rng.random(rng.integers(1, largest, 2)) < 0.7 for _ in range(count)]
    corners = rng.integers(0, size, (count, 2))
    masks = pyifcn.Masks.from_patches(patches, corners, size).to("cpu")
    scores = torch.from_numpy(rng.integers(0, 1 + count // 3, count).astype(np.float32))
    scores[::11] = float("nan")
    return masks, scores, torch.from_numpy(rng.integers(-1, 2, count))


@on_gpu
@pytest.mark.parametrize("kind", ["iou", "iof", "iomin"])
@pytest.mark.parametrize("count", [0, 1, 31, 33, 300, 1000])
def test_mask_iou_equals_the_cpu(rng, count, kind):
    masks, others = some_masks(rng, count)[0], some_masks(rng, 65)[0]
    for mine, yours in ((masks, masks), (masks, others), (others, masks)):
        got = mine.to("cuda").iou(yours.to("cuda"), kind=kind)
        assert torch.equal(got.cpu(), mine.iou(yours, kind=kind))
    here = masks.to("cuda")
    assert torch.equal(here.iou(here, kind=kind).cpu(), masks.iou(masks, kind=kind))


@on_gpu
def test_the_build_is_for_this_gpu():
    """PTX of an older one has no tensor cores that count bits."""
    from pyifcn import _cuda

    major, _ = torch.cuda.get_device_capability()
    assert any(int(name.split("-")[0]) // 10 == major for name in _cuda.architectures.split())


@on_gpu
@pytest.mark.parametrize("count", [20, 130])
def test_iou_of_masks_that_fill_the_image(rng, count):
    """Nearly all pairs meet: tensor cores count them."""
    dense = torch.from_numpy(rng.random((count, 480, 640)) < 0.5).cuda()
    masks = pyifcn.Masks.from_dense(dense)
    on_cpu = masks.to("cpu")
    assert torch.equal(masks.iou(masks).cpu(), on_cpu.iou(on_cpu))


@on_gpu
@pytest.mark.parametrize("threshold", [-0.1, 0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1500])
def test_mask_nms_equals_the_cpu(rng, count, threshold):
    masks, scores, idxs = some_masks(rng, count)
    here = masks.to("cuda")
    for categories in (None, idxs):
        there = None if categories is None else categories.cuda()
        expected = masks.nms(scores, threshold, idxs=categories, return_groups=True)
        got = here.nms(scores.cuda(), threshold, idxs=there, return_groups=True)
        assert all(map(torch.equal, expected, [g.cpu() for g in got]))
        got = here.nms(scores.cuda(), threshold, idxs=there)
        assert torch.equal(got.cpu(), expected[0])


@on_gpu
def test_nms_of_many_masks(rng):
    masks, scores, _ = some_masks(rng, 100_000, (8000, 8000), largest=6)
    expected = masks.nms(scores, 0.3, return_groups=True)
    got = masks.to("cuda").nms(scores.cuda(), 0.3, return_groups=True)
    assert all(map(torch.equal, expected, [g.cpu() for g in got]))


@on_gpu
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@pytest.mark.parametrize("count", [0, 1, 257, 1500])
def test_matrix_nms_equals_the_cpu(rng, count, kernel):
    masks, scores, labels = some_masks(rng, count)
    scores = scores.nan_to_num(7).double()
    expected = pyifcn.matrix_nms(masks, scores, labels, kernel=kernel)
    got = pyifcn.matrix_nms(masks.to("cuda"), scores.cuda(), labels.cuda(), kernel=kernel)
    assert torch.equal(got.cpu(), expected)


@on_gpu
def test_dense_masks_stay_on_the_gpu(rng):
    dense = torch.from_numpy(rng.random((40, 30, 70)) < 0.1)
    scores, labels = torch.from_numpy(rng.random(40)), torch.zeros(40, dtype=torch.int64)
    calls = (
        lambda masks, scores, labels: pyifcn.mask_iou(masks, masks),
        lambda masks, scores, labels: pyifcn.mask_nms(masks, scores, 0.05),
        pyifcn.matrix_nms,
        lambda masks, scores, labels: pyifcn.masks_to_boxes(masks),
    )
    for call in calls:
        got = call(dense.cuda(), scores.cuda(), labels.cuda())
        assert got.is_cuda
        assert torch.equal(got.cpu(), call(dense, scores, labels))


@on_gpu
@pytest.mark.parametrize("dtype", FLOATS)
def test_propose_equals_the_cpu(rng, dtype):
    sides = [(15, 22), (28, 42), (56, 85)]
    maps = [torch.from_numpy(rng.standard_normal((2, 25, h, w))).to(dtype) for h, w in sides]
    objectness = [torch.from_numpy(rng.standard_normal((2, h, w))).to(dtype) for h, w in sides]
    arguments = {"strides": [32, 16, 8], "image_size": (448, 680), "mask_threshold": 1.5}
    expected = pyifcn.propose(maps, objectness, **arguments)
    got = pyifcn.propose([m.cuda() for m in maps], [o.cuda() for o in objectness], **arguments)
    for ours, theirs in zip(expected, got, strict=True):
        for name in ("boxes", "windows", "logits", "scores"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name).cpu())
        assert ours.masks == theirs.masks


@no_kernels
def test_proposals_and_their_masks_stay_on_the_device(rng):
    sides = [(9, 12), (15, 20)]
    maps = [torch.from_numpy(rng.standard_normal((2, 9, h, w))).to(DEVICE) for h, w in sides]
    logits = [maps[0][:, 0].half(), maps[1][:, 1].bfloat16()]  # the types may differ
    arguments = {"strides": [8, 5], "image_size": [(75, 96), (70, 90)], "size": 7}
    found = pyifcn.propose(maps, logits, mask_threshold=1.5, **arguments)[1]
    assert len(found) > 10
    rendered = found.masks
    assert rendered.device == rendered.words.device == maps[0].device
    everywhere = {
        name: getattr(found, name).cpu().numpy()
        for name in ("scores", "boxes", "logits", "windows")
    }
    indices = [[5, 0, -1], torch.tensor([5, 0, -1], device=DEVICE), torch.tensor([2]), 3, []]
    indices += [found.scores > 0.6, (found.scores > 0.6).cpu().numpy(), slice(1, None, 3)]
    for index in indices:
        here = index.cpu().numpy() if isinstance(index, torch.Tensor) else index
        some = found[index]
        for name, values in everywhere.items():
            expected = values[here].reshape(-1, *values.shape[1:])
            np.testing.assert_array_equal(getattr(some, name).cpu().numpy(), expected)
        again = dataclasses.replace(some)  # not yet rendered
        assert again.masks.device == maps[0].device
        assert some.masks == again.masks
    for index in (len(found), [-len(found) - 1], torch.tensor([len(found)], device=DEVICE)):
        with pytest.raises(IndexError):
            found[index]


@no_kernels
def test_too_many_levels_are_refused():
    maps = [torch.ones(1, 1, 2, 2, device=DEVICE)] * 65
    arguments = {"strides": [8] * 65, "image_size": (16, 16), "size": 1}
    with pytest.raises(ValueError, match="score_maps has 65 levels, expected at most 64 on a GPU"):
        pyifcn.propose(maps, [m[:, 0] for m in maps], **arguments)


def soft_masks_and_boxes(rng, count, dtype):
    """Masks with values of all kinds, and boxes of all sizes, some of them odd."""
    masks = rng.normal(0.5, 0.7, (count, 14, 19))
    masks[::5] = masks[::5].clip(0, 1)
    masks[1::5, 3:9, 5], masks[2::5, 3:9, 5], masks[3::5, 3:9, 5] = np.nan, np.inf, -np.inf
    sides = np.exp(rng.uniform(-1, 6, (count, 2)))
    corners = rng.uniform(-60, 200, (count, 2))
    boxes = np.concatenate([corners, corners + sides], 1)
    boxes[::4] = boxes[::4].round()
    boxes[:4] = [[-1e9, -1e9, 1e9, 1e9], [9, 9, 2, 2], [0, np.nan, 5, 5], [3, 3, 3, np.inf]]
    return torch.from_numpy(masks).to(dtype), torch.from_numpy(boxes)


@no_kernels
@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_pasting_equals_the_cpu(rng, convention, dtype):
    size, threads = (90, 131), 1
    masks, boxes = soft_masks_and_boxes(rng, 20, dtype)
    wide = masks.double() if dtype == torch.float64 else masks.float()
    for places in (boxes, boxes.float()):
        for threshold in (None, 0.0, 1e-40, 0.5):
            options = {"threshold": threshold, "convention": convention}
            expected = torch.zeros(20, *size, dtype=torch.uint8)
            arguments = wide, places, threshold, convention, expected, threads
            pyifcn._runtime.cpu.paste_dense(*arguments)
            here = masks.to(DEVICE), places.to(DEVICE)
            got = pyifcn.paste_masks(*here, size, out="uint8", **options)
            assert torch.equal(got.cpu(), expected)
            if threshold is not None:
                packed = pyifcn.paste_masks(*here, size, **options)
                assert packed == pyifcn.Masks.from_dense(expected)


VOTING = ("fcis", "fcis_cpu", "mnc", "mnc_cpu", "pyifcn")


def detections(rng, count, classes, side, shape):
    """Soft masks, boxes about a few objects, scores with ties: what mask voting takes."""
    height, width = shape
    masks = rng.random((count, side, side), dtype=np.float32)
    boxes = clustered_boxes(rng, count, torch.float32)[0].numpy()
    boxes *= np.float32([width, height] * 2) / 600
    scores = rng.integers(0, 50, (count, classes)).astype(np.float32) / 60
    return masks, boxes, scores


def same_bits(ours, theirs):
    """That what mask voting found on the device is what the CPU's module found."""
    boxes, masks, scores, labels = theirs
    np.testing.assert_array_equal(ours.boxes.cpu().numpy(), boxes)
    np.testing.assert_array_equal(ours.scores.cpu().numpy(), scores)
    np.testing.assert_array_equal(ours.labels.cpu().numpy(), labels)
    if isinstance(masks, tuple):
        for mine, other in zip(ours.masks._arrays, masks, strict=True):
            np.testing.assert_array_equal(mine.cpu().numpy(), other)
    else:
        np.testing.assert_array_equal(ours.masks.cpu().numpy(), masks)


@no_kernels
@pytest.mark.parametrize("convention", VOTING)
@pytest.mark.parametrize(
    ("count", "classes", "side", "most"), [(90, 3, 9, 4), (270, 2, 5, 3), (40, 4, 21, 100)]
)
def test_mask_voting_equals_the_cpu(rng, convention, count, classes, side, most):
    arrays = detections(rng, count, classes, side, (70, 150))
    if count == 40:  # float32 that rounds wherever it can
        arrays = (*arrays[:2], rng.random(arrays[2].shape, dtype=np.float32) ** 4)
    options = (70, 150, 0.3, 0.5, 0.4, most, convention)
    tensors = [torch.from_numpy(array).to(DEVICE) for array in arrays]
    found = pyifcn.mask_voting(*tensors, (70, 150), max_per_image=most, convention=convention)
    assert len(found.boxes) > 0
    same_bits(found, pyifcn._cpu.mask_voting(*arrays, *options, 1))


@on_gpu
@pytest.mark.parametrize("convention", VOTING)
@pytest.mark.parametrize(
    ("count", "classes", "shape"), [(600, 81, (600, 1000)), (5000, 3, (900, 4100))]
)
def test_mask_voting_of_an_image_equals_the_cpu(rng, convention, count, classes, shape):
    arrays = detections(rng, count, classes, 21, shape)
    for most in (100, 5000):
        options = (*shape, 0.3, 0.5, 0.4, most, convention)
        tensors = [torch.from_numpy(array).cuda() for array in arrays]
        found = pyifcn.mask_voting(*tensors, shape, max_per_image=most, convention=convention)
        same_bits(found, pyifcn._cpu.mask_voting(*arrays, *options, 4))


@on_gpu
@pytest.mark.parametrize("count", [1, 300, 3000])
def test_vote_equals_the_cpu(rng, count):
    boxes = clustered_boxes(rng, count, torch.float32)[0]
    soft = torch.from_numpy(rng.random((count, 28, 28), dtype=np.float32))
    masks = pyifcn.paste_masks(soft, boxes, (600, 700))
    scores = torch.from_numpy(rng.random(count))
    groups = torch.arange(count)
    groups[count // 5 :] = torch.from_numpy(rng.integers(0, max(count // 5, 1), count - count // 5))
    for threshold in (0.2, 0.5, 1.0):
        expected = pyifcn.vote(masks, scores, groups, threshold=threshold)
        got = pyifcn.vote(masks.to("cuda"), scores.cuda(), groups.cuda(), threshold=threshold)
        assert got.masks == expected.masks
        assert torch.equal(got.scores.cpu(), expected.scores)
        assert torch.equal(got.indices.cpu(), expected.indices)


@on_gpu
@pytest.mark.parametrize("name", operators.TESTS)
def test_operators(name):
    """Their own tests, with arrays that are copied to the GPU and back."""
    done = operators.run(name)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@on_gpu
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_compute_sanitizer(tool):
    if shutil.which("compute-sanitizer") is None:
        pytest.skip("compute-sanitizer is missing: it comes with the CUDA toolkit")
    done = operators.run(
        *operators.TESTS,
        only="equals_the_reference and float32 or a_wide_image",
        before=("compute-sanitizer", "--tool", tool, "--error-exitcode", "9"),
        PYTORCH_NO_CUDA_MEMORY_CACHING="1",  # an array's end is then that of its memory
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def everything(maps, boxes, windows, masks, others, scores, labels):
    """What all operators without a size that depends on the data give, and their gradients."""
    square = maps[:, :9]
    answers = [pool(maps, boxes) for pool in POOLING.values()]
    answers += [pyifcn.assemble(square, windows, 7), pyifcn.assemble_dense(square, 7)]
    answers += [run(square, maps[:, 9:]) for run in ASSEMBLERS.values()]
    answers += [torch.autograd.grad(a, maps, a.detach())[0] for a in answers]
    for images in (2, 1):
        some = boxes[:, 1:].repeat(1, 40 // images).view(images, -1, 4).contiguous()
        options = {"max_output": 20, "score_threshold": 10.0}
        answers += pyifcn.nms_padded(some, some[..., 0], 0.3, **options)
        answers += pyifcn.nms_padded(some, some[..., 0], 0.3, idxs=some[..., 1].long(), **options)
    soft, corners = maps[0, :, :9, :9].sigmoid(), boxes[: maps.shape[1], 1:]
    answers.append(pyifcn.paste_masks(soft, corners, (61, 67), out="bool"))
    answers.append(pyifcn.paste_masks(soft, corners, (61, 67), out="uint8", threshold=None))
    answers += [masks.area, pyifcn.masks_to_boxes(masks)]
    answers += [masks.iou(yours, kind=k) for yours in (masks, others) for k in ("iou", "iomin")]
    return answers + [
        pyifcn.matrix_nms(masks, scores, labels, kernel=kernel) for kernel in ("gaussian", "linear")
    ]


def everything_from(rng):
    maps = torch.from_numpy(rng.standard_normal((2, 2 * 9, 40, 50), dtype=np.float32)).cuda()
    corners = rng.uniform(-20, 200, (2, 100, 2))
    boxes = np.concatenate([rng.integers(0, 2, (100, 1)), corners.min(0), corners.max(0)], 1)
    windows = random_windows(rng, 100, maps.shape).cuda()
    masks, scores, labels = some_masks(rng, 100)
    return (
        *(maps.requires_grad_(), torch.from_numpy(boxes).float().cuda(), windows),
        *(masks.to("cuda"), some_masks(rng, 40)[0].to("cuda")),
        *(scores.nan_to_num(7).cuda(), labels.cuda()),
    )


@on_gpu
def test_runs_on_the_current_stream_and_does_not_wait(rng):
    inputs = everything_from(rng)
    expected = everything(*inputs)  # kernels are loaded, memory is there
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        everything(*inputs)
        stream.synchronize()
        torch.cuda._sleep(10**9)
        torch.cuda.set_sync_debug_mode("error")
        try:
            got = everything(*inputs)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert not stream.query()
    stream.synchronize()
    assert all(map(torch.equal, got, expected))


@on_gpu
def test_is_captured_in_a_graph(rng):
    inputs = everything_from(rng)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        everything(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = everything(*inputs)
    with torch.no_grad():
        for tensor, other in zip(inputs, everything_from(rng), strict=True):
            if isinstance(tensor, torch.Tensor):  # masks never change
                tensor.copy_(other)
    graph.replay()
    assert all(map(torch.equal, captured, everything(*inputs)))
