"""Mask voting: every convention on every target against a slow reference, edge cases, bad input."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import torch

import pyifcn

CONVENTIONS = ("fcis", "fcis_cpu", "mnc", "mnc_cpu", "pyifcn")


def ious(box, boxes, last):
    """Of one box with all; x2 and y2 are of the last pixel inside (1) or the first outside (0)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    inter = np.fmax(high - low + last, 0).prod(1)
    area, areas = (box[2:] - box[:2] + last).prod(), (boxes[:, 2:] - boxes[:, :2] + last).prod(1)
    return inter / (area + areas - inter)


def nms(boxes, scores, least, threshold, last):
    """The boxes of one class that are kept, the best first."""
    order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= least]
    keep = []
    while order:
        keep.append(order.pop(0))
        iou = ious(boxes[keep[-1]], boxes, boxes.dtype.type(last))
        order = [i for i in order if not iou[i] > threshold]
    return keep


def detect(boxes, scores, convention, threshold, most):
    """The (class, box) that are voted on."""
    legacy = convention != "pyifcn"
    least = np.float32(1e-3 if convention.startswith("fcis") else 0)
    threshold = (np.float32 if legacy else np.float64)(threshold)  # 0.3f is more than 0.3
    kept = [
        (c, i)
        for c in range(1, scores.shape[1])
        for i in nms(boxes, scores[:, c], least, threshold, legacy)[:most]
    ]
    ranked = sorted(kept, key=lambda at: -scores[at[1], at[0]])[:most]
    if not legacy or not ranked:
        return [at for at in kept if at in ranked]
    tau = scores[ranked[-1][1], ranked[-1][0]]
    return [(c, i) for c, i in kept if scores[i, c] >= tau]


def taps(places, last):
    places = np.clip(np.asarray(places).astype(np.float32), 0, last)
    low = np.floor(places).astype(int)
    return low, np.minimum(low + 1, last), places - low.astype(np.float32)


def sample(image, ys, xs, nearest_at_the_end=False):
    """`image` at all of `ys` and `xs`, between its pixels linearly, first along x."""
    y0, y1, y_part = taps(ys, image.shape[0] - 1)
    x0, x1, x_part = taps(xs, image.shape[1] - 1)
    one = np.float32(1)
    wide = (one - x_part) * image[:, x0] + x_part * image[:, x1]
    values = (one - y_part)[:, None] * wide[y0] + y_part[:, None] * wide[y1]
    if nearest_at_the_end:  # both ways, whichever way the end is
        end = (y0 == image.shape[0] - 1)[:, None] | (x0 == image.shape[1] - 1)
        values = np.where(end, image[y0][:, x0], values)
    return values


def resize(image, height, width):
    """OpenCV's INTER_LINEAR."""
    ys = (np.arange(height) + 0.5) * (image.shape[0] / height) - 0.5
    xs = (np.arange(width) + 0.5) * (image.shape[1] / width) - 0.5
    return sample(image, ys, xs)


def render(mask, box, shape, convention):
    """The values of a mask in its box on the image, 0 outside."""
    canvas, side = np.zeros(shape, np.float32), len(mask)
    if convention in ("fcis", "fcis_cpu", "mnc_cpu"):
        x1, y1, x2, y2 = np.round(box).astype(int)
        if x2 < x1 or y2 < y1:
            return canvas
        patch = resize(mask, y2 - y1 + 1, x2 - x1 + 1)
        ys, xs = np.mgrid[y1 : y2 + 1, x1 : x2 + 1]
        seen = (ys >= 0) & (ys < shape[0]) & (xs >= 0) & (xs < shape[1])
        canvas[ys[seen], xs[seen]] = patch[seen]
        return canvas
    ys, xs = np.arange(shape[0]), np.arange(shape[1])
    if convention == "mnc":
        ys, xs = ys[(box[1] <= ys) & (ys <= box[3])], xs[(box[0] <= xs) & (xs <= box[2])]
        sides = box[2:] - box[:2] + np.float32(1)
        scales = np.float32(side) / sides
        y_places = (ys.astype(np.float32) - box[1]) * scales[1]
        x_places = (xs.astype(np.float32) - box[0]) * scales[0]
        canvas[np.ix_(ys, xs)] = sample(mask, y_places, x_places, nearest_at_the_end=True)
        return canvas
    box = box.astype(np.float64)
    ys = ys[(box[1] <= ys + 0.5) & (ys + 0.5 < box[3])]
    xs = xs[(box[0] <= xs + 0.5) & (xs + 0.5 < box[2])]
    if len(ys) and len(xs):
        y_places = (ys - box[1] + 0.5) * (side / (box[3] - box[1])) - 0.5
        x_places = (xs - box[0] + 0.5) * (side / (box[2] - box[0])) - 0.5
        canvas[np.ix_(ys, xs)] = sample(mask, y_places, x_places)
    return canvas


