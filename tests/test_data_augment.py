"""Augmentation against the same on dense masks."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from pyifcn.data import Sample, SyntheticNuclei, SyntheticShapes, augment
from pyifcn.masks import Masks

RANDOM = {
    "flip": augment.random_flip,
    "rotate90": augment.random_rotate90,
    "rescale": augment.random_rescale,
    "crop": lambda sample, rng: augment.random_crop(sample, rng, (50, 200)),
    "light": augment.random_light,
    "blur": augment.random_blur,
    "noise": augment.random_noise,
    "elastic": augment.random_elastic,
}
GEOMETRIC = ["flip", "rotate90", "rescale", "crop", "elastic"]


@pytest.fixture
def sample():
    sample = SyntheticShapes(1, size=(90, 130), seed=4, shapes=(12, 12))[0]
    sample.crowd[1] = True
    sample.areas = sample.masks.area + 0.5
    sample.info = {"channels": 3}
    return sample


def check(got, source, image, dense):
    """`got` shows `image` and those of the `dense` masks that have a pixel left."""
    left = dense.any((1, 2))
    assert np.array_equal(got.image, image)
    assert got.image.flags.c_contiguous
    assert got.masks == Masks.from_dense(dense[left])
    assert np.array_equal(got.labels, source.labels[left])
    assert np.array_equal(got.crowd, source.crowd[left])
    assert got.areas is None
    assert (got.image_id, got.info) == (source.image_id, source.info)


@pytest.mark.parametrize("axis", [0, 1])
def test_flip(sample, axis):
    got = augment.flip(sample, axis)
    dense = np.flip(sample.masks.to_dense(), axis + 1)
    check(got, sample, np.flip(sample.image, axis), dense)


@pytest.mark.parametrize("turns", [-1, 0, 1, 2, 3, 4])
def test_rotate90(sample, turns):
    got = augment.rotate90(sample, turns)
    dense = np.rot90(sample.masks.to_dense(), turns, (1, 2))
    check(got, sample, np.rot90(sample.image, turns), dense)


def test_crop(sample):
    got = augment.crop(sample, (30, 20, 95, 61))
    check(got, sample, sample.image[20:61, 30:95], sample.masks.to_dense()[:, 20:61, 30:95])
    assert 0 < len(got.masks) < len(sample.masks)
    for box in [(0, 0, 131, 90), (-1, 0, 10, 10), (5, 5, 5, 9)]:
        with pytest.raises(ValueError, match="not a box inside the image of 90 x 130"):
            augment.crop(sample, box)


@pytest.mark.parametrize("size", [(90, 130), (45, 65), (180, 260), (33, 200), (1, 1), (7, 400)])
def test_rescale(sample, size):
    got = augment.rescale(sample, size)
    rows, columns = (
        np.floor((np.arange(count) + 0.5) * source / count).astype(int)
        for count, source in zip(size, (90, 130), strict=True)
    )
    check(got, sample, got.image, sample.masks.to_dense()[:, rows][:, :, columns])
    assert got.image.shape == (*size, 3)
    if size == (90, 130):
        assert np.array_equal(got.image, sample.image)
    with pytest.raises(ValueError, match="size must be positive"):
        augment.rescale(sample, (0, 5))


def test_rescaled_image_stays_in_place():
    """A smooth image shrunk or grown shows the same function of relative position."""
    y, x = (np.mgrid[:80, :120].transpose(1, 2, 0) + 0.5).transpose(2, 0, 1)
    image = np.repeat(np.rint(y + x)[..., None], 3, axis=2).astype(np.uint8)
    plain = Sample(image, Masks.from_rle([], (80, 120)), np.zeros(0, np.int64), np.zeros(0, bool))
    for factor in (0.5, 2):
        size = int(80 * factor), int(120 * factor)
        got = augment.rescale(plain, size).image[..., 0]
        rows, columns = (np.arange(size[0]) + 0.5) / factor, (np.arange(size[1]) + 0.5) / factor
        expected = rows[:, None] + columns
        assert abs(got - expected)[3:-3, 3:-3].max() <= 1.01


def test_warp(sample):
    rng = np.random.default_rng(0)
    dy, dx = rng.normal(0, 3, (2, 90, 130))
    got = augment.warp(sample, dy, dx)
    y = np.clip(np.arange(90)[:, None] + dy, 0, 89)
    x = np.clip(np.arange(130) + dx, 0, 129)
    dense = sample.masks.to_dense()[:, np.rint(y).astype(int), np.rint(x).astype(int)]
    expected = np.zeros((90, 130, 3))
    for row in (0, 1):
        for column in (0, 1):
            at = np.minimum(y.astype(int) + row, 89), np.minimum(x.astype(int) + column, 129)
            share = (1 - abs(y.astype(int) + row - y)) * (1 - abs(x.astype(int) + column - x))
            expected += share[..., None] * sample.image[at]
    assert abs(got.image - expected).max() <= 0.5 + 1e-9
    check(got, sample, got.image, dense)


def test_warp_by_nothing_and_by_whole_pixels(sample):
    zero = np.zeros((90, 130))
    check(augment.warp(sample, zero, zero), sample, sample.image, sample.masks.to_dense())
    got = augment.warp(sample, zero + 3, zero - 5)
    assert np.array_equal(got.image[:-3, 5:], sample.image[3:, :-5])


def test_relight(sample):
    assert np.array_equal(augment.relight(sample).image, sample.image)
    got = augment.relight(sample, brightness=0.1, contrast=1.5, gamma=0.8).image
    expected = 255 * np.clip((sample.image / 255) ** 0.8 * 1.5 + 0.1, 0, 1)
    assert abs(got - expected).max() <= 0.5 + 1e-9


def test_noise_and_blur(sample):
    rng = np.random.default_rng(0)
    noisy = augment.add_noise(sample, rng, 5.0).image.astype(float)
    assert 4 < (noisy - sample.image).std() < 5.5
    grey = augment.add_noise(SyntheticNuclei(1, (64, 64))[0], rng, 5.0).image
    assert np.array_equal(grey, np.repeat(grey[..., :1], 3, axis=2))
    blurred = augment.blur(sample, 2.0).image
    assert (
        abs(np.diff(blurred.astype(int), axis=0)).mean()
        < abs(np.diff(sample.image.astype(int), axis=0)).mean()
    )


@pytest.mark.parametrize("name", RANDOM)
def test_random(sample, name):
    step = RANDOM[name]
    before = copy.deepcopy(sample)
    got = [step(sample, np.random.default_rng(seed)) for seed in range(6)]
    assert np.array_equal(sample.image, before.image)
    assert sample.masks == before.masks
    assert np.array_equal(sample.areas, before.areas)
    assert len({result.image.tobytes() for result in got}) > 2
    again = step(sample, np.random.default_rng(2))
    assert np.array_equal(again.image, got[2].image)
    assert again.masks == got[2].masks
    for result in got:
        assert result.image.dtype == np.uint8
        assert result.image.shape == (*result.masks.size, 3)
        assert result.masks.to_dense().sum(0).max() == 1
        if name not in GEOMETRIC:
            assert result.masks is sample.masks


def test_random_crop_size(sample):
    got = augment.random_crop(sample, np.random.default_rng(0), (50, 200))
    assert got.image.shape == (50, 130, 3)


def test_nothing_to_move():
    empty = SyntheticNuclei(1, (64, 80), coverage=(0, 0))[0]
    rng = np.random.default_rng(0)
    for step in RANDOM.values():
        assert len(step(empty, rng).masks) == 0
