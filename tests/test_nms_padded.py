"""NMS of batches with a fixed output shape: every target against a slow reference, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch
from test_nms import KINDS, clustered, falling_order, some_scores
from test_nms import reference as reference_nms

import pyifcn


def reference(boxes, scores, threshold, *, max_output, idxs=None, score_threshold=None):
    """Image by image, category by category."""
    indices = np.full((len(boxes), max_output), -1)
    counts = np.zeros(len(boxes), np.int64)
    idxs = np.zeros(scores.shape, np.int64) if idxs is None else idxs
    for n in range(len(boxes)):
        there = np.full(scores.shape[1], True)
        if score_threshold is not None:
            there = scores[n].astype(np.float64) > score_threshold
        keep = np.zeros(scores.shape[1], bool)
        for category in np.unique(idxs[n][there]):
            (members,) = np.nonzero(there & (idxs[n] == category))
            keep[members[reference_nms(boxes[n][members], scores[n][members], threshold)]] = True
        order = falling_order(scores[n])
        kept = order[keep[order]][:max_output]
        indices[n, : len(kept)], counts[n] = kept, len(kept)
    return indices, counts


def batch(rng, images, count, kind, dtype):
    boxes = np.stack([kind(rng, count, dtype) for _ in range(images)])
    return boxes, np.stack([some_scores(rng, count, dtype) for _ in range(images)])


def check(answer, expected):
    for got, wanted in zip(answer, expected, strict=True):
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(target, rng, kind, dtype):
    for images, count, most in ((1, 0, 3), (2, 1, 3), (3, 17, 100), (2, 130, 5), (2, 450, 20)):
        boxes, scores = batch(rng, images, count, kind, dtype)
        idxs = rng.integers(-1, 4, scores.shape) * 2**60
        for options in ({}, {"idxs": idxs, "score_threshold": 0.1}):
            options["max_output"] = most
            check(
                pyifcn.nms_padded(boxes, scores, 0.4, **options),
                reference(boxes, scores, 0.4, **options),
            )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_batch(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    kind, dtype = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(["f4", "f8"]))
    images, count = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 150))
    boxes, scores = np.zeros((0, count, 4), dtype), np.zeros((0, count), dtype)
    if images:
        boxes, scores = batch(rng, images, count, kind, dtype)
    idxs = rng.integers(0, 3, scores.shape) if data.draw(st.booleans()) else None
    options = {
        "max_output": data.draw(st.integers(0, 60)),
        "score_threshold": data.draw(st.none() | st.floats(-0.6, 1) | st.just(-np.inf)),
        "idxs": idxs,
    }
    threshold = data.draw(st.floats(-0.5, 1.2))
    check(
        pyifcn.nms_padded(boxes, scores, threshold, **options),
        reference(boxes, scores, threshold, **options),
    )


def test_rows_are_those_of_nms(rng):
    boxes, scores = batch(rng, 4, 3000, clustered, np.float32)
    idxs = rng.integers(0, 7, scores.shape)
    plain = pyifcn.nms_padded(boxes, scores, 0.5, max_output=3000)
    by_category = pyifcn.nms_padded(boxes, scores, 0.5, max_output=100, idxs=idxs)
    for n in range(4):
        expected = pyifcn.nms(boxes[n], scores[n], 0.5)
        np.testing.assert_array_equal(plain.indices[n, : plain.counts[n]], expected)
        expected = pyifcn.batched_nms(boxes[n], scores[n], idxs[n], 0.5)[:100]
        np.testing.assert_array_equal(by_category.indices[n], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_torch(rng, dtype):
    boxes, scores = (
        torch.from_numpy(array).to(dtype) for array in batch(rng, 3, 200, clustered, np.float64)
    )
    idxs = torch.from_numpy(rng.integers(0, 3, (3, 200))).to(torch.int32)
    wide = [t.numpy() if dtype == torch.float64 else t.float().numpy() for t in (boxes, scores)]
    expected = reference(*wide, 0.5, max_output=50, idxs=idxs.numpy())
    for tensors in ((boxes, scores), (boxes.clone().requires_grad_(), scores)):
        answer = pyifcn.nms_padded(*tensors, 0.5, max_output=50, idxs=idxs)
        check([t.numpy() for t in answer], expected)


def test_the_number_of_threads_changes_nothing(rng):
    boxes, scores = map(torch.from_numpy, batch(rng, 8, 2000, clustered, np.float32))
    threads, answers = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        answers.append(pyifcn.nms_padded(boxes, scores, 0.6, max_output=100))
    torch.set_num_threads(threads)
    assert all(map(torch.equal, *answers))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators
    boxes, scores = torch.rand(2, 9, 4), torch.rand(2, 9)
    for idxs, least in ((None, None), (torch.arange(18).view(2, 9) % 2, 0.5)):
        arguments = boxes, scores, idxs, 0.5, 5, least
        torch.library.opcheck(torch.ops.pyifcn.nms_padded.default, arguments)


def test_compile_with_fixed_shapes(rng):
    boxes, scores = map(torch.from_numpy, batch(rng, 2, 60, clustered, np.float32))

    def best(boxes, scores):
        indices, counts = pyifcn.nms_padded(boxes * 2, scores, 0.5, max_output=10)
        there = torch.arange(10) < counts[:, None]
        return scores.gather(1, indices.clamp(min=0)).where(there, 0)

    compiled = torch.compile(best, fullgraph=True, dynamic=False, backend="aot_eager")
    torch.testing.assert_close(
        compiled(boxes, scores), best(boxes, scores), rtol=0, atol=0, equal_nan=True
    )


BOXES = np.zeros((2, 3, 4), np.float32)
SCORES = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"boxes": BOXES[0]}, TypeError, r"boxes .* expected 3 dimensions"),
        ({"boxes": BOXES[..., :3]}, ValueError, r"boxes has shape \(2, 3, 3\), expected \(B, N, 4"),
        ({"boxes": BOXES.astype(int)}, TypeError, "boxes is int64, expected float16"),
        ({"scores": SCORES[:1]}, ValueError, r"scores has shape \(1, 3\), expected \(2, 3\)"),
        ({"scores": SCORES.astype(float)}, TypeError, "scores is float64, expected float32"),
        ({"idxs": np.zeros((2, 2), int)}, ValueError, r"idxs has shape \(2, 2\), expected \(2, 3"),
        ({"idxs": SCORES}, TypeError, "idxs is a float32 array .* expected integers"),
        ({"max_output": -1}, ValueError, "max_output is -1, expected at least 0"),
        ({"max_output": 1.5}, TypeError, "max_output is 1.5, expected an integer"),
        ({"max_output": 2**62}, ValueError, "max_output is .*, expected at most 1073741824"),
        ({"iou_threshold": np.nan}, ValueError, "iou_threshold is NaN"),
        ({"score_threshold": np.nan}, ValueError, "score_threshold is NaN"),
        ({"score_threshold": "a"}, TypeError, "score_threshold is 'a', expected a number"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"boxes": BOXES, "scores": SCORES, "iou_threshold": 0.5, "max_output": 2} | change
    with pytest.raises(error, match=message):
        pyifcn.nms_padded(**arguments)
