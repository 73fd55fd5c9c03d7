"""NMS on a similarity matrix: every target and dtype against a slow reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from optional import torch
from test_nms import falling_order, some_scores

import pyifcn

SIZES = (0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
THRESHOLDS = (0.0, 0.1, 0.3, 0.5, 0.95, 1.0, -0.1, -1e9, 1e9, np.inf, -np.inf, 70000.0, 1e-9)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def reference(iou, scores, threshold):
    """One kept after the other."""
    groups = np.full(len(iou), -1)
    keep = []
    for i in falling_order(scores):
        if groups[i] >= 0:
            continue
        keep.append(i)
        groups[(groups < 0) & (iou[i].astype(np.float64) > threshold)] = i
        groups[i] = i
    return np.array(keep, np.int64), groups


def similarities(rng, count):
    """Float64 (N, N), with what comparisons can stumble over; not symmetric."""
    iou = rng.choice([rng.random((count, count)) ** 4, rng.integers(0, 11, (count, count)) / 10])
    odd = [np.nan, -np.nan, np.inf, -np.inf, -0.0, -1.5, 65504.0, 1e-8, 0.3]
    some = rng.random(iou.shape) < 0.05
    iou[some] = rng.choice(odd, some.sum())
    return iou


def check(answer, expected):
    for got, wanted in zip(answer, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(got), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_the_reference(target, rng, dtype):
    for count in SIZES:
        iou = torch.from_numpy(similarities(rng, count)).to(dtype)
        scores = some_scores(rng, count, np.float32)
        for threshold in THRESHOLDS:
            expected = reference(iou.double().numpy(), scores, threshold)
            arguments = iou, torch.from_numpy(scores), threshold
            check(pyifcn.nms_from_iou(*arguments, return_groups=True), expected)
            if dtype != torch.bfloat16:
                keep = pyifcn.nms_from_iou(iou.numpy(), scores, threshold)
                assert keep.dtype == np.int64
                np.testing.assert_array_equal(keep, expected[0])


@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_every_half_against_thresholds(target, dtype):
    values = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype)
    iou = torch.full((513, 513), -torch.inf, dtype=dtype)
    scores = torch.zeros(513)
    for threshold in (0.0, 0.3, -0.3, 1.0, 65519.0, 65520.0, 1e-8, -1e30):
        above = []
        for row in values.split(512):  # each beside an element that is kept first
            iou[0, 1:] = row
            _, groups = pyifcn.nms_from_iou(iou, scores, threshold, return_groups=True)
            above.append(groups[1:] == 0)
        assert torch.equal(torch.cat(above), values.double() > threshold)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_matrix(data):
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    count = data.draw(st.integers(0, 12))
    width = np.dtype(dtype).itemsize * 8
    numbers = st.floats(width=width) | st.sampled_from([0.0, 0.25, 0.5])
    iou = data.draw(npst.arrays(dtype, (count, count), elements=numbers))
    scores = data.draw(npst.arrays(dtype, count, elements=numbers))
    threshold = data.draw(st.floats(allow_nan=False) | st.sampled_from(iou.ravel().tolist() or [0]))
    if np.isnan(threshold):
        threshold = 0.5
    answer = pyifcn.nms_from_iou(iou, scores, threshold, return_groups=True)
    check(answer, reference(iou, scores, threshold))


def test_equals_nms(rng):
    corners = rng.uniform(0, 100, (300, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 40, (300, 2))], 1)
    scores = rng.integers(0, 50, 300).astype(np.float64)
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    inter = (high - low).clip(0).prod(-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    iou = inter / (areas[:, None] + areas - inter)
    expected = pyifcn.nms(boxes, scores, 0.3, return_groups=True)
    check(pyifcn.nms_from_iou(iou, scores, 0.3, return_groups=True), expected)


def test_layouts_and_autograd(rng):
    iou, scores = similarities(rng, 70), some_scores(rng, 70, np.float32)
    expected = reference(iou, scores, 0.4)
    check(pyifcn.nms_from_iou(np.asfortranarray(iou), scores, 0.4, return_groups=True), expected)
    arguments = torch.from_numpy(iou).requires_grad_(), torch.from_numpy(scores)
    keep = pyifcn.nms_from_iou(*arguments, 0.4)
    assert not keep.requires_grad
    np.testing.assert_array_equal(keep, expected[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators
    arguments = torch.rand(9, 9), torch.rand(9), 0.5
    torch.library.opcheck(torch.ops.pyifcn.nms_from_iou.default, arguments)


IOU = np.zeros((3, 3), np.float32)
SCORES = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"iou": [[0.0]]}, TypeError, "iou is a list, expected a NumPy array"),
        ({"iou": IOU[0]}, TypeError, r"iou .* expected 2 dimensions"),
        ({"iou": IOU[:2]}, ValueError, r"iou has shape \(2, 3\), expected \(N, N\)"),
        ({"iou": IOU.astype(int)}, TypeError, "iou is int64, expected float16, bfloat16"),
        ({"scores": SCORES[:2]}, ValueError, "scores has 2 elements, .* the 3 rows of iou"),
        ({"scores": SCORES.astype(int)}, TypeError, "scores is int64, expected float32"),
        ({"scores": IOU}, TypeError, "scores .* expected 1 dimensions"),
        (
            {"scores": torch.zeros(3)},
            TypeError,
            "scores is a .* tensor .* expected a NumPy",
        ),
        ({"iou_threshold": np.nan}, ValueError, "iou_threshold is NaN"),
        ({"iou_threshold": "a"}, TypeError, "iou_threshold is 'a', expected a number"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"iou": IOU, "scores": SCORES, "iou_threshold": 0.5} | change
    with pytest.raises(error, match=message):
        pyifcn.nms_from_iou(**arguments)