def resample(votes, box, side, convention):
    """The votes in an inclusive box as a mask of `side`."""
    x1, y1, x2, y2 = box
    if convention.endswith("cpu"):
        return resize(votes[y1 : y2 + 1, x1 : x2 + 1], side, side)
    steps = np.arange(side)
    if convention == "fcis":
        ys = y1 + (steps + 0.5) * ((y2 - y1 + 1) / side) - 0.5
        xs = x1 + (steps + 0.5) * ((x2 - x1 + 1) / side) - 0.5
        return sample(votes, ys, xs)
    steps, scale = (
        steps.astype(np.float32),
        np.float32([x2 - x1 + 1, y2 - y1 + 1]) / np.float32(side),
    )
    ys, xs = np.float32(y1) + steps * scale[1], np.float32(x1) + steps * scale[0]
    return sample(votes, ys, xs, nearest_at_the_end=True)


def reference(masks, boxes, scores, shape, convention, nms_t=0.3, merge_t=0.5, t=0.4, most=100):
    """The definition, on canvases of the image's size."""
    masks = masks.reshape(len(masks), *masks.shape[-2:])
    boxes = np.where(np.isfinite(boxes).all(1)[:, None], boxes, np.float32(np.nan))
    found = []
    with np.errstate(all="ignore"):
        for c, i in detect(boxes, scores, convention, nms_t, most):
            iou = ious(boxes[i].astype(float), boxes.astype(float), float(convention != "pyifcn"))
            voters = [j for j in range(len(boxes)) if iou[j] >= merge_t and scores[j, c] > 0]
            total = scores[voters, c].astype(float).sum()
            if not (total > 0 and np.isfinite(total)):
                continue
            votes = np.zeros(shape, np.float32 if convention == "mnc" else np.float64)
            for j in voters:
                values = render(masks[j], boxes[j], shape, convention)
                if convention == "mnc":
                    votes += scores[j, c] / np.float32(total) * values
                else:
                    votes += scores[j, c] * (values >= np.float32(t)) / total
            votes[abs(votes - t) < 1e-12] = t
            reached = votes > np.float32(t) if convention == "mnc" else votes >= t
            if convention == "pyifcn":
                if reached.any():
                    found.append((reached, scores[i, c], c))
                continue
            box = shape[1] // 2, shape[0] // 2, shape[1] // 2, shape[0] // 2
            if reached.any():
                rows, columns = np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))
                box = columns[0], rows[0], columns[-1], rows[-1]
            if convention == "fcis" and (box[0] == box[2] or box[1] == box[3]):
                continue
            mask = resample(votes.astype(np.float32), box, masks.shape[-1], convention)
            found.append((box, mask, scores[i, c], c))
    return found


def check(masks, boxes, scores, shape, convention, **options):
    """That what we find is what the reference finds; returns how much that is."""
    names = {"nms_t": "nms_threshold", "merge_t": "merge_threshold", "t": "binary_threshold"}
    names["most"] = "max_per_image"
    expected = reference(masks, boxes, scores, shape, convention, **options)
    got = pyifcn.mask_voting(
        masks,
        boxes,
        scores,
        shape,
        convention=convention,
        **{names[name]: value for name, value in options.items()},
    )
    assert got.boxes.dtype == got.scores.dtype == np.float32
    assert got.labels.dtype == np.int64
    assert got.boxes.shape == (len(expected), 4)
    assert got.scores.tolist() == [float(found[-2]) for found in expected]
    assert got.labels.tolist() == [found[-1] for found in expected]
    if convention == "pyifcn":
        dense = np.array([found[0] for found in expected], bool).reshape(-1, *shape)
        np.testing.assert_array_equal(got.masks.to_dense(), dense)
        np.testing.assert_array_equal(got.masks.boxes, got.boxes)
        return len(expected)
    assert got.masks.dtype == np.float32
    side = masks.shape[-1]
    np.testing.assert_array_equal(got.boxes, np.reshape([f[0] for f in expected], (-1, 4)))
    assert got.masks.shape == (len(expected), side, side)
    for mask, found in zip(got.masks, expected, strict=True):
        np.testing.assert_allclose(mask, found[1], atol=2e-6)
    return len(expected)


