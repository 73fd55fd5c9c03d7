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

# What takes long under the emulation, or is of the CPU alone.
LEFT_OUT = {
    "assemble": "gradcheck or opcheck or compile or threads or bad_input or too_large",
    "nms": "million or opcheck or compile or threads or torchvision",
    "propose": "threads or rendered or masks_equal",
    "cuda": "gpu",
}


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
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "cuda_emulation"), *sys.path]),
    }


@pytest.mark.parametrize("operator", LEFT_OUT)
def test_operator(environment, operator):
    options = ["-p", "plugin", "-q", "-x", "-s", "-k", f"not ({LEFT_OUT[operator]})"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"test_{operator}.py"],
        env=environment,
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
