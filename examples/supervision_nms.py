"""supervision's mask NMS, before and after one line."""

import time

import numpy as np

import pyifcn

try:
    import supervision
except ImportError as error:
    raise SystemExit(f"skipped, supervision cannot be imported: {error}") from None

rng = np.random.default_rng(0)
masks = np.zeros((60, 480, 640), bool)
boxes = np.zeros((60, 4))
for mask, box in zip(masks, boxes, strict=True):
    x, y, width, height = rng.integers(20, [500, 380, 140, 100])
    mask[y : y + height, x : x + width] = True
    box[:] = x, y, x + width, y + height
detections = supervision.Detections(
    xyxy=boxes, mask=masks, confidence=rng.random(60), class_id=np.zeros(60, int)
)


def suppress() -> tuple[int, float]:
    """How many detections are kept, and the milliseconds that it takes to find them."""
    start = time.perf_counter()
    kept = len(detections.with_nms(0.3))
    return kept, 1e3 * (time.perf_counter() - start)


before, slow = suppress()
with pyifcn.accelerate("supervision"):
    after, fast = suppress()
assert before == after
print(f"{after} of 60 kept; supervision {slow:.0f} ms, pyifcn {fast:.1f} ms")