def blobs(rng, count, side):
    """Soft discs off the middle of their box."""
    at = (np.arange(side) + 0.5) / side
    cx, cy, radius = rng.uniform(0.3, 0.7, (3, count, 1, 1)) * [[[[1]]], [[[1]]], [[[0.9]]]]
    distance = np.hypot(at[:, None] - cy, at - cx)
    return (1 / (1 + np.exp((distance - radius) * 12))).astype(np.float32)


def noise(rng, count, side):
    return rng.random((count, side, side), dtype=np.float32)


def around_objects(rng, count, shape, spread=3.0):
    """Boxes about a few objects, as region proposals are."""
    height, width = shape
    objects = max(1, count // 8)
    sizes = rng.uniform(0.15, 0.6, (objects, 2)) * [width, height]
    corners = rng.uniform(0, 1, (objects, 2)) * ([width, height] - sizes)
    boxes = np.concatenate([corners, corners + sizes], 1)[rng.integers(0, objects, count)]
    return (boxes + rng.normal(0, spread, boxes.shape)).astype(np.float32)


def some_scores(rng, count, classes):
    logits = rng.normal(0, 2, (count, classes))
    return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)


def case(rng, count=40, shape=(60, 75), classes=4, side=7, masks=blobs):
    return (
        masks(rng, count, side),
        around_objects(rng, count, shape),
        some_scores(rng, count, classes),
        shape,
    )


@cache  # for all targets
def cases():
    rng = np.random.default_rng(0)
    found = []
    for width in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129):
        found.append(case(rng, count=12, shape=(33, width)))
    for height in (1, 15, 16, 17, 48):
        found.append(case(rng, count=12, shape=(height, 40), masks=noise))
    for count in (0, 1, 2, 63, 64, 65, 130):
        found.append(case(rng, count=count))
    for side in (1, 2, 8, 9, 16, 17, 28, 65):
        found.append(case(rng, count=16, side=side, masks=noise))
    for classes in (1, 2, 30):
        found.append(case(rng, classes=classes))
    return found


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_equals_the_reference(target, convention):
    assert sum(check(*arguments, convention) for arguments in cases()) > 200


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_wide_image(rng, convention):
    assert check(*case(rng, count=9, shape=(5, 4500), classes=2), convention)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_options(target, convention, rng):
    arguments = case(rng)
    for options in (
        {"nms_t": 0.0},
        {"nms_t": 1.0, "most": 7},
        {"merge_t": 0.0},
        {"merge_t": 1.0},
        {"t": 0.7},
        {"t": 1e-3},
        {"t": 1.0},
        {"most": 0},
        {"most": 1},
        {"most": 3},
    ):
        check(*arguments, convention, **options)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_an_iou_of_just_the_threshold(target, rng, convention):
    """36 of 120 pixels are 0.3f, which is more than 0.3 and not more than 0.3f."""
    boxes = np.float32([[-2, 10, 6, 25], [2, 12, 6, 21]])
    boxes[:, 2:] -= convention != "pyifcn"
    scores = np.float32([[0, 0.9], [0, 0.8]])
    masks = noise(rng, 2, 5)
    assert check(masks, boxes, scores, (27, 8), convention) == 2 - (convention == "pyifcn")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_input(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shape = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 140))
    count, side = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 20))
    masks, boxes, scores, _ = case(
        rng,
        count=count,
        shape=shape,
        classes=data.draw(st.integers(1, 4)),
        side=side,
        masks=data.draw(st.sampled_from([blobs, noise])),
    )
    kind = data.draw(
        st.sampled_from(["as they are", "whole", "halves", "outside", "inverted", "odd"])
    )
    if kind in ("whole", "halves"):
        step = 1 if kind == "whole" else 2
        boxes = np.round(boxes * step) / np.float32(step)
    elif kind == "outside":
        boxes += rng.normal(0, 40, (count, 1)).astype(np.float32)
    elif kind == "inverted":
        boxes = boxes[:, [2, 1, 0, 3]]
    elif kind == "odd":
        odd = np.float32([np.nan, np.inf, -np.inf, -1, 0, 1])
        chosen = rng.random((count, 4)) < 0.1
        boxes[chosen] = rng.choice(odd, chosen.sum())
    if data.draw(st.booleans()):  # equal scores, none, negative ones and NaN
        some = np.float32([0, 0.25, 0.5, 1, -1, np.nan])
        scores = rng.choice(some, scores.shape)
    check(
        masks,
        boxes,
        scores,
        shape,
        data.draw(st.sampled_from(CONVENTIONS)),
        nms_t=data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
        merge_t=data.draw(st.sampled_from([0.01, 0.3, 0.5, 1.0])),
        t=data.draw(st.sampled_from([0.25, 0.4, 0.5])),
        most=data.draw(st.sampled_from([1, 5, 100])),
    )


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_nothing_is_found(target, convention):
    masks, boxes = np.ones((3, 5, 5), np.float32), np.float32([[1, 1, 8, 8]] * 3)
    for scores in (np.zeros((3, 4)), np.full((3, 4), np.nan), -np.ones((3, 4)), np.ones((3, 1))):
        found = pyifcn.mask_voting(
            masks, boxes, scores.astype(np.float32), (10, 12), convention=convention
        )
        assert [len(field) for field in found] == [0] * 4
        assert convention == "pyifcn" or found.masks.shape == (0, 5, 5)
    found = pyifcn.mask_voting(
        masks, boxes - 50, np.ones((3, 2), np.float32), (10, 12), convention=convention
    )
    middle = 1 if convention in ("fcis_cpu", "mnc", "mnc_cpu") else 0
    assert found.boxes.tolist() == [[6, 5, 6, 5]] * middle
    assert len(found.masks) == middle


