"""Instances of millions of images: in this process or on a Ray cluster, into Parquet.

Needs PyTorch and pyarrow, and the engine "ray" needs Ray.
"""

from pyifcn.inference.blocks import Block, plan
from pyifcn.inference.finder import Finder, HostInstances, find
from pyifcn.inference.parts import Found, Parts, Tally, read_proposals, write_coco_results
from pyifcn.inference.run import Report, propose_images

__all__ = [
    "Block",
    "Finder",
    "Found",
    "HostInstances",
    "Parts",
    "Report",
    "Tally",
    "find",
    "plan",
    "propose_images",
    "read_proposals",
    "write_coco_results",
]
