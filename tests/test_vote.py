"""Merging duplicates by vote: every target against a slow reference, real results, bad input."""

import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn


def reference(dense, scores, groups, threshold, unit):
    """The definition in whole numbers: (mask, index) of each group, the best first."""
    kept = np.flatnonzero(groups == np.arange(len(groups)))
    found = []
    for i in kept[np.argsort(-scores[kept], kind="stable")]:
        members = np.flatnonzero(groups == i)
        weights = np.rint(scores[members] / unit).astype(int)
        if not weights.any():
            weights[:] = 1
        votes = sum(weight * dense[j] for j, weight in zip(members, weights, strict=True))
        least = math.ceil(Fraction(threshold) * int(weights.sum()))
        found.append((votes >= least, i))
    return found


def check(dense, scores, groups, threshold=0.5, unit=1 / 16):
    """That what we find is right; the scores are multiples of `unit`."""
    got = pyifcn.vote(pyifcn.Masks.from_dense(dense), scores, groups, threshold=threshold)
    expected = reference(dense, scores, groups, threshold, unit)
    assert got.indices.dtype == np.int64
    assert got.indices.tolist() == [i for _, i in expected]
    assert got.scores.dtype == scores.dtype
    np.testing.assert_array_equal(got.scores, scores[got.indices])
    assert got.masks.size == dense.shape[1:]
    merged = np.array([mask for mask, _ in expected], bool).reshape(-1, *dense.shape[1:])
    np.testing.assert_array_equal(got.masks.to_dense(), merged)
    assert got.masks == pyifcn.Masks.from_dense(merged)  # in tight boxes


def discs(rng, count, shape):
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    at = rng.uniform(0, 1, (2, count, 1, 1)) * np.reshape(shape, (2, 1, 1, 1))
    radius = rng.uniform(0, 0.4, (count, 1, 1)) * max(shape)
    return np.hypot(ys - at[0], xs - at[1]) <= radius


def noise(rng, count, shape):
    return rng.random((count, *shape)) < rng.random((count, 1, 1))


def some_groups(rng, count):
    """Some are kept, each of the others belongs to one of them."""
    groups = np.arange(count)
    kept = np.flatnonzero(rng.random(count) < 0.3)
    if len(kept):
        groups[:] = rng.choice(kept, count)
        groups[kept] = kept
    return groups


def some_scores(rng, count):
    return (rng.integers(0, 17, count) / 16).astype(np.float32)


def case(rng, count, shape, kind):
    return kind(rng, count, shape), some_scores(rng, count), some_groups(rng, count)


@cache  # for all targets
def cases():
    rng = np.random.default_rng(0)
    sides = (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
    found = [case(rng, 6, (19, side), noise) for side in sides]
    found += [case(rng, 6, (side, 70), discs) for side in sides]
    found += [case(rng, count, (30, 200), discs) for count in (0, 1, 2, 9, 40)]
    return found


def test_equals_the_reference(target):
    for arguments in cases():
        for threshold in (0.5, 0.25, 1.0, 1e-9):
            check(*arguments, threshold)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_masks(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shape = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 200))
    kind = data.draw(st.sampled_from([discs, noise]))
    arguments = case(rng, data.draw(st.integers(0, 30)), shape, kind)
    check(*arguments, data.draw(st.sampled_from([0.5, 0.25, 0.75, 1.0])))


def test_a_wide_image(rng):
    check(*case(rng, 5, (3, 4500), noise))
    check(*case(rng, 5, (40, 2200), discs))


