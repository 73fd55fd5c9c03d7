"""Boxes of two models fused, as ensemble_boxes does it."""

from pyifcn.compat.ensemble_boxes import weighted_boxes_fusion

boxes = [
    [[0.10, 0.10, 0.50, 0.50], [0.60, 0.55, 0.90, 0.95]],  # of the first model, in 0..1
    [[0.12, 0.11, 0.52, 0.50], [0.05, 0.70, 0.20, 0.90]],
]
scores = [[0.9, 0.6], [0.7, 0.3]]
labels = [[0, 1], [0, 1]]
fused = weighted_boxes_fusion(boxes, scores, labels, weights=[2, 1], iou_thr=0.5)
for box, score, label in zip(*fused, strict=True):
    print(int(label), round(float(score), 3), box.round(3).tolist())
