"""Soft-NMS: every target against a slow reference, the exponential, torch, bad input."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch
from test_nms import KINDS, clustered, some_scores, uniform

import pyifcn

OPTIONS = (
    {},
    {"iou_threshold": 0.0, "min_score": 0.01},
    {"iou_threshold": -0.5, "min_score": -np.inf},
    {"iou_threshold": 0.5, "min_score": 0.25},
    {"method": "gaussian"},
    {"method": "gaussian", "sigma": 0.05, "min_score": 0.0},
    {"method": "gaussian", "sigma": 1e-300, "min_score": -np.inf},
)


def reference(
    boxes, scores, *, iou_threshold=0.3, sigma=0.5, min_score=1e-3, method="linear", idxs=None
):
    """Takes the best, lowers the others, and so on. The exponential is NumPy's, in float64."""
    dtype = boxes.dtype.type
    x1, y1, x2, y2 = boxes.T
    idxs = np.zeros(len(boxes)) if idxs is None else idxs
    left, scores, kept = np.arange(len(boxes)), scores.copy(), []
    with np.errstate(all="ignore"):
        areas = (x2 - x1) * (y2 - y1)
        while True:
            left = left[scores[left].astype(np.float64) >= min_score]
            if not len(left):
                break
            i = left[np.argmax(scores[left])]  # the first of equal ones
            kept.append(i)
            left = left[left != i]
            width = np.fmin(x2[i], x2[left]) - np.fmax(x1[i], x1[left])
            height = np.fmin(y2[i], y2[left]) - np.fmax(y1[i], y1[left])
            inter = np.fmax(dtype(0), width) * np.fmax(dtype(0), height)
            iou = inter / (areas[i] + areas[left] - inter)
            if method == "linear":
                low = iou.astype(np.float64) >= iou_threshold
                weight = np.where(low, dtype(1) - iou, dtype(1))
            else:
                least = np.finfo(dtype).smallest_normal
                power = -(iou * iou) / max(dtype(sigma), least)
                weight = np.where(iou > 0, np.exp(power.astype(np.float64)).astype(dtype), dtype(1))
            scores[left] *= np.where(idxs[left] == idxs[i], weight, dtype(1))
    kept = np.array(kept, np.int64)
    order = np.lexsort((kept, -scores[kept]))  # negative scores rise
    return kept[order], scores[kept[order]]


def check(answer, expected, exact):
    keep, scores = answer
    assert keep.dtype == np.int64
    assert scores.dtype == expected[1].dtype
    if exact:
        np.testing.assert_array_equal(keep, expected[0])
        np.testing.assert_array_equal(scores, expected[1])
        return
    # The exponential's last bit can let one near the least score in or out, and swap near equals.
    ours, theirs = (dict(zip(*pair, strict=True)) for pair in (answer, expected))
    assert len(ours) == len(keep)
    assert all(scores[1:] <= scores[:-1])
    for i in ours.keys() | theirs.keys():
        np.testing.assert_allclose(ours.get(i, 0), theirs.get(i, 0), rtol=3e-5, atol=2e-44)


@cache  # for all targets
def cases(kind, dtype):
    rng = np.random.default_rng(0)
    found = []
    for count in (0, 1, 15, 16, 17, 64, 129, 300):
        boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
        for options in OPTIONS[:5] if count > 17 else OPTIONS:
            found.append((boxes, scores, options, reference(boxes, scores, **options)))
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(target, kind, dtype):
    for boxes, scores, options, expected in cases(kind, dtype):
        check(pyifcn.soft_nms(boxes, scores, **options), expected, "method" not in options)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_target_gives_the_same(rng, dtype, method):
    boxes, scores = clustered(rng, 3000, dtype), some_scores(rng, 3000, dtype)
    idxs, before, answers = rng.integers(0, 3, 3000), pyifcn.current_target(), []
    for target in pyifcn.available_targets():
        pyifcn.use_target(target)
        answers.append(pyifcn.soft_nms(boxes, scores, method=method))
        answers[-1] += pyifcn.soft_nms(boxes, scores, method=method, idxs=idxs)
    pyifcn.use_target(before)
    for answer in answers[1:]:
        for got, expected in zip(answer, answers[0], strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_categories(target, rng, dtype):
    boxes, scores = uniform(rng, 400, dtype), some_scores(rng, 400, dtype)
    idxs = rng.integers(-2, 30, 400) * 2**58
    for options in OPTIONS[:5]:
        expected = reference(boxes, scores, idxs=idxs, **options)
        got = pyifcn.soft_nms(boxes, scores, idxs=idxs, **options)
        check(got, expected, "method" not in options)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_boxes(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    kind, dtype = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(["f4", "f8"]))
    count = data.draw(st.integers(0, 200))
    boxes, scores = kind(rng, count, dtype), some_scores(rng, count, dtype)
    if count and data.draw(st.booleans()):
        boxes[rng.integers(0, count, count // 4)] = boxes[rng.integers(0, count, count // 4)]
    options = {
        "iou_threshold": data.draw(st.floats(-0.1, 1.1)),
        "min_score": data.draw(st.sampled_from([0.1, 1e-3, 0.0, -0.3, -np.inf])),
    }
    answer = pyifcn.soft_nms(boxes, scores, **options)
    check(answer, reference(boxes, scores, **options), exact=True)


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float32, -105), (np.float64, -747)])
def test_the_exponential(target, dtype, lowest):
    # Two boxes in each category, one inside the other.
    count = 60_000
    area = np.sqrt(np.linspace(0, 1, count)).astype(dtype)
    boxes = np.zeros((count, 2, 4), dtype)
    boxes[..., 2:] = 1
    boxes[:, 1, 2] = area
    iou = area / ((1 + area) - area)
    scores = np.tile(np.array([2, 1], dtype), count)
    sigma = -1 / lowest
    keep, kept = pyifcn.soft_nms(
        boxes.reshape(-1, 4),
        scores,
        sigma=sigma,
        min_score=-1,
        method="gaussian",
        idxs=np.repeat(np.arange(count), 2),
    )
    got = np.empty(2 * count, dtype)
    got[keep] = kept
    with np.errstate(under="ignore"):
        exact = np.exp(-(iou * iou / dtype(sigma)).astype(np.longdouble))
    error = np.abs(got[1::2].astype(np.longdouble) - exact) / np.spacing(exact.astype(dtype))
    assert error.max() < (1 if dtype == np.float32 else 2)
    assert got[1] == 1
    assert got[-1] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_torch(rng, dtype):
    boxes = torch.from_numpy(clustered(rng, 300, np.float64)).to(dtype)
    scores = torch.from_numpy(rng.random(300)).to(dtype)
    wide = [t.numpy() if dtype == torch.float64 else t.float().numpy() for t in (boxes, scores)]
    expected_keep, expected_scores = reference(*wide)
    keep, kept = pyifcn.soft_nms(boxes, scores)
    np.testing.assert_array_equal(keep.numpy(), expected_keep)
    assert torch.equal(kept, torch.from_numpy(expected_scores).to(dtype))
    if dtype == torch.float16:
        got = pyifcn.soft_nms(boxes.numpy(), scores.numpy())
        assert got.scores.dtype == np.float16
        np.testing.assert_array_equal(got.keep, expected_keep)


