"""Matrix NMS: every target against a slow reference, torch, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch
from test_nms import falling_order

import pyifcn


def reference(dense, scores, labels, kernel="gaussian", sigma=2.0):
    """The paper's formula over the whole matrix."""
    count = len(dense)
    flat = dense.reshape(count, dense[0].size if count else 0).astype(np.float64)
    shared = flat @ flat.T
    areas = flat.sum(1)
    with np.errstate(all="ignore"):
        iou = np.nan_to_num(shared / (areas[:, None] + areas - shared))
    order = falling_order(scores)
    rank = np.empty(count, int)
    rank[order] = np.arange(count)
    better = (rank[:, None] < rank) & (np.asarray(labels)[:, None] == labels)
    iou = np.where(better, iou, 0)
    most = iou.max(0, initial=0)
    if kernel == "gaussian":
        ratio = np.exp(-sigma * iou**2) / np.exp(-sigma * most**2)[:, None]
    else:
        with np.errstate(all="ignore"):
            ratio = (1 - iou) / (1 - most)[:, None]
        ratio[most == 1] = 1
    decay = np.where(better, ratio, 1).min(0, initial=1)
    with np.errstate(invalid="ignore"):  # infinity times 0
        return (scores.astype(np.float64) * decay).astype(scores.dtype)


def solo(dense, scores, labels, kernel, sigma):
    """As SOLO's code does it with tensors, of sorted masks."""
    flat = dense.flatten(1).double()
    shared = flat @ flat.T
    areas = flat.sum(1)
    iou = (shared / (areas[:, None] + areas - shared)).triu(1)
    iou *= (labels[:, None] == labels).triu(1)
    most = iou.amax(0)[:, None]
    if kernel == "gaussian":
        decay = torch.exp(-sigma * iou**2) / torch.exp(-sigma * most**2)
    else:
        decay = (1 - iou) / (1 - most)
    return scores * decay.amin(0)


def masks_and_scores(rng, count, size=(23, 70)):
    """Rectangles, some twice, some empty; scores with ties."""
    dense = np.zeros((count, *size), bool)
    for mask in dense:
        y, x = rng.integers(0, size[0]), rng.integers(0, size[1])
        mask[y : y + rng.integers(0, 12), x : x + rng.integers(0, 40)] = True
    if count:
        dense[rng.integers(0, count, count // 4)] = dense[rng.integers(0, count, count // 4)]
    return dense, rng.integers(0, max(1, count // 2), count) / max(1, count)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_equals_the_reference(target, rng, kernel):
    for count in (0, 1, 2, 17, 64, 257, 300):
        dense, scores = masks_and_scores(rng, count)
        labels = rng.integers(0, 3, count)
        for sigma in (0.5, 2.0):
            got = pyifcn.matrix_nms(dense, scores, labels, kernel=kernel, sigma=sigma)
            expected = reference(dense, scores, labels, kernel, sigma)
            np.testing.assert_allclose(got, expected, rtol=1e-14, atol=0)
        masks = pyifcn.Masks.from_dense(dense)
        got = pyifcn.matrix_nms(masks, scores.astype(np.float32), labels, kernel=kernel)
        assert got.dtype == np.float32
        expected = reference(dense, scores.astype(np.float32), labels, kernel)
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_masks(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dense, scores = masks_and_scores(rng, data.draw(st.integers(0, 40)), size=(9, 12))
    scores = rng.choice([scores, rng.choice([np.nan, np.inf, -1.0, 0.5], len(scores))])
    labels = rng.integers(0, data.draw(st.integers(1, 4)), len(dense)) * 2**60
    kernel = data.draw(st.sampled_from(["gaussian", "linear"]))
    got = pyifcn.matrix_nms(dense, scores, labels, kernel=kernel)
    np.testing.assert_allclose(got, reference(dense, scores, labels, kernel), rtol=1e-14, atol=0)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_equals_solo(rng, kernel):
    dense = np.zeros((60, 40, 90), bool)
    for mask in dense:  # no two alike: SOLO's "linear" divides 0 by 0 there
        y, x = rng.integers(0, 20), rng.integers(0, 40)
        mask[y : y + rng.integers(3, 20), x : x + rng.integers(3, 50)] = True
    dense = np.unique(dense, axis=0)
    scores = np.sort(rng.random(len(dense)))[::-1].copy()
    labels = torch.from_numpy(rng.integers(0, 2, len(dense)))
    tensors = torch.from_numpy(dense), torch.from_numpy(scores), labels
    expected = solo(*tensors, kernel, 2.0)
    got = pyifcn.matrix_nms(*tensors, kernel=kernel)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


def test_every_target_and_number_of_threads_gives_the_same(rng):
    dense, scores = masks_and_scores(rng, 600)
    masks, labels = pyifcn.Masks.from_dense(dense), np.zeros(600, np.int32)
    before, threads, answers = pyifcn.current_target(), torch.get_num_threads(), []
    for target in pyifcn.available_targets():
        pyifcn.use_target(target)
        for count in (1, 3):
            torch.set_num_threads(count)
            answers.append(pyifcn.matrix_nms(masks, scores, labels))
    torch.set_num_threads(threads)
    pyifcn.use_target(before)
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_torch(rng, dtype):
    dense, scores = masks_and_scores(rng, 30)
    scores = torch.from_numpy(scores).to(dtype)
    labels = torch.zeros(30, dtype=torch.uint8)
    got = pyifcn.matrix_nms(torch.from_numpy(dense), scores.clone().requires_grad_(), labels)
    assert got.dtype == dtype
    assert not got.requires_grad
    expected = reference(dense, scores.double().numpy(), labels.numpy())
    torch.testing.assert_close(got, torch.from_numpy(expected).to(dtype))


DENSE = np.zeros((3, 4, 5), bool)
SCORES = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"masks": DENSE[0]}, TypeError, "bool or uint8"),
        ({"scores": SCORES[:2]}, ValueError, "scores has 2 elements, .* 3 masks"),
        ({"scores": SCORES.astype(int)}, TypeError, "scores is .* expected float16"),
        ({"scores": [0.0] * 3}, TypeError, "scores is a list, expected a NumPy array"),
        ({"labels": np.zeros(2, int)}, ValueError, "labels has 2 elements, .* 3 masks"),
        ({"labels": SCORES}, TypeError, "labels is .* expected integers"),
        ({"kernel": "box"}, ValueError, "kernel is 'box', expected 'gaussian' or 'linear'"),
        ({"sigma": 0}, ValueError, "sigma is 0, expected more than 0"),
        ({"sigma": np.nan}, ValueError, "sigma is nan, expected more than 0"),
        ({"sigma": np.inf}, ValueError, "sigma is inf, expected more than 0 and finite"),
        ({"kernel": None}, TypeError, "kernel is None, expected a string"),
        ({"sigma": None}, TypeError, "sigma is None, expected a number"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"masks": DENSE, "scores": SCORES, "labels": np.zeros(3, int)} | change
    with pytest.raises(error, match=message):
        pyifcn.matrix_nms(**arguments)
