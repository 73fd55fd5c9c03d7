"""FCIS's mask voting without its GPU, OpenCV and Python 2."""

import numpy as np

from pyifcn.compat.fcis import gpu_mask_voting

rng = np.random.default_rng(0)
corners = rng.uniform(0, 300, (6, 2))[rng.integers(0, 6, 60)] + rng.normal(0, 3, (60, 2))
boxes = np.hstack([corners, corners + 80]).clip(0, 399).astype(np.float32)
masks = np.full((60, 1, 21, 21), 0.9, np.float32)
scores = rng.dirichlet(np.ones(3), 60).astype(np.float32)
masks, boxes = gpu_mask_voting(masks, boxes, scores, 3, 100, 400, 400, 0.3, 0.5)
print(f"60 detections, {[len(some) for some in boxes[1:]]} after voting, by class")
