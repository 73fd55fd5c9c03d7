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
    answers += [run(square, maps[:, 9:]) for run in ASSEMBLERS.values()]
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
