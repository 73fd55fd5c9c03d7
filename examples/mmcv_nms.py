"""mmcv's NMS without mmcv: the same arguments and results."""

import numpy as np

try:
    import torch
except ImportError as error:
    raise SystemExit(f"skipped, PyTorch cannot be imported: {error}") from None

from pyifcn.compat.mmcv import batched_nms, nms

rng = np.random.default_rng(0)
corners = rng.uniform(0, 500, (2000, 2))
boxes = np.hstack([corners, corners + rng.uniform(5, 80, (2000, 2))]).astype(np.float32)
scores = rng.random(2000, np.float32)
dets, inds = nms(boxes, scores, iou_threshold=0.5, max_num=100)
classes = torch.from_numpy(rng.integers(0, 80, 2000))
config = {"type": "soft_nms", "iou_threshold": 0.3, "min_score": 0.05}
by_class, _ = batched_nms(torch.from_numpy(boxes), torch.from_numpy(scores), classes, config)
print(f"{len(dets)} boxes, the best of {dets[0, 4]:.3f}; by class {len(by_class)}")
