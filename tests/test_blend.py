"""Blending bases: every target against a slow reference and torch, gradients, bad input."""

import numpy as np
import pytest
from exact_exp import exp
from exact_exp import sigmoid as logistic
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn


def taps_of(pixels, size, kind):
    """Of each pixel: the two elements about it and their weights."""
    for i in range(pixels):
        at = max(kind(size) / kind(pixels) * (kind(i) + kind(0.5)) - kind(0.5), kind(0))
        low = min(int(at), size - 1)
        yield low, min(low + 1, size - 1), kind(1) - (at - kind(low)), at - kind(low)


def stretched(attention, size):
    """The attention at the bases' size, first along rows."""
    kind = attention.dtype.type
    columns = list(taps_of(size[1], attention.shape[3], kind))
    rows = list(taps_of(size[0], attention.shape[2], kind))
    along = np.stack(
        [low_w * attention[..., a] + high_w * attention[..., b] for a, b, low_w, high_w in columns],
        -1,
    )
    return np.stack(
        [low_w * along[:, :, a] + high_w * along[:, :, b] for a, b, low_w, high_w in rows], 2
    )


def in_order(terms):
    """The sum over the bases, one after the other."""
    total = np.zeros_like(terms[:, 0])
    for k in range(terms.shape[1]):
        total = total + terms[:, k]
    return total


def weights_of(bases, attention):
    with np.errstate(invalid="ignore"):
        maps = stretched(attention, bases.shape[2:])
        largest = np.fmax.reduce(maps, axis=1, keepdims=True)
        e = exp(maps - largest)
    return e, in_order(e)


def reference(bases, attention, sigmoid=False):
    e, total = weights_of(bases, attention)
    value = in_order(e * bases) / total
    return logistic(value) if sigmoid else value


def reference_gradients(grad, bases, attention, sigmoid=False):
    """Those of the definition, each sum in the order that is promised."""
    kind = bases.dtype.type
    value = reference(bases, attention)
    if sigmoid:
        grad = grad * (1 - logistic(value)) * logistic(value)
    e, total = weights_of(bases, attention)
    of_bases = grad[:, None] * (e / total[:, None])
    of_stretched = of_bases * (bases - value[:, None])
    down = np.zeros((*attention.shape[:3], bases.shape[3]), kind)
    for y, (a, b, low_weight, high_weight) in enumerate(
        taps_of(bases.shape[2], attention.shape[2], kind)
    ):
        down[:, :, a] += low_weight * of_stretched[:, :, y]
        down[:, :, b] += high_weight * of_stretched[:, :, y]
    of_attention = np.zeros_like(attention)
    for x, (a, b, low_weight, high_weight) in enumerate(
        taps_of(bases.shape[3], attention.shape[3], kind)
    ):
        of_attention[..., a] += low_weight * down[..., x]
        of_attention[..., b] += high_weight * down[..., x]
    return of_bases, of_attention


def case(rng, count, channels, size, low_size, dtype=np.float32):
    bases = rng.standard_normal((count, channels, *size)).astype(dtype)
    attention = 3 * rng.standard_normal((count, channels, *low_size)).astype(dtype)
    return bases, attention, rng.standard_normal((count, *size)).astype(dtype)


def gradients(grad, bases, attention, **options):
    leaves = [torch.from_numpy(a).requires_grad_() for a in (bases, attention)]
    out = pyifcn.blend(*leaves, **options)
    found = torch.autograd.grad(out, leaves, torch.from_numpy(grad))
    return out.detach().numpy(), [g.numpy() for g in found]


def check(bases, attention, grad, sigmoid=False):
    out, found = gradients(grad, bases, attention, sigmoid=sigmoid)
    np.testing.assert_array_equal(out, reference(bases, attention, sigmoid))
    np.testing.assert_array_equal(pyifcn.blend(bases, attention, sigmoid=sigmoid), out)
    wanted = reference_gradients(grad, bases, attention, sigmoid)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])
def test_equals_the_reference(target, width, dtype):
    rng = np.random.default_rng(width)
    low_size = 3, 1 + width % 9
    for sigmoid in (False, True):
        check(*case(rng, 2, 1 + width % 5, (5, width), low_size, dtype), sigmoid)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_sizes(data):
    count, channels, height, width = (data.draw(st.integers(1, n)) for n in (3, 9, 12, 20))
    low_size = data.draw(st.tuples(st.integers(1, 14), st.integers(1, 22)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    check(*case(rng, count, channels, (height, width), low_size))


def plain(bases, attention):
    """BlendMask's `merge_bases`, in plain torch."""
    maps = torch.nn.functional.interpolate(
        attention, bases.shape[2:], mode="bilinear", align_corners=False
    )
    return (bases * maps.softmax(1)).sum(1)


@pytest.mark.parametrize("size", [14, 28, 56, 9])
def test_agrees_with_torch(rng, size):
    bases, attention, grad = case(rng, 5, 4, (size, size), (14, 14), np.float64)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (bases, attention)]
    expected = plain(*leaves)
    got, found = gradients(grad, bases, attention)
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad(expected, leaves, torch.from_numpy(grad))
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-12)


