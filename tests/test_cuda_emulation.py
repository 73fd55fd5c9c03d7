"""The CUDA kernels on the host, under sanitizers: the operators' own tests must pass on them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from cuda_emulation import build

pytest.importorskip("pybind11", reason="pybind11 is missing, and the emulated module needs it")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    runtime = build.runtime()
    if not Path(runtime).is_absolute():
        pytest.skip(f"{build.COMPILER} has no libasan.so: the sanitizers must be GCC's")
    module = build.build(tmp_path_factory.mktemp("cuda_emulation"))
    return {
        **os.environ,
        "PYIFCN_CUDA_EMULATION": str(module),
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/cuda_emulation"), *sys.path]),
    }
