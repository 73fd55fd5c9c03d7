"""The CUDA kernels on the host, under sanitizers: the operators' own tests must pass on them."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

pytest.importorskip(
    "pybind11", reason="pybind11 is missing, which the emulated module is built with"
)
from cuda_emulation import build

TESTS = (
    *("test_assemble.py", "test_nms.py", "test_propose.py", "test_ps_roi.py"),
    *("test_assemble_rois.py", "test_cuda.py"),
)
# What takes long under the emulation, what is of the CPU alone, and what only the CPU looks at:
# whether windows and boxes are of images that are there.
LEFT_OUT = "gradcheck or million or torchvision or threads or bad_input and (outside or image)"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    libraries = build.libraries()
    if not all(path.is_absolute() for path in libraries):
        pytest.skip(f"{build.COMPILER} has no libasan.so: the sanitizers must be GCC's")
    module = build.build(tmp_path_factory.mktemp("cuda_emulation"))
    return {
        **os.environ,
        "PYIFCN_CUDA_EMULATION": str(module),
        "LD_PRELOAD": " ".join(map(str, libraries)),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # as Python is used to
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "cuda_emulation"), *sys.path]),
    }


def test_operators(environment):
    options = ["-p", "plugin", "-q", "-x", "-s", "-m", "not gpu", "-k", f"not ({LEFT_OUT})"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *TESTS],
        env=environment,
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