def test_special_values_as_torch(target):
    nan, inf = np.nan, np.inf
    attention = np.array([[0, nan, 9, inf, 7, -inf, 300, 5], np.zeros(8)], np.float32)
    attention = attention.reshape(1, 2, 1, 8)
    bases = np.repeat(np.array([1, 3], np.float32), 32).reshape(1, 2, 2, 16)
    expected = plain(torch.from_numpy(bases), torch.from_numpy(attention)).numpy()
    assert 4 < np.isfinite(expected[0, 1]).sum() < 14
    np.testing.assert_allclose(pyifcn.blend(bases, attention), expected, rtol=1e-6)
    bases[..., 14] = nan
    assert np.isnan(pyifcn.blend(bases, attention)[..., 14]).all()


def test_empty(target):
    assert pyifcn.blend(np.zeros((0, 4, 6, 6)), np.zeros((0, 4, 3, 3))).shape == (0, 6, 6)
    for size in ((0, 6), (6, 0)):
        bases = torch.zeros(2, 4, *size, requires_grad=True)
        attention = torch.ones(2, 4, 3, 3, requires_grad=True)
        out = pyifcn.blend(bases, attention)
        assert out.shape == (2, *size)
        out.sum().backward()
        assert torch.equal(attention.grad, torch.zeros_like(attention))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(rng, dtype):
    leaves = [torch.from_numpy(a).to(dtype) for a in case(rng, 3, 4, (9, 21), (3, 5))]
    *leaves, grad = leaves
    wide = [leaf.float().requires_grad_() for leaf in leaves]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    got, expected = pyifcn.blend(*leaves), pyifcn.blend(*wide)
    assert torch.equal(got, expected.to(dtype))
    found = torch.autograd.grad(got, leaves, grad)
    for ours, theirs in zip(found, torch.autograd.grad(expected, wide, grad.float()), strict=True):
        assert torch.equal(ours, theirs.to(dtype))
    if dtype == torch.float16:
        half = pyifcn.blend(*(leaf.detach().numpy() for leaf in leaves))
        np.testing.assert_array_equal(half, got.detach().numpy())


def test_the_number_of_threads_changes_nothing(rng):
    bases, attention, grad = case(rng, 40, 4, (28, 28), (7, 7))
    threads, results = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        out, found = gradients(grad, bases, attention, sigmoid=True)
        results.append((out, *found))
    torch.set_num_threads(threads)
    assert all(map(np.array_equal, *results))


@pytest.mark.parametrize("sigmoid", [True, False])
def test_gradcheck(sigmoid):
    bases = torch.randn(2, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    attention = torch.randn(2, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *a: pyifcn.blend(*a, sigmoid=sigmoid), (bases, attention)
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of torch 2.14 itself
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators

    bases, attention = torch.randn(2, 3, 6, 7), torch.randn(2, 3, 2, 4)
    backward = torch.ops.pyifcn.blend_backward.default
    for out in (None, torch.rand(2, 6, 7)):
        torch.library.opcheck(backward, (torch.randn(2, 6, 7), out, bases, attention))
    leaves = bases.requires_grad_(), attention.requires_grad_()
    for sigmoid in (True, False):
        torch.library.opcheck(torch.ops.pyifcn.blend.default, (*leaves, sigmoid))


def test_compile_in_one_graph():
    leaves = [torch.randn(2, 3, 6, 7, requires_grad=True), torch.randn(2, 3, 2, 4)]

    def loss(bases, attention):
        return (pyifcn.blend(bases, attention, sigmoid=True) ** 2).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (expected,) = torch.autograd.grad(loss(*leaves), leaves[0])
    (got,) = torch.autograd.grad(compiled(*leaves), leaves[0])
    torch.testing.assert_close(got, expected)


BASES, ATTENTION = np.zeros((2, 3, 6, 7), np.float32), np.zeros((2, 3, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"bases": [[1.0]]}, TypeError, "bases is a list, expected a NumPy array"),
        ({"bases": BASES[0]}, TypeError, r"bases .*\(3, 6, 7\), expected 4 dimensions"),
        ({"bases": BASES.astype(int)}, TypeError, "bases is int64, expected float16"),
        ({"bases": BASES[:, :0]}, ValueError, "bases has 0 channels, expected at least 1"),
        ({"attention": ATTENTION[0]}, TypeError, "attention .*, expected 4 dimensions"),
        ({"attention": ATTENTION.astype(float)}, TypeError, "is float64, expected float32"),
        (
            {"attention": torch.zeros(2, 3, 2, 2)},
            TypeError,
            "attention is a .* tensor .* expected a NumPy",
        ),
        ({"attention": ATTENTION[:1]}, ValueError, r"\(1, 3, ...\), expected \(2, 3, ...\)"),
        ({"attention": ATTENTION[:, :2]}, ValueError, r"\(2, 2, ...\), expected \(2, 3, ...\)"),
        ({"attention": ATTENTION[..., :0]}, ValueError, "attention has a side of 0, expected 1 to"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        pyifcn.blend(**{"bases": BASES, "attention": ATTENTION} | change)
