"""On a GPU, beside torch's and torchvision's own: `make test-gpu` runs these after the tests.

Times are those of CUDA events around calls that are not waited for, but where a result's size makes
the CPU wait anyway.
"""

import numpy as np
import pytest
import torch
from bench_mask_voting import scene
from bench_masks import ellipses
from bench_nms import boxes_and_scores, clustered
from bench_paste_masks import SIZE as PASTED_SIZE
from bench_paste_masks import boxes as paste_boxes
from bench_paste_masks import masks as soft_masks

import pyifcn
from pyifcn import Masks


class GpuClock:
    """The GPU's time, summed up from call to call: as one difference CUDA tells it too coarsely."""

    def __init__(self):
        self.last = None
        self.seconds = 0.0

    def __call__(self):
        now = torch.cuda.Event(enable_timing=True)
        now.record()
        now.synchronize()  # all that was launched before is done
        if self.last is not None:
            self.seconds += self.last.elapsed_time(now) / 1e3
        self.last = now
        return self.seconds


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
    pytest.mark.benchmark(timer=GpuClock()),
]


def torchvision_ops():
    return pytest.importorskip("torchvision", reason="torchvision is missing").ops


@pytest.mark.parametrize("who", ["pyifcn", "copy_ of the output"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_assemble_dense(compare, dtype, who):
    maps = torch.randn(8, 25, 75, 112, device="cuda").to(dtype)
    expected = pyifcn.assemble_dense(maps, 21)
    target = torch.empty_like(expected)
    ways = {
        "pyifcn": lambda: pyifcn.assemble_dense(maps, 21),
        "copy_ of the output": lambda: target.copy_(expected),
    }
    assert torch.equal(ways[who](), expected)
    compare(f"GPU: assemble_dense, 8 x 25 maps 75 x 112, {dtype}", who, ways[who])


@pytest.mark.parametrize("who", ["pyifcn", "torchvision"])
@pytest.mark.parametrize("count", [1000, 10_000, 100_000, 400_000, 1_000_000])
def test_nms(compare, count, who):
    if who == "torchvision" and count > 300_000:
        pytest.skip("torchvision overflows an offset beyond 370,727 boxes")
    boxes, scores = (t.cuda() for t in boxes_and_scores(clustered, count))
    nms = pyifcn.nms if who == "pyifcn" else torchvision_ops().nms
    kept = compare(f"GPU: nms, {count:,} boxes, IoU 0.7", who, lambda: nms(boxes, scores, 0.7))
    assert torch.equal(kept, pyifcn.nms(boxes, scores, 0.7))


@pytest.mark.parametrize("who", ["pyifcn", "torchvision"])
@pytest.mark.parametrize("count", [20_000, 80_000])
def test_batched_nms(compare, count, who):
    boxes, scores = (t.cuda() for t in boxes_and_scores(clustered, count))
    idxs = torch.from_numpy(np.random.default_rng(1).integers(0, 80, count)).cuda()
    nms = pyifcn.batched_nms if who == "pyifcn" else torchvision_ops().batched_nms
    group = f"GPU: batched_nms, {count:,} boxes in 80 categories"
    kept = compare(group, who, lambda: nms(boxes, scores, idxs, 0.7))
    assert torch.equal(kept, pyifcn.batched_nms(boxes, scores, idxs, 0.7))


@pytest.mark.parametrize("who", ["pyifcn", "pyifcn as bool", "torchvision"])
@pytest.mark.parametrize("kind", ["blobs", "noise"])
def test_paste_masks(compare, kind, who):
    soft, boxes = soft_masks(kind).cuda(), paste_boxes().cuda()

    def with_torchvision():
        torchvision_ops()
        from torchvision.models.detection.roi_heads import paste_masks_in_image

        return paste_masks_in_image(soft, boxes, PASTED_SIZE)[:, 0] > 0.5

    ways = {
        "pyifcn": lambda: pyifcn.paste_masks(soft, boxes, PASTED_SIZE),
        "pyifcn as bool": lambda: pyifcn.paste_masks(soft, boxes, PASTED_SIZE, out="bool"),
        "torchvision": with_torchvision,
    }
    compare(f"GPU: paste 100 masks 28 x 28 ({kind}) on 800 x 1333", who, ways[who])


@pytest.mark.parametrize("who", ["pyifcn", "pyifcn on the CPU"])
@pytest.mark.parametrize("convention", ["fcis", "mnc", "pyifcn"])
def test_mask_voting(compare, convention, who):
    arguments = [torch.from_numpy(a) for a in scene(81, (600, 1000))]
    if who == "pyifcn":
        arguments = [a.cuda() for a in arguments]
    compare(
        f"GPU: mask_voting, {convention}, N 600, 81 classes on 600 x 1000",
        who,
        lambda: pyifcn.mask_voting(*arguments, (600, 1000), convention=convention),
    )


@pytest.mark.parametrize("who", ["pyifcn", "torch matmul in bfloat16"])
def test_mask_iou(compare, who):
    rng = np.random.default_rng(0)
    dense = [torch.from_numpy(ellipses(rng, 300, (480, 640))).cuda() for _ in range(2)]
    a, b = (Masks.from_dense(masks) for masks in dense)
    flat = [masks.flatten(1).bfloat16() for masks in dense]

    def by_matmul():
        inter = (flat[0] @ flat[1].T).float()
        areas = [masks.sum(1, dtype=torch.float32) for masks in flat]
        return inter / (areas[0][:, None] + areas[1] - inter)

    ways = {"pyifcn": lambda: a.iou(b), "torch matmul in bfloat16": by_matmul}
    torch.testing.assert_close(ways[who]().float(), a.iou(b).float(), rtol=0, atol=0.02)
    compare("GPU: mask_iou, 300 x 300 ellipses on 480 x 640", who, ways[who])


@pytest.mark.parametrize("who", ["pyifcn", "pycocotools from the host"])
def test_to_rle(compare, who):
    from pycocotools import mask as coco

    dense = torch.from_numpy(ellipses(np.random.default_rng(0), 300, (480, 640))).cuda()
    masks = Masks.from_dense(dense)

    def by_pycocotools():
        host = dense.permute(1, 2, 0).cpu().numpy()
        return coco.encode(np.asfortranarray(host.view(np.uint8)))

    ways = {"pyifcn": masks.to_rle, "pycocotools from the host": by_pycocotools}
    compare("GPU: to_rle, 300 masks on 480 x 640", who, ways[who])


def test_instance_fcn(compare):
    """The paper's network and scales on one image, to masks: 1.5 s on a K40 there."""
    from pyifcn.models import VGG16, InstanceFCN, TestSettings

    torch.manual_seed(0)
    settings = TestSettings(short_sides=(119, 178, 267, 400, 600, 900))
    model = InstanceFCN(VGG16(), settings=settings).cuda().bfloat16().eval()
    image = torch.rand(3, 600, 900, device="cuda", dtype=torch.bfloat16)

    def whole():
        return model.propose(image).masks

    assert len(whole()) > 0
    compare(
        "GPU: InstanceFCN on VGG-16, six scales, 600 x 900 to 1,000 masks, bf16", "pyifcn", whole
    )
