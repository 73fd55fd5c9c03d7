"""pycocotools on our kernels by one line: masks to codes and their overlaps."""

import numpy as np

import pyifcn

try:
    from pycocotools import mask as mask_utils
except ImportError as error:
    raise SystemExit(f"skipped, pycocotools cannot be imported: {error}") from None

masks = np.zeros((480, 640, 2), np.uint8, order="F")
masks[100:200, 100:200, 0] = masks[100:200, 150:250, 1] = 1
with pyifcn.accelerate("pycocotools"):
    codes = mask_utils.encode(masks)
    print(mask_utils.area(codes), mask_utils.iou(codes, codes, [0, 0]).round(3).tolist())
