"""Assembling from prototypes: every target against a slow reference, gradients, bad input."""

import numpy as np
import pytest
from exact_exp import sigmoid as logistic
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn


def inside_of(box, shape):
    """Which pixels lie in a box, as YOLACT's crop decides it."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    x1, y1, x2, y2 = box
    return (x >= x1) & (x < x2) & (y >= y1) & (y < y2)


def reference(prototypes, coefficients, boxes, images=None, sigmoid=True):
    """The definition, one prototype after the other."""
    if images is None:
        prototypes, images = prototypes[None], np.zeros(len(coefficients), int)
    shape = prototypes.shape[2:]
    out = np.zeros((len(coefficients), *shape), prototypes.dtype)
    for n, (row, image) in enumerate(zip(coefficients, images, strict=True)):
        total = np.zeros(shape, prototypes.dtype)
        for weight, prototype in zip(row, prototypes[image], strict=True):
            total = total + weight * prototype
        value = logistic(total) if sigmoid else total
        out[n] = np.where(inside_of(boxes[n], shape), value, 0)
    return out


def crop_of(box, shape):
    rows, columns = np.nonzero(inside_of(box, shape))
    if len(rows) == 0:
        return 0, 0, 0, 0
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def reference_gradients(grad, out, prototypes, coefficients, boxes, images=None):
    """Those of the definition, each sum in the order that is promised."""
    flat = images is None
    if flat:
        prototypes, images = prototypes[None], np.zeros(len(coefficients), int)
    of_maps, of_rows = np.zeros_like(prototypes), np.zeros_like(coefficients)
    delta = grad if out is None else grad * (1 - out) * out
    for n, image in enumerate(images):
        top, bottom, left, right = crop_of(boxes[n], prototypes.shape[2:])
        sums = np.zeros((prototypes.shape[1], 4, 16), prototypes.dtype)
        for y in range(top, bottom):
            for x in range(left, right):
                sums[:, (y - top) % 4, (x - left) % 16] += (
                    prototypes[image, :, y, x] * delta[n, y, x]
                )
                of_maps[image, :, y, x] += coefficients[n] * delta[n, y, x]
        sums = sums.reshape(-1, 64)
        for half in (32, 16, 8, 4, 2, 1):
            sums = sums[:, :half] + sums[:, half:]
        of_rows[n] = sums[:, 0]
    return of_maps[0] if flat else of_maps, of_rows


def random_boxes(rng, count, shape):
    """Boxes inside, across the border, outside and without pixels, their edges whole or not."""
    sides = np.array([shape[1], shape[0]])
    corners = rng.uniform(-0.3, 1.1, (count, 2)) * sides
    ends = corners + rng.choice([0.0, 0.1, 0.6, 1.5], (count, 2)) * sides
    boxes = np.concatenate([corners, ends], 1)
    return np.where(rng.random((count, 1)) < 0.5, boxes.round(), boxes).astype(np.float32)


def gradients(grad, prototypes, coefficients, *arguments, **options):
    leaves = [torch.from_numpy(a).requires_grad_() for a in (prototypes, coefficients)]
    others = [torch.from_numpy(a) for a in arguments]
    options = {k: torch.from_numpy(v) if k == "images" else v for k, v in options.items()}
    out = pyifcn.assemble_prototypes(*leaves, *others, **options)
    found = torch.autograd.grad(out, leaves, torch.from_numpy(grad))
    return out.detach().numpy(), [g.numpy() for g in found]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])
def test_equals_the_reference(target, width, dtype):
    rng = np.random.default_rng(width)
    shape, channels = (9, width), 1 + width % 7
    prototypes = rng.standard_normal((channels, *shape)).astype(dtype)
    coefficients = rng.standard_normal((6, channels)).astype(dtype)
    boxes = random_boxes(rng, 6, shape)
    boxes[0] = 0, 0, width, 9
    grad = rng.standard_normal((6, *shape)).astype(dtype)
    for sigmoid in (False, True):
        expected = reference(prototypes, coefficients, boxes, sigmoid=sigmoid)
        got = pyifcn.assemble_prototypes(prototypes, coefficients, boxes, sigmoid=sigmoid)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, expected)
        out, found = gradients(grad, prototypes, coefficients, boxes, sigmoid=sigmoid)
        np.testing.assert_array_equal(out, got)
        wanted = reference_gradients(
            grad, got if sigmoid else None, prototypes, coefficients, boxes
        )
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_sizes(data):
    images, channels, height, width = (data.draw(st.integers(1, n)) for n in (3, 20, 12, 40))
    count = data.draw(st.integers(0, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    prototypes = rng.standard_normal((images, channels, height, width)).astype(np.float32)
    coefficients = rng.standard_normal((count, channels)).astype(np.float32)
    of_images = rng.integers(0, images, count)
    boxes = random_boxes(rng, count, (height, width))
    expected = reference(prototypes, coefficients, boxes, of_images, sigmoid=False)
    got, found = gradients(
        expected, prototypes, coefficients, boxes, images=of_images, sigmoid=False
    )
    np.testing.assert_array_equal(got, expected)
    wanted = reference_gradients(expected, None, prototypes, coefficients, boxes, of_images)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_whole_maps_without_boxes(target, rng):
    prototypes = rng.standard_normal((3, 5, 18)).astype(np.float32)
    coefficients = rng.standard_normal((2, 3)).astype(np.float32)
    expected = pyifcn.assemble_prototypes(
        prototypes, coefficients, np.array([[-np.inf, -1, np.inf, 9]] * 2)
    )
    got = pyifcn.assemble_prototypes(prototypes, coefficients)
    np.testing.assert_array_equal(got, expected)
    product = torch.from_numpy(coefficients) @ torch.from_numpy(prototypes).flatten(1)
    np.testing.assert_allclose(got, product.sigmoid().view(2, 5, 18).numpy(), rtol=1e-5)


def yolact_crop(masks, boxes, padding=1):
    """What YOLACT's `crop` does to (h, w, n) masks, with boxes relative to the image."""
    h, w, n = masks.shape
    limits = []
    for low, high, size in ((0, 2, w), (1, 3, h)):
        ends = boxes[:, [low, high]] * size
        limits.append(torch.clamp(ends.amin(1) - padding, min=0))
        limits.append(torch.clamp(ends.amax(1) + padding, max=size))
    x1, x2, y1, y2 = limits
    x = torch.arange(w, dtype=x1.dtype).view(1, -1, 1).expand(h, w, n)
    y = torch.arange(h, dtype=x1.dtype).view(-1, 1, 1).expand(h, w, n)
    return masks * ((x >= x1) & (x < x2) & (y >= y1) & (y < y2))


