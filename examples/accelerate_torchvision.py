"""torchvision's Mask R-CNN, before and after one line."""

import time

import pyifcn

try:
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn
except (ImportError, RuntimeError) as error:
    raise SystemExit(f"skipped, torchvision cannot be imported: {error}") from None

torch.manual_seed(0)
model = maskrcnn_resnet50_fpn(
    weights=None, weights_backbone=None, num_classes=3, box_score_thresh=0.0, min_size=96
).eval()
masks = torch.rand(100, 1, 28, 28)
corners = torch.rand(100, 2) * torch.tensor([1000.0, 500.0])
found = {"boxes": torch.cat([corners, corners + 20 + 250 * torch.rand(100, 2)], 1), "masks": masks}


def postprocess() -> float:
    """Milliseconds to draw 100 masks on a photograph."""
    start = time.perf_counter()
    model.transform.postprocess([dict(found)], [(800, 1333)], [(800, 1333)])
    return 1e3 * (time.perf_counter() - start)


before = postprocess()
with pyifcn.accelerate("torchvision"):
    print(f"torchvision {before:.0f} ms, pyifcn {postprocess():.0f} ms")
