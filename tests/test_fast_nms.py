"""Fast NMS: every target against a slow reference and YOLACT's way with tensors, bad input."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch
from test_nms import KINDS, THRESHOLDS, clustered, falling_order, some_scores, uniform

import pyifcn


def reference(boxes, scores, threshold, idxs=None):
    """The definition, each box with all better ones of its category, in the boxes' own type."""
    order = falling_order(scores)
    x1, y1, x2, y2 = boxes[order].T
    idxs = np.zeros(len(boxes), int) if idxs is None else idxs[order]
    zero, keep = boxes.dtype.type(0), []
    with np.errstate(all="ignore"):
        areas = (x2 - x1) * (y2 - y1)
        for i in range(len(order)):
            width = np.fmin(x2[i], x2[:i]) - np.fmax(x1[i], x1[:i])
            height = np.fmin(y2[i], y2[:i]) - np.fmax(y1[i], y1[:i])
            inter = np.fmax(zero, width) * np.fmax(zero, height)
            iou = inter / (areas[:i] + areas[i] - inter)
            assert iou.dtype == boxes.dtype
            above = iou.astype(np.float64) > threshold
            keep.append(not (above & (idxs[:i] == idxs[i])).any())
    return order[np.array(keep, bool)]


@cache  # for all targets
def cases(kind, dtype):
    """Boxes, scores, threshold, categories and what the reference keeps."""
    rng = np.random.default_rng(0)
    found = []
    for count in (0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 257, 600):
        boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
        idxs = rng.integers(-2, 3, count) * rng.choice([1, 2**24 + 1, 2**60])
        for threshold in THRESHOLDS if count in (17, 65, 600) else (0.0, 0.5, -0.1):
            for some in (None, idxs):
                expected = reference(boxes, scores, threshold, some)
                found.append((boxes, scores, threshold, some, expected))
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(target, kind, dtype):
    for boxes, scores, threshold, idxs, expected in cases(kind, dtype):
        got = pyifcn.fast_nms(boxes, scores, threshold, idxs=idxs)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, expected)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_boxes(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    kind, dtype = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(["f4", "f8"]))
    count = data.draw(st.integers(0, 700))
    boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
    if count and data.draw(st.booleans()):
        boxes[rng.integers(0, count, count // 4)] = boxes[rng.integers(0, count, count // 4)]
    idxs = rng.integers(0, 3, count) if data.draw(st.booleans()) else None
    threshold = data.draw(
        st.sampled_from(THRESHOLDS) | st.floats(-0.5, 1.2) | st.sampled_from([np.inf, -np.inf])
    )
    np.testing.assert_array_equal(
        pyifcn.fast_nms(boxes, scores, threshold, idxs=idxs),
        reference(boxes, scores, threshold, idxs),
    )


def test_equals_the_matrix_of_yolact(rng):
    boxes = torch.from_numpy(clustered(rng, 500, np.float32))
    scores = torch.from_numpy(rng.permutation(500).astype(np.float32))
    better = boxes[scores.argsort(descending=True)]
    low = torch.maximum(better[:, None, :2], better[None, :, :2])
    high = torch.minimum(better[:, None, 2:], better[None, :, 2:])
    inter = (high - low).clamp(min=0).prod(2)
    areas = (better[:, 2:] - better[:, :2]).prod(1)
    most = (inter / (areas[:, None] + areas - inter)).triu(1).amax(0)
    for threshold in (0.0, 0.25, 0.5, 0.75):
        expected = scores.argsort(descending=True)[most <= threshold]
        assert torch.equal(pyifcn.fast_nms(boxes, scores, threshold), expected)


def test_keeps_no_more_than_nms(rng):
    boxes, scores = clustered(rng, 2000, np.float32), rng.random(2000, np.float32)
    kept = pyifcn.fast_nms(boxes, scores, 0.5)
    greedy = pyifcn.nms(boxes, scores, 0.5)
    assert 0 < len(kept) < len(greedy)
    assert np.isin(kept, greedy).all()


@pytest.mark.parametrize("count", [20, 500])
def test_the_threshold_is_a_double(count):
    # IoU 3/10 as float32 is above the double 0.3 but not above the float32 0.3.
    boxes = np.zeros((count, 4), np.float32)
    boxes[:] = np.arange(count)[:, None] * 100 + [0, 0, 10, 1]
    boxes[1] = [0, 0, 3, 1]
    scores = -np.arange(count, dtype=np.float32)
    assert pyifcn.fast_nms(boxes, scores, 0.3).tolist() == [0, *range(2, count)]
    assert pyifcn.fast_nms(boxes, scores, float(np.float32(0.3))).tolist() == list(range(count))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_widened(rng, dtype):
    boxes = torch.from_numpy(clustered(rng, 400, np.float32)).to(dtype)
    scores = torch.from_numpy(rng.random(400, dtype=np.float32)).to(dtype)
    wide = boxes.float().numpy(), scores.float().numpy()
    got = pyifcn.fast_nms(boxes, scores, 0.5)
    np.testing.assert_array_equal(got.numpy(), reference(*wide, 0.5))
    if dtype == torch.float16:
        got = pyifcn.fast_nms(boxes.numpy(), scores.numpy(), 0.5)
        np.testing.assert_array_equal(got, reference(*wide, 0.5))


def test_torch_and_layouts(rng):
    boxes = np.asfortranarray(clustered(rng, 700, np.float32))
    scores = rng.random((700, 2), dtype=np.float32)[:, 0]
    idxs = rng.integers(0, 4, 700, dtype=np.int32)[::-1]
    expected = reference(boxes, scores, 0.5, idxs)
    np.testing.assert_array_equal(pyifcn.fast_nms(boxes, scores, 0.5, idxs=idxs), expected)
    tensors = [torch.from_numpy(np.ascontiguousarray(a)) for a in (boxes, scores, idxs)]
    got = pyifcn.fast_nms(
        tensors[0].requires_grad_(), tensors[1], torch.tensor(0.5), idxs=tensors[2]
    )
    assert got.dtype == torch.int64
    assert not got.requires_grad
    np.testing.assert_array_equal(got.numpy(), expected)


def test_the_number_of_threads_changes_nothing(rng):
    boxes = torch.from_numpy(clustered(rng, 40000, np.float32))
    scores = torch.from_numpy(rng.integers(0, 999, 40000).astype(np.float32))
    idxs = torch.from_numpy(rng.integers(0, 50, 40000))
    threads, kept = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        kept.append(pyifcn.fast_nms(boxes, scores, 0.6, idxs=idxs))
    torch.set_num_threads(threads)
    assert torch.equal(*kept)


def test_a_million_boxes(rng):
    count = 1_000_000
    scores = rng.random(count, dtype=np.float32)
    corners = np.stack(np.divmod(np.arange(count), 1000), 1) * 10.0
    apart = np.concatenate([corners, corners + 9], 1).astype(np.float32)
    np.testing.assert_array_equal(pyifcn.fast_nms(apart, scores, 0.5), falling_order(scores))
    alike = np.broadcast_to(apart[77], (count, 4))
    assert pyifcn.fast_nms(alike, scores, 0.5).tolist() == [scores.argmax()]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators
    boxes, scores, idxs = torch.rand(9, 4), torch.rand(9), torch.arange(9) % 2
    for some in (None, idxs):
        torch.library.opcheck(torch.ops.pyifcn.fast_nms.default, (boxes, scores, some, 0.5))


def test_compile_in_one_graph(rng):
    boxes = torch.from_numpy(uniform(rng, 60, np.float32))
    scores, idxs = torch.rand(60), torch.arange(60) % 2

    def best(boxes, scores, idxs):
        return boxes[pyifcn.fast_nms(boxes * 2, scores, 0.5, idxs=idxs)].sum()

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(best, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(boxes, scores, idxs), best(boxes, scores, idxs))


BOXES = np.zeros((3, 4), np.float32)
SCORES = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"boxes": [[0.0] * 4]}, TypeError, "boxes is a list, expected a NumPy array"),
        ({"boxes": BOXES[0]}, TypeError, r"\(4,\), expected 2 dimensions"),
        ({"boxes": BOXES[:, :3]}, ValueError, r"boxes has shape \(3, 3\), expected \(N, 4\)"),
        ({"boxes": BOXES.astype(int)}, TypeError, "boxes is int64, expected float16"),
        ({"scores": SCORES[:2]}, ValueError, "scores has 2 elements, expected .* the 3 boxes"),
        ({"scores": SCORES.astype(float)}, TypeError, "scores is float64, expected float32"),
        (
            {"scores": torch.zeros(3)},
            TypeError,
            "scores is a .* tensor .* expected a NumPy",
        ),
        ({"iou_threshold": np.nan}, ValueError, "iou_threshold is NaN"),
        ({"iou_threshold": "0.5"}, TypeError, "iou_threshold is '0.5', expected a number"),
        ({"idxs": np.zeros(2, int)}, ValueError, "idxs has 2 elements, expected .* the 3 boxes"),
        ({"idxs": SCORES}, TypeError, "idxs is a float32 array .* expected integers"),
        ({"idxs": np.zeros((3, 1), int)}, TypeError, "idxs .* expected 1 dimensions"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"boxes": BOXES, "scores": SCORES, "iou_threshold": 0.5} | change
    with pytest.raises(error, match=message):
        pyifcn.fast_nms(**arguments)
