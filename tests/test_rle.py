"""`Masks.from_rle` and `to_rle` against slow readers and writers of codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyifcn import Masks


def runs_of(mask):
    """The run lengths of a mask, background first."""
    pixels = np.concatenate([[False], mask.T.ravel()])
    edges = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff([0, *edges.tolist(), mask.size]).tolist()


def written(runs):
    """The code of runs, digit by digit."""
    code = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            code += chr(48 + digit + 32 * more)
    return code


@st.composite
def masks_in_runs(draw):
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 140))
    cuts = draw(st.lists(st.integers(0, height * width), max_size=30))
    counts = np.diff([0, *sorted(cuts), height * width])
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return counts.tolist(), pixels.reshape(width, height).T


@settings(max_examples=200, deadline=None)
@given(masks_in_runs())
def test_any_runs(case):
    counts, dense = case
    size = list(dense.shape)
    masks = Masks.from_dense(dense[None])
    canonical = runs_of(dense)
    assert masks.to_rle() == [{"size": size, "counts": written(canonical)}]
    assert masks.to_rle(compressed=False) == [{"size": size, "counts": canonical}]
    for same in (counts, tuple(counts), np.array(counts), np.array(counts, np.uint32)):
        assert Masks.from_rle([{"size": size, "counts": same}]) == masks
    code = written(counts)
    for same in (code, code.encode(), np.str_(code), np.bytes_(code.encode())):
        assert Masks.from_rle([{"size": np.array(size), "counts": same}]) == masks


def test_kinds_are_mixed():
    dense = np.random.default_rng(0).random((60, 9, 66)) < 0.5
    rles = Masks.from_dense(dense).to_rle()
    for i, rle in enumerate(rles):
        if i % 3 == 1:
            rle["counts"] = rle["counts"].encode()
        elif i % 3 == 2:
            rle["counts"] = runs_of(dense[i])
    assert np.array_equal(Masks.from_rle(rles).to_dense(), dense)
    assert np.array_equal(Masks.from_rle(iter(rles), (9, 66)).to_dense(), dense)


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    dense = np.random.default_rng(1).random((3, 9, 66)) < 0.5
    masks = Masks.from_dense(torch.from_numpy(dense))
    assert masks.to_rle() == Masks.from_dense(dense).to_rle()
    assert masks.to_rle(False) == Masks.from_dense(dense).to_rle(False)


def test_the_first_malformed_code_is_named():
    rles = [{"size": [2, 3], "counts": "6"}] * 100
    rles[41] = {"size": [2, 3], "counts": "7"}
    with pytest.raises(ValueError, match=r"rles\[41\] is malformed: counts sum to 7 or more"):
        Masks.from_rle(rles)


def test_a_code_that_is_no_dict():
    with pytest.raises(ValueError, match=r"rles\[1\] .*: it is a str, expected a dict of size"):
        Masks.from_rle([{"size": [2, 3], "counts": "6"}, "6"])


@pytest.mark.parametrize(
    "counts", [b"\xff" * 9, "o" * 1000, "P" * 7, "o", [2**62, 2**62, 2**62], [-(2**63)], [0] * 9]
)
def test_wild_counts(counts):
    with pytest.raises(ValueError, match=r"rles\[0\] is malformed"):
        Masks.from_rle([{"size": [2, 3], "counts": counts}])