def test_aliases_and_shapes(rng):
    masks, boxes, scores, shape = case(rng)
    for alias, name in (("fcis_gpu", "fcis"), ("mnc_gpu", "mnc")):
        for a, b in zip(
            pyifcn.mask_voting(masks, boxes, scores, shape, convention=alias),
            pyifcn.mask_voting(masks[:, None], boxes, scores, shape, convention=name),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def test_scores_that_are_equal_vote_exactly():
    # Two of five masks make a share of just 0.4, whatever the number of classes they score in.
    masks, boxes = np.ones((5, 4, 4), np.float32), np.float32([[0, 0, 10, 10]] * 5)
    boxes[:2, 2] = 12
    for score in np.float32([0.1, 1 / 3, 1e-3, 0.7, 1e-30]):
        found = pyifcn.mask_voting(
            masks, boxes, np.full((5, 2), score), (20, 20), convention="pyifcn"
        )
        assert found.boxes.tolist() == [[0, 0, 12, 10]]
        found = pyifcn.mask_voting(
            masks,
            boxes,
            np.full((5, 2), score),
            (20, 20),
            convention="pyifcn",
            binary_threshold=0.41,
        )
        assert found.boxes.tolist() == [[0, 0, 10, 10]]


@pytest.mark.parametrize("threshold", [1e-50, 1e-40, 1e-30])
def test_a_threshold_below_any_float32_is_above_0(threshold):
    masks = np.zeros((1, 7, 7), np.float32)
    masks[0, 3, 3] = 1
    found = pyifcn.mask_voting(
        masks,
        np.float32([[0, 0, 70, 70]]),
        np.float32([[0, 0.9]]),
        (70, 70),
        convention="pyifcn",
        binary_threshold=threshold,
    )
    assert found.masks.area.tolist() == [20 * 20]


def test_torch_types_and_layouts(rng):
    masks, boxes, scores, shape = case(rng)
    for convention in CONVENTIONS:
        expected = pyifcn.mask_voting(masks, boxes, scores, shape, convention=convention)
        tensors = [
            torch.from_numpy(np.asfortranarray(a)).requires_grad_() for a in (masks, boxes, scores)
        ]
        got = pyifcn.mask_voting(*tensors, torch.Size(shape), convention=convention)
        wide = [a.astype(np.float64)[::-1][::-1] for a in (masks, boxes, scores)]
        doubles = pyifcn.mask_voting(*wide, shape, convention=convention)
        for a, b, c in zip(got, expected, doubles, strict=True):
            if isinstance(b, pyifcn.Masks):
                assert a == b == c
                assert a.device is not None
                continue
            assert isinstance(a, torch.Tensor)
            assert not a.requires_grad
            np.testing.assert_array_equal(a.numpy(), b)
            np.testing.assert_array_equal(b, c)
    for dtype in (torch.float16, torch.bfloat16):
        half = [tensor.detach().to(dtype) for tensor in tensors]
        got = pyifcn.mask_voting(*half, shape)
        expected = pyifcn.mask_voting(*(tensor.float() for tensor in half), shape)
        assert all(map(torch.equal, got, expected))


def test_the_number_of_threads_changes_nothing(rng):
    arguments = case(rng, count=300, shape=(200, 300), classes=8, side=21)
    tensors = [torch.from_numpy(a) for a in arguments[:3]]
    threads = torch.get_num_threads()
    for convention in CONVENTIONS:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(pyifcn.mask_voting(*tensors, arguments[3], convention=convention))
        for a, b in zip(*found, strict=True):
            assert a == b if isinstance(a, pyifcn.Masks) else torch.equal(a, b)
    torch.set_num_threads(threads)


def test_the_size_of_the_image_does_not_matter(rng):
    masks, boxes, scores, shape = case(rng, count=100)
    for convention in CONVENTIONS:
        far = boxes + np.float32([60000, 30000, 60000, 30000])
        found = pyifcn.mask_voting(masks, far, scores, (2**29, 2**29), convention=convention)
        assert len(found.boxes) == len(found.masks) > 10
        assert (found.boxes[:, 2:] - found.boxes[:, :2]).max() < 2 * max(shape)


MASKS = np.zeros((3, 5, 5), np.float32)
BOXES = np.zeros((3, 4), np.float32)
SCORES = np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"masks": [[0.0]]}, TypeError, "masks is a list, expected a NumPy array"),
        ({"masks": MASKS[0]}, TypeError, r"\(5, 5\), expected 3 dimensions"),
        ({"masks": MASKS[:, None].repeat(2, 1)}, TypeError, "masks .* expected 3 dimensions"),
        ({"masks": MASKS[:, :4]}, ValueError, r"masks has shape \(3, 4, 5\), expected \(N, M, M\)"),
        ({"masks": MASKS[:, :0, :0]}, ValueError, r"masks has shape \(3, 0, 0\)"),
        ({"masks": MASKS[:2]}, ValueError, r"masks has shape \(2, 5, 5\), .* for 3 boxes"),
        ({"masks": MASKS > 0}, TypeError, "masks is a bool array .* expected float16"),
        ({"boxes": BOXES[:, :3]}, ValueError, r"boxes has shape \(3, 3\), expected \(N, 4\)"),
        ({"boxes": BOXES.astype(int)}, TypeError, "boxes is an int64 array .* expected float16"),
        (
            {"boxes": torch.zeros(3, 4)},
            TypeError,
            "boxes is a .* tensor .* expected a NumPy",
        ),
        ({"scores": SCORES[:2]}, ValueError, r"scores has shape \(2, 2\), .* for 3 boxes"),
        ({"scores": SCORES[:, :0]}, ValueError, r"scores has shape \(3, 0\), expected \(N, C\)"),
        ({"scores": SCORES[:, 0]}, TypeError, "scores .* expected 2 dimensions"),
        ({"image_size": 5}, TypeError, r"image_size is 5, expected \(height, width\)"),
        ({"image_size": (5, 6, 7)}, TypeError, "image_size is .* expected"),
        ({"image_size": (0, 5)}, ValueError, "image_size is 0, expected at least 1"),
        ({"image_size": (5, 2**40)}, ValueError, "image_size is .* expected sides of 1 to"),
        ({"nms_threshold": 1.5}, ValueError, "nms_threshold is 1.5, expected 0 to 1"),
        ({"nms_threshold": None}, TypeError, "nms_threshold is None, expected a number"),
        ({"merge_threshold": np.nan}, ValueError, "merge_threshold is nan, expected 0 to 1"),
        ({"binary_threshold": 0}, ValueError, "binary_threshold is 0, expected more than 0"),
        ({"max_per_image": -1}, ValueError, "max_per_image is -1, expected at least 0"),
        ({"max_per_image": 1.5}, TypeError, "max_per_image is 1.5, expected an integer"),
        ({"convention": "fcn"}, ValueError, "convention is 'fcn', expected 'fcis'"),
        ({"convention": None}, TypeError, "convention is None, expected a string"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"masks": MASKS, "boxes": BOXES, "scores": SCORES, "image_size": (9, 9)} | change
    with pytest.raises(error, match=message):
        pyifcn.mask_voting(**arguments)
