"""NMS with groups: which kept box suppressed which, on every target against a slow reference."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch
from test_nms import KINDS, clustered, falling_order, some_scores

import pyifcn

THRESHOLDS = (0.0, 0.3, 0.7, 1.0, -0.1)


def reference(boxes, scores, threshold):
    """Every box goes to the first kept box that overlaps it more than the threshold."""
    x1, y1, x2, y2 = boxes.T
    groups = np.full(len(boxes), -1)
    with np.errstate(all="ignore"):
        areas = (x2 - x1) * (y2 - y1)
        order = falling_order(scores)
        for n, i in enumerate(order):
            if groups[i] >= 0:
                continue
            groups[i] = i
            rest = order[n + 1 :][groups[order[n + 1 :]] < 0]
            width = np.fmin(x2[i], x2[rest]) - np.fmax(x1[i], x1[rest])
            height = np.fmin(y2[i], y2[rest]) - np.fmax(y1[i], y1[rest])
            zero = boxes.dtype.type(0)
            inter = np.fmax(zero, width) * np.fmax(zero, height)
            iou = inter / (areas[i] + areas[rest] - inter)
            groups[rest[iou.astype(np.float64) > threshold]] = i
    return groups


def reference_batched(boxes, scores, idxs, threshold):
    if 0 < len(boxes) <= 1000:
        with np.errstate(all="ignore"):
            offsets = idxs.astype(boxes.dtype) * (boxes.max() + boxes.dtype.type(1))
            return reference(boxes + offsets[:, None], scores, threshold)
    groups = np.full(len(boxes), -1)
    for category in np.unique(idxs):
        (members,) = np.nonzero(idxs == category)
        groups[members] = members[reference(boxes[members], scores[members], threshold)]
    return groups


@cache  # for all targets
def cases(kind, dtype):
    rng = np.random.default_rng(0)
    found = []
    for count in (0, 1, 16, 17, 127, 129, 401, 600):
        boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
        found += [(boxes, scores, t, reference(boxes, scores, t)) for t in THRESHOLDS]
    return found


@cache
def batched_cases(kind, dtype):
    rng = np.random.default_rng(0)
    found = []
    for count, categories in ((0, 1), (1, 1), (1000, 7), (1001, 2), (1200, 500)):
        boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
        idxs = rng.integers(-1, categories, count)
        expected = reference_batched(boxes, scores, idxs, 0.4)
        found.append((boxes, scores, idxs, 0.4, expected))
    return found


def check(keep, groups, expected, without):
    assert groups.dtype == np.int64
    np.testing.assert_array_equal(groups, expected)
    np.testing.assert_array_equal(keep, without)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(target, kind, dtype):
    for *arguments, expected in cases(kind, dtype):
        keep, groups = pyifcn.nms(*arguments, return_groups=True)
        check(keep, groups, expected, pyifcn.nms(*arguments))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_the_reference(target, kind, dtype):
    for *arguments, expected in batched_cases(kind, dtype):
        keep, groups = pyifcn.batched_nms(*arguments, return_groups=True)
        check(keep, groups, expected, pyifcn.batched_nms(*arguments))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_boxes(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    kind, dtype = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(["f4", "f8"]))
    count = data.draw(st.integers(0, 700))
    boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
    threshold = data.draw(st.sampled_from(THRESHOLDS) | st.floats(-0.5, 1.2))
    keep, groups = pyifcn.nms(boxes, scores, threshold, return_groups=True)
    check(keep, groups, reference(boxes, scores, threshold), pyifcn.nms(boxes, scores, threshold))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_torch(rng, dtype):
    boxes = torch.from_numpy(clustered(rng, 1300, np.float32)).to(dtype)
    scores = torch.from_numpy(rng.random(1300, dtype=np.float32)).to(dtype)
    idxs = torch.from_numpy(rng.integers(0, 3, 1300))
    wide = boxes.float().numpy(), scores.float().numpy()
    keep, groups = pyifcn.nms(boxes.requires_grad_(), scores, 0.5, return_groups=True)
    check(keep.numpy(), groups.numpy(), reference(*wide, 0.5), pyifcn.nms(*wide, 0.5))
    keep, groups = pyifcn.batched_nms(boxes, scores, idxs, 0.5, return_groups=True)
    expected = reference_batched(*wide, idxs.numpy(), 0.5)
    check(keep.numpy(), groups.numpy(), expected, pyifcn.batched_nms(boxes, scores, idxs, 0.5))


def test_the_number_of_threads_changes_nothing(rng):
    boxes = torch.from_numpy(clustered(rng, 30000, np.float32))
    scores = torch.from_numpy(rng.integers(0, 999, 30000).astype(np.float32))
    idxs = torch.from_numpy(rng.integers(0, 50, 30000))
    threads, answers = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        answers.append(pyifcn.batched_nms(boxes, scores, idxs, 0.6, return_groups=True))
    torch.set_num_threads(threads)
    assert all(map(torch.equal, *answers))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators
    boxes, scores, idxs = torch.rand(9, 4), torch.rand(9), torch.arange(9) % 2
    torch.library.opcheck(torch.ops.pyifcn.nms_groups.default, (boxes, scores, 0.5))
    arguments = boxes, scores, idxs, 0.5
    torch.library.opcheck(torch.ops.pyifcn.batched_nms_groups.default, arguments)


def test_compile_in_one_graph(rng):
    boxes, scores = torch.from_numpy(clustered(rng, 60, np.float32)), torch.rand(60)

    def best(boxes, scores):
        _, groups = pyifcn.nms(boxes * 2, scores, 0.5, return_groups=True)
        return scores[groups]

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(best, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(boxes, scores), best(boxes, scores))
