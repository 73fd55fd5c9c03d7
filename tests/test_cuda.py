"""On a GPU: the CPU's answers bit for bit, on torch's stream, without waiting.

The tests that are not marked `gpu` run under the emulation as well.
"""

import os
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch
from cuda_emulation import operators

import pyifcn
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


@on_gpu
@pytest.mark.parametrize("count", [400_000, 1_000_000])
def test_nms_of_many_boxes(rng, count):
    boxes, scores = clustered_boxes(rng, count, torch.float32)
    got = pyifcn.nms(boxes.cuda(), scores.cuda(), 0.7)
    assert torch.equal(got.cpu(), pyifcn.nms(boxes, scores, 0.7))


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
        for name in ("boxes", "windows", "logits"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name).cpu())
        torch.testing.assert_close(ours.scores, theirs.scores.cpu(), rtol=1e-6, atol=0)
        assert ours.masks == theirs.masks


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
        only="equals_the_reference and float32",
        before=("compute-sanitizer", "--tool", tool, "--error-exitcode", "9"),
        PYTORCH_NO_CUDA_MEMORY_CACHING="1",  # an array's end is then that of its memory
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def everything(maps, boxes, windows):
    """What all operators without a size that depends on the data give, and their gradients."""
    square = maps[:, :9]
    answers = [pool(maps, boxes) for pool in POOLING.values()]
    answers += [pyifcn.assemble(square, windows, 7), pyifcn.assemble_dense(square, 7)]
    return answers + [torch.autograd.grad(a, maps, a.detach())[0] for a in answers]


def everything_from(rng):
    maps = torch.from_numpy(rng.standard_normal((2, 2 * 9, 40, 50), dtype=np.float32)).cuda()
    corners = rng.uniform(-20, 200, (2, 100, 2))
    boxes = np.concatenate([rng.integers(0, 2, (100, 1)), corners.min(0), corners.max(0)], 1)
    windows = random_windows(rng, 100, maps.shape).cuda()
    return maps.requires_grad_(), torch.from_numpy(boxes).float().cuda(), windows


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
            tensor.copy_(other)
    graph.replay()
    assert all(map(torch.equal, captured, everything(*inputs)))
