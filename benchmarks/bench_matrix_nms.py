"""Matrix NMS, beside SOLO's way with tensors."""

import numpy as np
import pytest
import torch

import pyifcn


def ellipses(rng, count, size=(480, 640)):
    """A few around each object, as a detector gives them."""
    ys, xs = np.mgrid[: size[0], : size[1]]
    objects = max(1, count // 6)
    centres, radii = rng.random((objects, 2)) * size, rng.uniform(15, 80, (objects, 2))
    of = rng.integers(0, objects, count)
    centres = centres[of] + rng.normal(0, 4, (count, 2))
    radii = radii[of] * np.exp(rng.normal(0, 0.1, (count, 2)))
    return np.stack(
        [
            ((ys - y) / b) ** 2 + ((xs - x) / a) ** 2 < 1
            for (y, x), (b, a) in zip(centres, radii, strict=True)
        ]
    )


def solo(dense, scores, labels):
    """Sorted masks as float32 (N, H, W) in one matrix product."""
    flat = dense.flatten(1).float()
    shared = flat @ flat.T
    areas = flat.sum(1)
    iou = (shared / (areas[:, None] + areas - shared)).triu(1)
    iou *= (labels[:, None] == labels).triu(1)
    most = iou.amax(0)[:, None]
    return scores * (torch.exp(-2 * iou**2) / torch.exp(-2 * most**2)).amin(0)


@pytest.mark.parametrize("who", ["pyifcn", "pyifcn from dense", "SOLO"])
@pytest.mark.parametrize("count", [100, 500])
def test_matrix_nms(compare, count, who):
    rng = np.random.default_rng(0)
    dense = torch.from_numpy(ellipses(rng, count))
    scores = torch.from_numpy(np.sort(rng.random(count).astype(np.float32))[::-1].copy())
    labels = torch.from_numpy(rng.integers(0, 3, count))
    masks = pyifcn.Masks.from_dense(dense)
    ways = {
        "pyifcn": lambda: pyifcn.matrix_nms(masks, scores, labels),
        "pyifcn from dense": lambda: pyifcn.matrix_nms(dense, scores, labels),
        "SOLO": lambda: solo(dense, scores, labels),
    }
    got = compare(f"matrix_nms, {count} masks on 480x640", who, ways[who])
    torch.testing.assert_close(got, pyifcn.matrix_nms(masks, scores, labels), rtol=1e-4, atol=1e-6)
