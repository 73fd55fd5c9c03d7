"""On a GPU: the CPU's answers bit for bit, on torch's stream, without waiting.

The tests that are not marked `gpu` run under the emulation as well.
"""

import os
import shutil

import numpy as np
import pytest
import torch
from cuda_emulation import operators

import pyifcn

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


def everything(maps, boxes, windows, masks, others, scores, labels):
    """What all operators without a size that depends on the data give, and their gradients."""
    square = maps[:, :9]
    answers = [pool(maps, boxes) for pool in POOLING.values()]
    answers += [pyifcn.assemble(square, windows, 7), pyifcn.assemble_dense(square, 7)]
    answers += [torch.autograd.grad(a, maps, a.detach())[0] for a in answers]
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
