"""The synthetic data sets: the same everywhere, exact, and really touching."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from pyifcn.data import SyntheticNuclei, SyntheticShapes
from pyifcn.data.synthetic import blurred, smooth_noise

KINDS = [SyntheticNuclei, SyntheticShapes]


def same(a, b):
    return (
        np.array_equal(a.image, b.image)
        and a.masks == b.masks
        and np.array_equal(a.labels, b.labels)
        and (a.image_id, a.file_name) == (b.image_id, b.file_name)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_depends_on_seed_and_index_alone(kind):
    data = kind(5, size=(70, 90), seed=1)
    first = list(data)
    assert len(first) == len(data) == 5
    assert same(kind(100, size=(70, 90), seed=1)[3], first[3])
    assert same(data[-2], first[3])
    assert all(same(a, b) for a, b in zip(data[3:0:-1], first[3:0:-1], strict=True))
    assert same(pickle.loads(pickle.dumps(data))[4], first[4])
    assert not same(first[0], first[1])
    assert not same(kind(5, size=(70, 90), seed=2)[0], first[0])
    with pytest.raises(IndexError):
        data[5]


@pytest.mark.parametrize("kind", KINDS)
def test_sample(kind):
    for sample in kind(4, size=(120, 150)):
        dense = sample.masks.to_dense()
        assert sample.image.shape == (120, 150, 3)
        assert sample.image.dtype == np.uint8
        assert sample.masks.size == (120, 150)
        assert len(sample.masks) == len(sample.labels) == len(sample.crowd) > 0
        assert sample.labels.dtype == np.int64
        assert not sample.crowd.any()
        assert (sample.masks.area > 0).all()
        assert dense.sum(0).max() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_instances_touch(kind):
    touching = set()
    for sample in kind(4):
        numbers = np.arange(1, len(sample.masks) + 1)[:, None, None]
        owner = (sample.masks.to_dense() * numbers).max(0)
        left, right = owner[:, :-1].ravel(), owner[:, 1:].ravel()
        border = (left > 0) & (right > 0) & (left != right)
        pairs = zip(left[border].tolist(), right[border].tolist(), strict=True)
        touching |= {(sample.image_id, *sorted(pair)) for pair in pairs}
    assert len(touching) > 10


def test_nuclei_are_brighter_than_the_ground():
    for sample in SyntheticNuclei(4):
        inside = sample.masks.to_dense().any(0)
        grey = sample.image[..., 0].astype(float)
        assert np.array_equal(sample.image, np.repeat(sample.image[..., :1], 3, axis=2))
        assert np.median(grey[inside]) > 2 * np.median(grey[~inside])
        assert grey.max() > 150


def test_nuclei_options():
    area = [
        np.concatenate([s.masks.area for s in SyntheticNuclei(3, radius=(r, r))]).mean()
        for r in (5, 10)
    ]
    assert 3 < area[1] / area[0] < 5
    for coverage in (0.1, 0.3):
        share = [
            s.masks.area.sum() / 256**2 for s in SyntheticNuclei(4, coverage=(coverage, coverage))
        ]
        assert 0.6 * coverage < np.mean(share) < 1.2 * coverage
    assert len(SyntheticNuclei(1, coverage=(0, 0))[0].masks) == 0


def test_shapes_have_their_colours():
    """Away from its border every shape shows one colour, but for shading and noise."""
    for sample in SyntheticShapes(4):
        for mask in sample.masks.to_dense():
            core = mask.copy()
            for axis in (0, 1):
                core &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
            if core.sum() > 20:
                assert sample.image[core].std(0).max() < 20


def test_shapes_options():
    sample = SyntheticShapes(1, size=(64, 64), shapes=(3, 3), radius=(5, 6))[0]
    assert len(sample.masks) <= 3
    assert sample.masks.area.max() < 4 * 6**2 * 1.4
    assert len(SyntheticShapes(1, shapes=(0, 0))[0].masks) == 0
    labels = np.concatenate([s.labels for s in SyntheticShapes(8, size=(64, 64))])
    assert set(labels.tolist()) == set(SyntheticShapes.categories)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_options(kind):
    with pytest.raises(ValueError, match="count must not be negative, got -1"):
        kind(-1)
    with pytest.raises(ValueError, match="size must be"):
        kind(1, size=(4, 256))
    with pytest.raises(ValueError, match="seed must not be negative"):
        kind(1, seed=-3)
    with pytest.raises(ValueError, match="radius must be ordered"):
        kind(1, radius=(9, 5))
    with pytest.raises(ValueError, match="radius must be"):
        kind(1, radius=(9,))


def test_blurred():
    field = np.zeros((31, 41))
    field[15, 20] = 1
    got = blurred(field, 2.0)
    y, x = np.mgrid[-15:16, -20:21]
    assert np.allclose(got, np.exp(-(x**2 + y**2) / 8) / (8 * np.pi), atol=3e-4)
    assert np.isclose(got.sum(), 1)
    assert np.allclose(blurred(np.full((5, 6), 3.0), 4.0), 3)


def test_smooth_noise():
    field = smooth_noise(np.random.default_rng(0), (300, 400), 5.0)
    assert field.shape == (300, 400)
    assert abs(field.mean()) < 0.1
    assert 0.8 < field.std() < 1.2
    assert abs(np.diff(field, axis=0)).max() < 2
