"""Masks from label images and back, against a loop over the values."""

from __future__ import annotations

import numpy as np
import pytest

from pyifcn.masks import Masks

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
SIZES = [(1, 1), (9, 7), (16, 63), (17, 64), (9, 65), (5, 127), (31, 128), (33, 129), (3, 700)]


def reference_masks(image):
    values = np.setdiff1d(image, 0)
    return Masks.from_dense(image == values[:, None, None]), values


def reference_labels(dense, values):
    image = np.zeros(dense.shape[1:], np.int32)
    for mask, value in zip(dense[::-1], values[::-1], strict=True):
        image[mask] = value
    return image


def random_image(rng, size, dtype):
    """Patches of a few values, the dtype's extremes among them, and noise."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, 12, dtype, endpoint=True)
    values[:6] = 0, 1, 100, info.max, info.min, 0
    image = np.kron(rng.integers(0, 12, size), np.ones((3, 5), int))[: size[0], : size[1]]
    noise = rng.random(size) < 0.05
    return values[np.where(noise, rng.integers(0, 12, size), image)]


def test_from_labels(target, rng):
    for dtype in DTYPES:
        for size in SIZES:
            image = random_image(rng, size, dtype)
            masks, values = Masks.from_labels(image)
            expected, expected_values = reference_masks(image)
            assert masks == expected
            assert values.dtype == image.dtype
            assert values.tolist() == expected_values.tolist()


def test_strides_and_byte_orders(rng):
    image = random_image(rng, (40, 150), "int32")
    for other in (
        image.T,
        image[::-1, ::-1],
        image[::2, 1::3],
        image.astype(">i4"),
        np.asfortranarray(image),
        image.astype(">i4")[:, ::2],
    ):
        masks, values = Masks.from_labels(other)
        expected, expected_values = reference_masks(other)
        assert masks == expected
        assert values.dtype.isnative
        assert values.tolist() == expected_values.tolist()
    assert Masks.from_labels(image.tolist())[0] == Masks.from_labels(image)[0]


def test_many_labels(rng):
    image = np.zeros((1000, 1000), np.int64)
    ids = rng.permutation(2500).reshape(50, 50) * 3 + 1
    image[:] = np.kron(ids, np.ones((20, 20), int)) * (rng.random((1000, 1000)) < 0.8)
    masks, values = Masks.from_labels(image)
    assert values.tolist() == sorted(ids.ravel())
    assert np.array_equal(masks.area, np.bincount(image.ravel())[values])
    assert np.array_equal(masks.to_labels(values), image)
    sparse, hashes = Masks.from_labels(image * -(10**15))
    assert hashes.tolist() == sorted(-(10**15) * values)
    assert sparse == masks[np.arange(len(masks))[::-1]]


def test_every_pixel_another_label():
    image = np.arange(200 * 300).reshape(200, 300)[::-1]
    masks, values = Masks.from_labels(image)
    assert len(masks) == 200 * 300 - 1
    assert (masks.area == 1).all()
    assert np.array_equal(masks.to_labels(values), image)


@pytest.mark.parametrize("size", SIZES)
def test_to_labels(target, rng, size):
    dense = rng.random((15, *size)) < 0.3
    dense[5], dense[12] = False, True
    masks = Masks.from_dense(dense)
    default = masks.to_labels()
    assert default.dtype == np.int32
    assert np.array_equal(default, reference_labels(dense, np.arange(1, 16)))
    for dtype in (np.int32, np.uint8, np.int64, np.uint64):
        values = rng.integers(0, 100, 15).astype(dtype)
        assert np.array_equal(masks.to_labels(values), reference_labels(dense, values))
    extremes = [-(2**31), 2**31 - 1] * 7 + [0]
    assert np.array_equal(masks.to_labels(extremes), reference_labels(dense, extremes))


def test_large_image_in_bands_of_several_threads(target, rng):
    image = np.kron(rng.integers(0, 50, (30, 40)), np.ones((40, 50), np.int32))
    image *= rng.random(image.shape) < 0.9
    masks, values = Masks.from_labels(image)
    expected, expected_values = reference_masks(image)
    assert masks == expected
    assert values.tolist() == expected_values.tolist()
    assert np.array_equal(masks.to_labels(values), image)
    grown = masks.translate(3, 2) | masks
    assert np.array_equal(grown.to_labels(values), reference_labels(grown.to_dense(), values))


def test_torch(rng):
    torch = pytest.importorskip("torch")
    for dtype in ("uint8", "int8", "int16", "int32", "int64"):
        image = random_image(rng, (20, 90), dtype)
        masks, values = Masks.from_labels(torch.from_numpy(image))
        expected, expected_values = Masks.from_labels(image)
        assert masks == expected
        assert isinstance(masks.words, torch.Tensor)
        assert str(values.dtype) == f"torch.{dtype}"
        assert values.tolist() == expected_values.tolist()
        labels = masks.to_labels(torch.arange(len(masks)))
        assert isinstance(labels, torch.Tensor)
        assert np.array_equal(labels, expected.to_labels(range(len(masks))))
    assert Masks.from_labels(torch.from_numpy(image).T)[0] == Masks.from_labels(image.T)[0]


def test_empty():
    for shape in [(0, 0), (0, 5), (5, 0), (4, 5)]:
        masks, values = Masks.from_labels(np.zeros(shape, np.uint16))
        assert (len(masks), masks.size, values.shape, values.dtype) == (0, shape, (0,), np.uint16)
        assert masks.to_labels().tolist() == np.zeros(shape).tolist()
        assert masks.to_labels([]).dtype == np.int32


def test_bad_input():
    for wrong in (np.zeros((3, 4)), np.zeros((3, 4), bool), np.zeros((1, 3, 4), int), [1, 2], "x"):
        with pytest.raises(TypeError, match=r"image is .*, expected integers"):
            Masks.from_labels(wrong)
    masks = Masks.from_dense(np.ones((2, 3, 4), bool))
    with pytest.raises(ValueError, match=r"values\[1\] is 2147483648, which does not fit into"):
        masks.to_labels([1, 2**31])
    with pytest.raises(ValueError, match=r"values\[0\] is -2147483649, which does not fit into"):
        masks.to_labels(np.array([-(2**31) - 1, 2**31]))
    with pytest.raises(ValueError, match=r"values\[0\] is 18446744073709551615"):
        masks.to_labels(np.array([2**64 - 1, 3], np.uint64))
    with pytest.raises(ValueError, match=r"values has shape \(3,\), expected \(2,\)"):
        masks.to_labels([1, 2, 3])
    with pytest.raises(TypeError, match=r"values is .*, expected integers \(2,\)"):
        masks.to_labels([0.5, 1])