def test_the_number_of_threads_changes_nothing(rng):
    boxes = torch.from_numpy(clustered(rng, 9000, np.float32))
    scores = torch.from_numpy(rng.integers(0, 999, 9000).astype(np.float32) / 999)
    idxs = torch.from_numpy(rng.integers(0, 50, 9000))
    threads, answers = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        answers.append(pyifcn.soft_nms(boxes, scores, idxs=idxs))
    torch.set_num_threads(threads)
    assert all(map(torch.equal, *answers))


def test_many_boxes_without_a_matrix():
    count = 200_000
    corners = np.stack(np.divmod(np.arange(count), 500), 1) * 10.0
    boxes = np.concatenate([corners, corners + 9], 1).astype(np.float32)[:3000]
    boxes = np.concatenate([boxes, np.zeros((count - 3000, 4), np.float32)])
    keep, scores = pyifcn.soft_nms(boxes, np.full(count, 0.5, np.float32), method="gaussian")
    np.testing.assert_array_equal(keep, np.arange(count))
    assert (scores == 0.5).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators
    boxes, scores, idxs = torch.rand(9, 4), torch.rand(9), torch.arange(9) % 2
    for categories, method in ((None, "linear"), (idxs, "gaussian")):
        arguments = boxes, scores, categories, 0.3, 0.5, 1e-3, method
        torch.library.opcheck(torch.ops.pyifcn.soft_nms.default, arguments)


def test_compile_in_one_graph(rng):
    boxes, scores = torch.from_numpy(clustered(rng, 60, np.float32)), torch.rand(60)

    def best(boxes, scores):
        keep, kept = pyifcn.soft_nms(boxes * 2, scores, method="gaussian")
        return boxes[keep].sum() + kept.sum()

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(best, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(boxes, scores), best(boxes, scores))


BOXES = np.zeros((3, 4), np.float32)
SCORES = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"boxes": [[0.0] * 4]}, TypeError, "boxes is a list, expected a NumPy array"),
        ({"boxes": BOXES[:, :3]}, ValueError, r"boxes has shape \(3, 3\), expected \(N, 4\)"),
        ({"boxes": BOXES.astype(int)}, TypeError, "boxes is int64, expected float16"),
        ({"scores": SCORES[:2]}, ValueError, "scores has 2 elements, expected .* the 3 boxes"),
        ({"scores": SCORES.astype(float)}, TypeError, "scores is float64, expected float32"),
        ({"idxs": np.zeros(2, int)}, ValueError, "idxs has 2 elements, expected .* the 3 boxes"),
        ({"idxs": SCORES}, TypeError, "idxs is a float32 array .* expected integers"),
        ({"iou_threshold": np.nan}, ValueError, "iou_threshold is NaN"),
        ({"iou_threshold": None}, TypeError, "iou_threshold is None, expected a number"),
        ({"sigma": 0}, ValueError, "sigma is 0, expected more than 0"),
        ({"sigma": np.nan}, ValueError, "sigma is nan, expected more than 0"),
        ({"sigma": "a"}, TypeError, "sigma is 'a', expected a number"),
        ({"min_score": np.nan}, ValueError, "min_score is NaN"),
        ({"method": "hard"}, ValueError, "method is 'hard', expected 'linear' or 'gaussian'"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"boxes": BOXES, "scores": SCORES} | change
    with pytest.raises(error, match=message):
        pyifcn.soft_nms(**arguments)


def test_scores_are_out_of_autograds_sight():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8]], requires_grad=True)
    found = pyifcn.soft_nms(boxes, torch.tensor([0.9, 0.8], requires_grad=True))
    assert not found.scores.requires_grad
