"""Box NMS: every target against a slow reference and torchvision, torch.compile, bad input."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn

try:
    from torchvision.ops import batched_nms as torchvision_batched_nms
    from torchvision.ops import nms as torchvision_nms
except (ImportError, RuntimeError):
    torchvision_nms = None

needs_torchvision = pytest.mark.skipif(torchvision_nms is None, reason="torchvision is missing")
THRESHOLDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.95, 1.0, 1.5, -0.1)


def falling_order(scores):
    """Stable, NaN first."""
    keys = np.where(np.isnan(scores), np.inf, scores)
    return np.lexsort((np.arange(len(keys)), -keys, ~np.isnan(scores)))


def reference(boxes, scores, threshold):
    """The definition, one kept box after the other, in the boxes' own type."""
    x1, y1, x2, y2 = boxes.T
    zero = boxes.dtype.type(0)
    with np.errstate(all="ignore"):
        areas = (x2 - x1) * (y2 - y1)
        order, keep = falling_order(scores), []
        while len(order):
            i, rest = order[0], order[1:]
            keep.append(i)
            width = np.fmin(x2[i], x2[rest]) - np.fmax(x1[i], x1[rest])
            height = np.fmin(y2[i], y2[rest]) - np.fmax(y1[i], y1[rest])
            inter = np.fmax(zero, width) * np.fmax(zero, height)
            iou = inter / (areas[i] + areas[rest] - inter)
            assert iou.dtype == boxes.dtype
            order = rest[~(iou.astype(np.float64) > threshold)]
    return np.array(keep, np.int64)


def reference_batched(boxes, scores, idxs, threshold):
    """Up to 1,000 boxes moved apart by category; more, each category by itself."""
    if len(boxes) == 0:
        return np.zeros(0, np.int64)
    if len(boxes) <= 1000:
        with np.errstate(all="ignore"):
            offsets = idxs.astype(boxes.dtype) * (boxes.max() + boxes.dtype.type(1))
            return reference(boxes + offsets[:, None], scores, threshold)
    keep = np.zeros(len(boxes), bool)
    for category in np.unique(idxs):
        (members,) = np.nonzero(idxs == category)
        keep[members[reference(boxes[members], scores[members], threshold)]] = True
    order = falling_order(scores)
    return order[keep[order]]


def uniform(rng, count, dtype):
    corners = rng.uniform(0, 100, (count, 2))
    sides = rng.uniform(0, 30, (count, 2))
    return np.concatenate([corners, corners + sides], 1).astype(dtype)


