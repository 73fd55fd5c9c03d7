"""Runs the operators' own tests on CUDA kernels, as plugin.py says."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = (
    *("test_assemble.py", "test_nms.py", "test_propose.py", "test_ps_roi.py"),
    "test_assemble_rois.py",
    "test_assemble_prototypes.py",
    "test_blend.py",
    "test_swap_align2nat.py",
)
# What takes long under the emulation, what is of the CPU alone, and what only the CPU looks at:
# whether windows and boxes are of images that are there.
LEFT_OUT = "gradcheck or million or torchvision or threads or bad_input and (outside or image)"


def run(
    *tests: str, only: str = "", before: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command `before` runs pytest; `only` names the tests, as -k does."""
    chosen = f"not ({LEFT_OUT})" + (f" and ({only})" if only else "")
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
