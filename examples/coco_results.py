"""Drop repeated masks from a COCO results list: mask NMS without dense arrays."""

import json
from pathlib import Path

import numpy as np

from pyifcn.data import SyntheticShapes
from pyifcn.evaluation import coco_results, read_results, write_results
from pyifcn.masks import Masks

# Results as a detector might write them: every object twice.
records = []
for sample in SyntheticShapes(3):
    twice = Masks.cat([sample.masks, sample.masks])
    scores = np.linspace(0.9, 0.1, len(twice))
    records += coco_results(twice, scores, sample.image_id)
write_results("results.json", records)

kept = []
for image_id, (masks, scores, labels) in read_results("results.json").items():
    best = masks.nms(scores, iou_threshold=0.7)
    kept += coco_results(masks[best], scores[best], image_id, category_id=labels[best])
write_results("distinct.json", kept)
print(f"{len(records)} masks, {len(json.loads(Path('distinct.json').read_text()))} distinct")
