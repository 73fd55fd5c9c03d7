"""swap_align2nat: every target against a slow reference, the formula, gradients, bad input."""

from itertools import product
from math import floor, isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn


def unit_at(v, factor, kind):
    """The lower of the two units of the input about the output's unit v, and weights."""
    low = (2 * v + 1 - factor) // (2 * factor)
    high_weight = kind(2 * v + 1 - factor - 2 * factor * low) / kind(2 * factor)
    return low, kind(1) - high_weight, high_weight


def pixel_at(y, v, factor, side, kind):
    high_weight = kind((factor * side + 1) % 2) / kind(2)
    return factor * y + v - factor * side // 2, kind(1) - high_weight, high_weight


def windows_of(x):
    """(B, V, V, H, W) of (B, V * V, H, W)."""
    side = isqrt(x.shape[1])
    return x.reshape(len(x), side, side, *x.shape[2:])


def places(shape, factor, kind):
    """Of each element of the output: where it lies along y, v, x and u of the input."""
    side, (height, width) = isqrt(shape[1]), (-(-n // factor) for n in shape[2:])
    for v, u, y, x in product(*map(range, (factor * side, factor * side, height, width))):
        yield (
            (v, u, y, x),
            pixel_at(y, v, factor, side, kind),
            unit_at(v, factor, kind),
            pixel_at(x, u, factor, side, kind),
            unit_at(u, factor, kind),
        )


def mix(place, at):
    """Linear between two neighbours; one of weight 0 is not read."""
    low, low_weight, high_weight = place
    value = low_weight * at(low)
    return value + high_weight * at(low + 1) if high_weight else value


def reference(x, factor, pad=-6.0):
    """The definition, axis after axis."""
    kind, windows = x.dtype.type, windows_of(x)
    _, side, _, height, width = windows.shape
    size = -(-height // factor), -(-width // factor)
    out = np.zeros((len(x), factor * side, factor * side, *size), x.dtype)
    pads = np.full(len(x), pad, x.dtype)
    for (v, u, y, x_), of_y, of_v, of_x, of_u in places(x.shape, factor, kind):

        def along_u(b, of_y=of_y, of_v=of_v, of_x=of_x):
            return mix(of_x, lambda d: along_x(b, d, of_y, of_v)) if 0 <= b < side else pads

        def along_x(b, d, of_y, of_v):
            return mix(of_v, lambda a: along_v(a, b, d, of_y)) if 0 <= d < width else pads

        def along_v(a, b, d, of_y):
            return mix(of_y, lambda c: along_y(a, b, c, d)) if 0 <= a < side else pads

        def along_y(a, b, c, d):
            return windows[:, a, b, c, d] if 0 <= c < height else pads

        out[:, v, u, y, x_] = mix(of_u, along_u)
    return out.reshape(len(x), -1, *size)


def by_the_formula(x, factor, pad=-6.0):
    """Sixteen products for each element, in float64, with the paper's coordinates."""
    windows = windows_of(x.astype(np.float64))
    _, side, _, height, width = windows.shape
    size = -(-height // factor), -(-width // factor)
    out = np.zeros((len(x), factor * side, factor * side, *size))
    for v, u, y, x_ in product(*map(range, out.shape[1:])):
        at = [
            (v + 0.5) / factor - 0.5,
            (u + 0.5) / factor - 0.5,
            y * factor + v - factor * side / 2 + 0.5,
            x_ * factor + u - factor * side / 2 + 0.5,
        ]
        for corner in product((0, 1), repeat=4):
            index = [floor(a) + c for a, c in zip(at, corner, strict=True)]
            weight = np.prod([1 - abs(a - i) for a, i in zip(at, index, strict=True)])
            inside = all(0 <= i < n for i, n in zip(index, windows.shape[1:], strict=True))
            out[:, v, u, y, x_] += weight * (windows[(slice(None), *index)] if inside else pad)
    return out.reshape(len(x), -1, *size)


def reference_gradient(grad, shape, factor):
    """Back through the mixes along u and x to rows, and from those to the input; sums in order."""
    kind, side = grad.dtype.type, isqrt(shape[1])
    windows = windows_of(grad)
    _, out_side, _, out_height, out_width = windows.shape
    height, width = shape[2:]
    mixed = np.zeros((shape[0], out_side, out_height, side, width + 2), kind)  # pixel -1 is first
    for u, x in product(range(out_side), range(out_width)):
        low = pixel_at(x, u, factor, side, kind)[0]
        unit, *weights = unit_at(u, factor, kind)
        for b, weight in zip((unit, unit + 1), weights, strict=True):
            if 0 <= b < side and -1 <= low < width and weight:
                mixed[:, :, :, b, low + 1] += weight * windows[:, :, u, :, x]
    _, low_weight, high_weight = pixel_at(0, 0, factor, side, kind)
    rows = low_weight * mixed[..., 1 : width + 1]
    if high_weight:
        rows = rows + high_weight * mixed[..., :width]
    out = np.zeros((shape[0], side, side, height, width), kind)
    for is_high, v, y in product((0, 1), range(out_side), range(out_height)):
        low, *weights = pixel_at(y, v, factor, side, kind)
        unit, *unit_weights = unit_at(v, factor, kind)
        for a, unit_weight in zip((unit, unit + 1), unit_weights, strict=True):
            if 0 <= a < side and 0 <= low + is_high < height and weights[is_high] and unit_weight:
                out[:, a, :, low + is_high] += weights[is_high] * (unit_weight * rows[:, v, y])
    return out.reshape(shape)


def check(x, factor, pad=-6.0):
    expected = reference(x, factor, pad)
    got = pyifcn.swap_align2nat(x, factor, pad)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, expected)
    leaf = torch.from_numpy(x).requires_grad_()
    grad = np.random.default_rng(1).standard_normal(expected.shape).astype(x.dtype)
    out = pyifcn.swap_align2nat(leaf, factor, pad)
    np.testing.assert_array_equal(out.detach().numpy(), expected)
    (got,) = torch.autograd.grad(out, leaf, torch.from_numpy(grad))
    np.testing.assert_array_equal(got.numpy(), reference_gradient(grad, x.shape, factor))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])
def test_equals_the_reference(target, width, dtype):
    rng = np.random.default_rng(width)
    for factor, side in ((1, 2), (2, 1), (1 + width % 3, 1 + width % 2)):
        check(rng.standard_normal((1, side * side, 3, width)).astype(dtype), factor)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_sizes(data):
    images, side, factor, height, width = (
        data.draw(st.integers(1, most)) for most in (2, 4, 5, 7, 9)
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x = rng.standard_normal((images, side**2, height, width)).astype(np.float32)
    check(x, factor, data.draw(st.sampled_from([-6.0, 0.0, 1.25])))


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_agrees_with_the_formula(rng, side, factor):
    x = rng.standard_normal((2, side * side, 5, 8))
    np.testing.assert_allclose(
        pyifcn.swap_align2nat(x, factor), by_the_formula(x, factor), rtol=1e-12, atol=1e-12
    )


def test_special_values(target):
    """What has no weight is not read: infinities stay what they are."""
    x = np.full((1, 9, 4, 5), np.inf, np.float32)
    got = pyifcn.swap_align2nat(x, 1, np.nan)
    assert set(np.unique(got[np.isfinite(got) | np.isinf(got)])) == {np.inf}
    np.testing.assert_array_equal(got[0, 4], x[0, 4])
    assert np.isnan(got[0, 0, 0]).all()


def test_empty(target):
    assert pyifcn.swap_align2nat(np.zeros((0, 9, 5, 6)), 2).shape == (0, 36, 3, 3)
    x = torch.zeros(2, 9, 0, 6, requires_grad=True)
    out = pyifcn.swap_align2nat(x, 2)
    assert out.shape == (2, 36, 0, 3)
    out.sum().backward()
    assert x.grad.shape == x.shape


def test_fewer_pixels_than_a_unit(target, rng):
    check(rng.standard_normal((1, 4, 2, 3)).astype(np.float32), 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(rng, dtype):
    x = torch.from_numpy(rng.standard_normal((2, 9, 6, 7))).to(dtype)
    wide = x.float().requires_grad_()
    x = x.requires_grad_()
    got, expected = pyifcn.swap_align2nat(x, 3), pyifcn.swap_align2nat(wide, 3)
    assert torch.equal(got, expected.to(dtype))
    grad = torch.from_numpy(rng.standard_normal(got.shape)).to(dtype)
    (ours,) = torch.autograd.grad(got, x, grad)
    (theirs,) = torch.autograd.grad(expected, wide, grad.float())
    assert torch.equal(ours, theirs.to(dtype))
    if dtype == torch.float16:
        half = pyifcn.swap_align2nat(x.detach().numpy(), 3)
        np.testing.assert_array_equal(half, got.detach().numpy())


def test_the_number_of_threads_changes_nothing(rng):
    x = torch.from_numpy(rng.standard_normal((2, 25, 30, 40), dtype=np.float32)).requires_grad_()
    threads, results = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        out = pyifcn.swap_align2nat(x, 2)
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        results.append((out, *torch.autograd.grad(out, x, weights)))
    torch.set_num_threads(threads)
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_gradcheck(factor):
    x = torch.randn(1, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pyifcn.swap_align2nat(x, factor), x)
    assert torch.autograd.gradgradcheck(lambda x: pyifcn.swap_align2nat(x, factor), x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of torch 2.14 itself
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators

    x = torch.randn(1, 9, 5, 6, requires_grad=True)
    torch.library.opcheck(torch.ops.pyifcn.swap_align2nat.default, (x, 2, -6.0))
    grad = torch.randn(1, 36, 3, 3, requires_grad=True)
    backward = torch.ops.pyifcn.swap_align2nat_backward.default
    torch.library.opcheck(backward, (grad, [1, 9, 5, 6], 2))


def test_compile_in_one_graph():
    x = torch.randn(1, 9, 5, 6, requires_grad=True)

    def loss(x):
        return (pyifcn.swap_align2nat(x, 2) ** 2).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (expected,) = torch.autograd.grad(loss(x), x)
    (got,) = torch.autograd.grad(compiled(x), x)
    torch.testing.assert_close(got, expected)


INPUT = np.zeros((2, 9, 6, 7), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"input": [[1.0]]}, TypeError, "input is a list, expected a NumPy array"),
        ({"input": INPUT[0]}, TypeError, r"input .*\(9, 6, 7\), expected 4 dimensions"),
        ({"input": INPUT.astype(int)}, TypeError, "input is int64, expected float16"),
        ({"input": INPUT[:, :8]}, ValueError, r"input has 8 channels, expected V \* V"),
        ({"input": INPUT[:, :0]}, ValueError, r"input has 0 channels, expected V \* V"),
        ({"lambda_val": 0}, ValueError, "lambda_val is 0, expected at least 1"),
        ({"lambda_val": 2.0}, TypeError, "lambda_val is 2.0, expected an integer"),
        ({"lambda_val": 2**40}, ValueError, "lambda_val is 1099511627776: .* too large to address"),
        ({"pad_val": "6"}, TypeError, "pad_val is '6', expected a number"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        pyifcn.swap_align2nat(**{"input": INPUT, "lambda_val": 2} | change)