def clustered(rng, count, dtype):
    objects = rng.uniform(0, 200, (max(1, count // 20), 4))
    objects[:, 2:] = objects[:, :2] + rng.uniform(8, 80, (len(objects), 2))
    return (objects[rng.integers(0, len(objects), count)] + rng.normal(0, 3, (count, 4))).astype(
        dtype
    )


def grid(rng, count, dtype):
    corners = rng.integers(0, 8, (count, 2))
    return np.concatenate([corners, corners + rng.integers(0, 8, (count, 2))], 1).astype(dtype)


def inverted(rng, count, dtype):
    return rng.normal(0, 20, (count, 4)).astype(dtype)


def many_scales(rng, count, dtype):
    sides = 10.0 ** rng.uniform(-3, 6, (count, 2))
    corners = rng.uniform(0, 1, (count, 2)) * 1e3 - sides / 2
    return np.concatenate([corners, corners + sides], 1).astype(dtype)


def thin(rng, count, dtype):
    boxes = rng.integers(0, 100, (count, 4)).astype(dtype)
    boxes[:, 2:] = boxes[:, :2] + [1, 100]
    boxes[::2, 2:] = boxes[::2, :2] + [100, 1]
    return boxes


def extreme(rng, count, dtype):
    limits = np.finfo(dtype)
    some = [0, 1, 2, 3, 7, -1, -0.0, np.nan, np.inf, -np.inf, limits.max, -limits.max, limits.tiny]
    tiny = [limits.smallest_subnormal * n for n in (1, 2, 3, 100)]
    root = np.sqrt(np.array([limits.tiny, limits.max], np.float64))
    values = np.array([*some, *tiny, *root, *(1.5 * root)]).astype(dtype)
    return values[rng.integers(0, len(values), (count, 4))]


def denormal(rng, count, dtype):
    return grid(rng, count, dtype) * np.sqrt(np.finfo(dtype).smallest_subnormal)


def huge(rng, count, dtype):
    return (grid(rng, count, np.float64) * np.sqrt(np.float64(np.finfo(dtype).max)) / 7).astype(
        dtype
    )


def outlier(rng, count, dtype):
    boxes = clustered(rng, count, dtype)
    boxes[:1] = [-1e18, -1e18, 1e18, 1e18]
    return boxes


KINDS = (
    uniform,
    clustered,
    grid,
    inverted,
    many_scales,
    thin,
    extreme,
    denormal,
    huge,
    outlier,
)


def some_scores(rng, count, dtype):
    scores = rng.choice([rng.random(count), rng.integers(0, 5, count) / 4 - 0.5])
    scores[: count // 8] = rng.choice([np.nan, -0.0, 0.0, np.inf, -np.inf], count // 8)
    return rng.permutation(scores).astype(dtype)


@cache  # for all targets
def cases(kind, dtype):
    """Boxes, scores, threshold and what the reference keeps."""
    rng = np.random.default_rng(0)
    found = []
    for count in (0, 1, 2, 15, 16, 17, 33, 250, 600):
        boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
        for t in THRESHOLDS:
            found.append((boxes, scores, t, reference(boxes, scores, t)))
    return found


@cache
def batched_cases(kind, dtype):
    rng = np.random.default_rng(0)
    found = []
    for count, categories in ((0, 1), (1, 1), (40, 3), (1000, 7), (1001, 7), (1500, 900)):
        boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
        idxs = rng.integers(-1, categories, count) * rng.choice([1, 2**24 + 1, 2**60])
        for t in (0.0, 0.5, -0.1):
            found.append((boxes, scores, idxs, t, reference_batched(boxes, scores, idxs, t)))
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(target, kind, dtype):
    for *arguments, expected in cases(kind, dtype):
        got = pyifcn.nms(*arguments)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_the_reference(target, kind, dtype):
    for *arguments, expected in batched_cases(kind, dtype):
        np.testing.assert_array_equal(pyifcn.batched_nms(*arguments), expected)


@needs_torchvision
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_torchvision(rng, kind, dtype):
    for count in (0, 1, 10, 300, 1000, 2000):
        boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
        idxs = rng.integers(0, 5, count)
        tensors = [torch.from_numpy(array) for array in (boxes, scores, idxs)]
        for threshold in THRESHOLDS:
            expected = torchvision_nms(*tensors[:2], threshold).numpy()
            np.testing.assert_array_equal(pyifcn.nms(boxes, scores, threshold), expected)
            expected = torchvision_batched_nms(*tensors, threshold).numpy()
            got = pyifcn.batched_nms(boxes, scores, idxs, threshold)
            if count > 1000:  # torchvision orders equal scores in no particular way here
                np.testing.assert_array_equal(scores[got], scores[expected])
                got, expected = np.sort(got), np.sort(expected)
            np.testing.assert_array_equal(got, expected)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_boxes(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    kind, dtype = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(["f4", "f8"]))
    count = data.draw(st.integers(0, 700))
    boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
    if count and data.draw(st.booleans()):
        boxes[rng.integers(0, count, count // 4)] = boxes[rng.integers(0, count, count // 4)]
    threshold = data.draw(
        st.sampled_from(THRESHOLDS) | st.floats(-0.5, 1.2) | st.sampled_from([np.inf, -np.inf])
    )
    np.testing.assert_array_equal(
        pyifcn.nms(boxes, scores, threshold), reference(boxes, scores, threshold)
    )


@pytest.mark.parametrize("count", [20, 500])
def test_the_threshold_is_a_double(count):
    # IoU 3/10 as float32 is above the double 0.3 but not above the float32 0.3.
    boxes = np.zeros((count, 4), np.float32)
    boxes[:] = np.arange(count)[:, None] * 100 + [0, 0, 10, 1]
    boxes[1] = [0, 0, 3, 1]
    boxes[3] = boxes[2] + [0, 0, -7, 0]
    scores = -np.arange(count, dtype=np.float32)
    removed = [i for i in range(count) if i not in (1, 3)]
    assert pyifcn.nms(boxes, scores, 0.3).tolist() == removed
    assert pyifcn.nms(boxes, scores, float(np.float32(0.3))).tolist() == list(range(count))
    wide = boxes.astype(np.float64)
    assert pyifcn.nms(wide, scores.astype(np.float64), 0.3).tolist() == list(range(count))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_widened(rng, dtype):
    boxes = torch.from_numpy(clustered(rng, 400, np.float32)).to(dtype)
    scores = torch.from_numpy(rng.random(400, dtype=np.float32)).to(dtype)
    idxs = torch.from_numpy(rng.integers(0, 3, 400))
    wide = boxes.float().numpy(), scores.float().numpy()
    got = pyifcn.nms(boxes, scores, 0.5)
    np.testing.assert_array_equal(got.numpy(), reference(*wide, 0.5))
    got = pyifcn.batched_nms(boxes, scores, idxs, 0.5)
    np.testing.assert_array_equal(got.numpy(), reference_batched(*wide, idxs.numpy(), 0.5))
    if dtype == torch.float16:
        got = pyifcn.nms(boxes.numpy(), scores.numpy(), 0.5)
        np.testing.assert_array_equal(got, reference(*wide, 0.5))


def test_torch_and_layouts(rng):
    boxes = np.asfortranarray(clustered(rng, 700, np.float32))
    scores = rng.random((700, 2), dtype=np.float32)[:, 0]
    idxs = rng.integers(0, 4, 700, dtype=np.int32)[::-1]
    expected = reference(boxes, scores, 0.4)
    np.testing.assert_array_equal(pyifcn.nms(boxes, scores, 0.4), expected)
    got = pyifcn.nms(
        torch.from_numpy(boxes).requires_grad_(), torch.from_numpy(scores), torch.tensor(0.4)
    )
    assert got.dtype == torch.int64
    assert not got.requires_grad
    np.testing.assert_array_equal(got.numpy(), reference(boxes, scores, float(np.float32(0.4))))
    expected = reference_batched(boxes, scores, idxs, 0.4)
    np.testing.assert_array_equal(pyifcn.batched_nms(boxes, scores, idxs, 0.4), expected)
    tensors = [torch.from_numpy(np.ascontiguousarray(a)) for a in (boxes, scores, idxs)]
    np.testing.assert_array_equal(pyifcn.batched_nms(*tensors, 0.4).numpy(), expected)


def test_the_number_of_threads_changes_nothing(rng):
    boxes = torch.from_numpy(clustered(rng, 40000, np.float32))
    scores = torch.from_numpy(rng.integers(0, 999, 40000).astype(np.float32))
    idxs = torch.from_numpy(rng.integers(0, 50, 40000))
    threads, kept = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        kept.append([pyifcn.nms(boxes, scores, 0.6), pyifcn.batched_nms(boxes, scores, idxs, 0.6)])
    torch.set_num_threads(threads)
    assert all(map(torch.equal, *kept))


def test_a_million_boxes(rng):
    count = 1_000_000
    scores = rng.random(count, dtype=np.float32)
    corners = np.stack(np.divmod(np.arange(count), 1000), 1) * 10.0
    apart = np.concatenate([corners, corners + 9], 1).astype(np.float32)
    np.testing.assert_array_equal(pyifcn.nms(apart, scores, 0.5), falling_order(scores))
    alike = np.broadcast_to(apart[77], (count, 4))
    assert pyifcn.nms(alike, scores, 0.5).tolist() == [scores.argmax()]
    assert pyifcn.nms(alike, scores, -1).tolist() == [scores.argmax()]
    idxs = np.arange(count) // 2
    pairs = apart[idxs * 2]
    best = idxs * 2 + (scores[1::2] > scores[::2])[idxs]
    kept = np.unique(best)
    np.testing.assert_array_equal(np.sort(pyifcn.nms(pairs, scores, 0.5)), kept)
    np.testing.assert_array_equal(np.sort(pyifcn.batched_nms(pairs, scores, idxs, 0.5)), kept)
    assert len(pyifcn.nms(apart * [1, 1, 0, 0], scores.astype(np.float64), -1)) > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators
    boxes, scores, idxs = torch.rand(9, 4), torch.rand(9), torch.arange(9) % 2
    torch.library.opcheck(torch.ops.pyifcn.nms.default, (boxes, scores, 0.5))
    torch.library.opcheck(torch.ops.pyifcn.batched_nms.default, (boxes, scores, idxs, 0.5))


def test_compile_in_one_graph(rng):
    boxes = torch.from_numpy(clustered(rng, 60, np.float32))
    scores, idxs = torch.rand(60), torch.arange(60) % 2

    def best(boxes, scores, idxs):
        kept = pyifcn.nms(boxes * 2, scores, 0.5)
        batched = pyifcn.batched_nms(boxes * 2, scores, idxs, 0.5)
        return boxes[kept].sum() + scores[batched].sum()

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(best, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(boxes, scores, idxs), best(boxes, scores, idxs))
        boxes.requires_grad_()
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
        ({"boxes": BOXES.astype(np.int16)}, TypeError, "boxes is .* expected float16"),
        ({"scores": SCORES[:2]}, ValueError, "scores has 2 elements, expected .* the 3 boxes"),
        ({"scores": SCORES[:, None]}, TypeError, "scores .* expected 1 dimensions"),
        ({"scores": SCORES.astype(float)}, TypeError, "scores is float64, expected float32"),
        (
            {"scores": torch.zeros(3)},
            TypeError,
            "scores is a .* tensor .* expected a NumPy",
        ),
        ({"iou_threshold": np.nan}, ValueError, "iou_threshold is NaN"),
        ({"iou_threshold": None}, TypeError, "iou_threshold is None, expected a number"),
        ({"iou_threshold": "0.5"}, TypeError, "iou_threshold is '0.5', expected a number"),
        ({"idxs": np.zeros(2, int)}, ValueError, "idxs has 2 elements, expected .* the 3 boxes"),
        ({"idxs": SCORES}, TypeError, "idxs is a float32 array .* expected integers"),
        ({"idxs": np.zeros((3, 1), int)}, TypeError, "idxs .* expected 1 dimensions"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {
        "boxes": BOXES,
        "scores": SCORES,
        "idxs": np.zeros(3, int),
        "iou_threshold": 0.5,
    } | change
    with pytest.raises(error, match=message):
        pyifcn.batched_nms(**arguments)
    if "idxs" not in change:
        del arguments["idxs"]
        with pytest.raises(error, match=message):
            pyifcn.nms(**arguments)
