"""Runs the operators' own tests on CUDA kernels, as plugin.py says."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = (  # every other one in half of the processes: both halves take about as long
    "test_assemble.py",
    "test_nms.py",
    "test_propose.py",
    "test_ps_roi.py",
    "test_assemble_rois.py",
    "test_nms_groups.py",
    "test_nms_padded.py",
    "test_nms_from_iou.py",
    "test_soft_nms.py",
    "test_paste_masks.py",
    "test_mask_overlap.py",
    "test_matrix_nms.py",
    "test_rle.py",
    "test_mask_geometry.py",
    "test_mask_sets.py",
    "test_mask_labels.py",
    "test_masks.py",
    "test_mask_voting.py",
    "test_vote.py",
    "test_assemble_prototypes.py",
    "test_blend.py",
    "test_swap_align2nat.py",
    "test_fast_nms.py",
)
# What calls a kernel very often, what is of the CPU alone, and what only the CPU looks at: whether
# windows and boxes are of images that are there.
LEFT_OUT = (
    "gradcheck or equals_torchvision or threads or every_target or bad_input and (outside or image)"
)
# What takes long under the emulation.
SLOW = (
    "million or many_boxes or many_tiny or exponential or every_half"
    " or huge_images or every_pixel or many_labels or real_masks"
)


def run(
    *tests: str, only: str = "", before: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command `before` runs pytest; `only` names the tests, as -k does."""
    left_out = f"{LEFT_OUT} or {SLOW}" if "PYIFCN_CUDA_EMULATION" in environment else LEFT_OUT
    chosen = f"not ({left_out})" + (f" and ({only})" if only else "")
    options = ["-p", "plugin", "-q", "-x", "-s", "-m", "not gpu", "-k", chosen]
    path = os.pathsep.join([str(HERE), *sys.path])
    return subprocess.run(
        [*before, sys.executable, "-m", "pytest", *options, *tests],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=900,
    )