def test_gives_the_crop_of_yolact(rng):
    prototypes = torch.from_numpy(rng.standard_normal((138, 138, 32), dtype=np.float32))
    coefficients = torch.from_numpy(rng.standard_normal((40, 32), dtype=np.float32))
    boxes = torch.from_numpy(rng.uniform(-0.1, 1.1, (40, 4)).astype(np.float32))
    expected = yolact_crop((prototypes @ coefficients.T).sigmoid(), boxes).permute(2, 0, 1)
    scaled = boxes * 138
    low, high = torch.minimum(scaled[:, :2], scaled[:, 2:]), scaled[:, :2].maximum(scaled[:, 2:])
    got = pyifcn.assemble_prototypes(
        prototypes.permute(2, 0, 1), coefficients, torch.cat([low - 1, high + 1], 1)
    )
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(got == 0, expected == 0)


def test_edges_of_boxes(target):
    prototypes, coefficients = np.ones((1, 4, 5), np.float32), np.ones((8, 1), np.float32)
    nan, inf = np.nan, np.inf
    boxes = [
        *([0, 0, 5, 4], [1, 1, 3, 3], [0.5, 0.5, 2.5, 2.5], [1, 1, 1, 3]),
        *([3, 3, 1, 1], [nan, 0, 5, 4], [-inf, -inf, inf, inf], [4.5, 0, 1e30, 4]),
    ]
    got = pyifcn.assemble_prototypes(
        prototypes, coefficients, np.array(boxes, np.float32), sigmoid=False
    )
    for n, box in enumerate(boxes):
        np.testing.assert_array_equal(got[n], inside_of(box, (4, 5)))
    whole = np.array([[1, 1, 3, 3]])
    for dtype in (np.int64, np.float16, np.float64):
        again = pyifcn.assemble_prototypes(
            prototypes, coefficients[:1], whole.astype(dtype), sigmoid=False
        )
        np.testing.assert_array_equal(again[0], got[1])