def test_half_of_equal_votes_is_half():
    for members in (2, 4, 6, 10, 14, 50):
        dense = np.zeros((members, 3, 70), bool)
        dense[: members // 2] = True
        dense[:, 1, 60:67] = True
        for score in (0.1, 1 / 3, 1e-7, 1.0, 1e30):
            check(dense, np.full(members, score), np.zeros(members, int), unit=score)


def test_a_group_of_one_is_its_mask(rng):
    dense = noise(rng, 9, (20, 90))
    masks = pyifcn.Masks.from_dense(dense)
    scores = rng.random(9)
    merged = pyifcn.vote(masks, scores, np.arange(9))
    order = np.argsort(-scores)
    assert merged.masks == masks[order]
    np.testing.assert_array_equal(merged.indices, order)


def test_scores_of_zero_count_alike():
    dense = np.zeros((3, 4, 4), bool)
    dense[0, 0], dense[1, 0], dense[2, 1] = True, True, True
    check(dense, np.zeros(3), np.zeros(3, int))


def test_groups_of_nms(rng):
    dense = np.repeat(discs(rng, 8, (60, 90)), 5, 0)
    dense ^= rng.random(dense.shape) < 0.05
    scores = rng.permutation(40) / 64
    masks = pyifcn.Masks.from_dense(dense)
    keep, groups = pyifcn.mask_nms(masks, scores, 0.5, return_groups=True)
    check(dense, scores, groups, unit=1 / 64)
    np.testing.assert_array_equal(pyifcn.vote(masks, scores, groups).indices, keep)


def test_torch_and_types(rng):
    dense, scores, groups = case(rng, 20, (40, 100), discs)
    masks = pyifcn.Masks.from_dense(torch.from_numpy(dense))
    expected = pyifcn.vote(pyifcn.Masks.from_dense(dense), scores, groups.astype(np.int32))
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        tensor = torch.from_numpy(scores).to(dtype).requires_grad_()
        got = pyifcn.vote(masks, tensor, torch.from_numpy(groups).to(torch.int32))
        assert got.masks == expected.masks
        assert got.masks.device == masks.device
        assert got.scores.dtype == dtype
        assert not got.scores.requires_grad
        np.testing.assert_array_equal(got.indices.numpy(), expected.indices)


def test_the_number_of_threads_changes_nothing(rng):
    dense, scores, groups = case(rng, 200, (90, 130), discs)
    masks = pyifcn.Masks.from_dense(torch.from_numpy(dense))
    threads, found = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        found.append(pyifcn.vote(masks, torch.from_numpy(scores), torch.from_numpy(groups)))
    torch.set_num_threads(threads)
    assert found[0].masks == found[1].masks


MASKS = pyifcn.Masks.from_dense(np.zeros((3, 5, 5), bool))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"masks": np.zeros((3, 5, 5), bool)},
            TypeError,
            "masks is a bool array .* expected Masks",
        ),
        ({"scores": np.zeros(2)}, ValueError, "scores has 2 elements, expected .* the 3 masks"),
        ({"scores": np.zeros((3, 1))}, TypeError, "scores .* expected 1 dimensions"),
        ({"scores": np.zeros(3, int)}, TypeError, "scores is an int64 array .* expected float16"),
        (
            {"scores": torch.zeros(3)},
            TypeError,
            "scores is a .* tensor .* expected a NumPy",
        ),
        (
            {"scores": np.array([0, np.nan, 1])},
            ValueError,
            r"scores\[1\] is nan, expected a finite",
        ),
        ({"scores": np.array([0, 1, -1.0])}, ValueError, r"scores\[2\] is -1, expected a finite"),
        ({"scores": np.array([np.inf, 1, 1])}, ValueError, r"scores\[0\] is inf, expected"),
        ({"groups": np.zeros(4, int)}, ValueError, "groups has 4 elements, expected .* 3 masks"),
        ({"groups": np.zeros(3)}, TypeError, "groups is a float64 array .* expected integers"),
        (
            {"groups": np.array([0, 3, 0])},
            ValueError,
            r"groups\[1\] is 3, expected an index below 3",
        ),
        ({"groups": np.array([0, 0, -1])}, ValueError, r"groups\[2\] is -1, expected an index"),
        ({"groups": np.array([0, 0, 1])}, ValueError, r"groups\[2\] is 1, but groups\[1\] is 0"),
        ({"threshold": 0}, ValueError, "threshold is 0, expected more than 0 and at most 1"),
        ({"threshold": np.nan}, ValueError, "threshold is nan, expected more than 0"),
        ({"threshold": "0.5"}, TypeError, "threshold is '0.5', expected a number"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"masks": MASKS, "scores": np.ones(3), "groups": np.arange(3)} | change
    with pytest.raises(error, match=message):
        pyifcn.vote(**arguments)
