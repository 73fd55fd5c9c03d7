"""How good instance masks are: average recall and precision, detection quality, results files.

Needs NumPy and Pillow, but not PyTorch.
"""

from pyifcn.evaluation.average_precision import average_precision
from pyifcn.evaluation.coco_average_precision import (
    CocoAveragePrecision,
    coco_average_precision,
)
from pyifcn.evaluation.matching import THRESHOLDS
from pyifcn.evaluation.quality import (
    DetectionQuality,
    MatchCounts,
    detection_quality,
    match_counts,
)
from pyifcn.evaluation.recall import average_recall
from pyifcn.evaluation.results import coco_results, read_results, write_results
from pyifcn.evaluation.table import report

__all__ = [
    "THRESHOLDS",
    "CocoAveragePrecision",
    "DetectionQuality",
    "MatchCounts",
    "average_precision",
    "average_recall",
    "coco_average_precision",
    "coco_results",
    "detection_quality",
    "match_counts",
    "read_results",
    "report",
    "write_results",
]