def test_special_values(target):
    nan, inf = np.nan, np.inf
    values = np.array([nan, inf, -inf, 1e30, -1e30, 100, -80, 0], np.float32)
    got = pyifcn.assemble_prototypes(values.reshape(1, 1, 8), np.ones((1, 1), np.float32))[0, 0]
    np.testing.assert_array_equal(got[[1, 2, 3, 4, 5, 7]], [1, 0, 1, 0, 1, 0.5])
    assert np.isnan(got[0])
    np.testing.assert_allclose(got[6], np.exp(-80.0), rtol=1e-6)
    # What lies outside the box is not looked at.
    box = np.array([[3, 0, 8, 1]], np.float32)
    grad = np.full((1, 1, 8), nan, np.float32)
    grad[..., 3:] = 1
    _, (of_maps, of_rows) = gradients(
        grad, values.reshape(1, 1, 8), np.ones((1, 1), np.float32), box
    )
    assert np.isfinite(of_maps).all()
    assert np.isfinite(of_rows).all()


def test_empty(target):
    def shape(*sizes, count):
        maps = torch.ones(sizes, requires_grad=True)
        rows = torch.ones((count, sizes[0]), requires_grad=True)
        out = pyifcn.assemble_prototypes(maps, rows, torch.zeros(count, 4) + 2)
        for leaf, grad in zip(
            (maps, rows), torch.autograd.grad(out.sum(), (maps, rows)), strict=True
        ):
            assert torch.equal(grad, torch.zeros_like(leaf))
        return tuple(out.shape)

    assert shape(3, 5, 6, count=0) == (0, 5, 6)
    assert shape(3, 0, 6, count=2) == (2, 0, 6)
    assert shape(3, 5, 0, count=2) == (2, 5, 0)
    nothing = np.zeros((0, 5, 6), np.float32)
    got = pyifcn.assemble_prototypes(nothing, np.zeros((2, 0), np.float32))
    np.testing.assert_array_equal(got, np.full((2, 5, 6), 0.5, np.float32))
    got = pyifcn.assemble_prototypes(
        np.zeros((0, 3, 5, 6), np.float32), np.zeros((0, 3), np.float32), images=np.zeros(0, int)
    )
    assert got.shape == (0, 5, 6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(rng, dtype):
    leaves = [torch.from_numpy(rng.standard_normal(s)).to(dtype) for s in ((8, 9, 21), (5, 8))]
    boxes = torch.from_numpy(random_boxes(rng, 5, (9, 21)))
    grad = torch.from_numpy(rng.standard_normal((5, 9, 21))).to(dtype)
    wide = [leaf.float().requires_grad_() for leaf in leaves]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    for sigmoid in (True, False):
        got = pyifcn.assemble_prototypes(*leaves, boxes, sigmoid=sigmoid)
        expected = pyifcn.assemble_prototypes(*wide, boxes, sigmoid=sigmoid)
        assert torch.equal(got, expected.to(dtype))
    gradients = torch.autograd.grad(got, leaves, grad)
    for ours, theirs in zip(
        gradients, torch.autograd.grad(expected, wide, grad.float()), strict=True
    ):
        assert torch.equal(ours, theirs.to(dtype))
    if dtype == torch.float16:
        half = pyifcn.assemble_prototypes(
            *(leaf.detach().numpy() for leaf in leaves), boxes.numpy()
        )
        again = pyifcn.assemble_prototypes(*(leaf.detach() for leaf in leaves), boxes)
        np.testing.assert_array_equal(half, again.numpy())


def test_the_number_of_threads_changes_nothing(rng):
    prototypes = torch.from_numpy(rng.standard_normal((2, 32, 70, 90), dtype=np.float32))
    coefficients = torch.from_numpy(rng.standard_normal((60, 32), dtype=np.float32))
    boxes = torch.from_numpy(random_boxes(rng, 60, (70, 90)))
    images = torch.from_numpy(rng.integers(0, 2, 60))
    threads, results = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        leaves = [prototypes.detach().requires_grad_(), coefficients.detach().requires_grad_()]
        out = pyifcn.assemble_prototypes(*leaves, boxes, images=images)
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        results.append((out, *torch.autograd.grad((out * weights).sum(), leaves)))
    torch.set_num_threads(threads)
    assert all(map(torch.equal, *results))


BOXES = torch.tensor([[0.7, 1.2, 4.6, 5.1], [2, 2, 5, 5], [0, 0, 8, 7]])


@pytest.mark.parametrize("sigmoid", [True, False])
def test_gradcheck(sigmoid):
    prototypes = torch.randn(2, 4, 7, 8, dtype=torch.float64, requires_grad=True)
    coefficients = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    images = torch.tensor([0, 1, 1])

    def function(prototypes, coefficients):
        return pyifcn.assemble_prototypes(
            prototypes, coefficients, BOXES, images=images, sigmoid=sigmoid
        )

    assert torch.autograd.gradcheck(function, (prototypes, coefficients))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of torch 2.14 itself
def test_opcheck():
    pytest.importorskip("pyifcn.torch")  # registers the operators

    maps, rows = torch.randn(2, 4, 7, 8, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    images = torch.tensor([0, 1, 1])
    forward = torch.ops.pyifcn.assemble_prototypes.default
    for arguments in ((BOXES, images, True), (None, None, False)):
        torch.library.opcheck(forward, (maps, rows, *arguments))
    out = torch.rand(3, 7, 8)
    torch.library.opcheck(
        torch.ops.pyifcn.assemble_prototypes_backward.default,
        (torch.randn(3, 7, 8), out, maps.detach(), rows.detach(), BOXES, images),
    )


def test_compile_in_one_graph(rng):
    maps = torch.from_numpy(rng.standard_normal((4, 7, 8), dtype=np.float32)).requires_grad_()
    rows = torch.from_numpy(rng.standard_normal((3, 4), dtype=np.float32)).requires_grad_()

    def loss(maps, rows):
        return (pyifcn.assemble_prototypes(maps, rows, BOXES) ** 2).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(loss(maps, rows), (maps, rows))
    got = torch.autograd.grad(compiled(maps, rows), (maps, rows))
    torch.testing.assert_close(got, expected)


MAPS, ROWS = np.zeros((3, 6, 7), np.float32), np.zeros((2, 3), np.float32)
BATCH = np.zeros((2, 3, 6, 7), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"prototypes": [[1.0]]}, TypeError, "prototypes is a list, expected a NumPy array"),
        ({"prototypes": MAPS[0]}, TypeError, r"\(6, 7\), expected 3 dimensions"),
        ({"prototypes": BATCH}, TypeError, r"\(2, 3, 6, 7\), expected 3 dimensions"),
        ({"images": np.zeros(2, int)}, TypeError, r"\(3, 6, 7\), expected 4 dimensions"),
        ({"prototypes": MAPS.astype(int)}, TypeError, "prototypes is int64, expected float16"),
        ({"coefficients": ROWS[0]}, TypeError, "coefficients .*, expected 2 dimensions"),
        ({"coefficients": ROWS[:, :2]}, ValueError, r"has shape \(2, 2\), expected \(N, 3\)"),
        ({"coefficients": ROWS.astype(float)}, TypeError, "is float64, expected float32"),
        (
            {"coefficients": torch.zeros(2, 3)},
            TypeError,
            "coefficients is a .* tensor .* expected a NumPy",
        ),
        ({"boxes": np.zeros((3, 4))}, ValueError, r"boxes has shape \(3, 4\), expected \(2, 4\)"),
        ({"boxes": np.zeros((2, 5))}, ValueError, r"boxes has shape \(2, 5\), expected \(2, 4\)"),
        ({"boxes": np.zeros((2, 4), bool)}, TypeError, "boxes is a bool array .*, expected real"),
        (
            {"prototypes": BATCH, "images": np.array([0, 2])},
            ValueError,
            r"images\[1\] is 2, expected 0 to 1",
        ),
        (
            {"prototypes": BATCH, "images": np.array([-1, 0])},
            ValueError,
            r"images\[0\] is -1, expected 0 to 1",
        ),
        (
            {"prototypes": BATCH, "images": np.zeros(3, int)},
            ValueError,
            "images has 3 elements, expected 2",
        ),
        ({"prototypes": BATCH, "images": np.zeros(2)}, TypeError, "images .*, expected integers"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        pyifcn.assemble_prototypes(**{"prototypes": MAPS, "coefficients": ROWS} | change)
