"""The compiled module for CUDA: it loads anywhere, and refuses what is not on a GPU."""

import subprocess
import sys

import numpy as np
import pytest
from optional import torch

import pyifcn._runtime as _runtime

_cuda = pytest.importorskip("pyifcn._cuda", reason="built without CUDA: there is no working nvcc")


def test_loads_without_torch(tmp_path):
    code = "import sys; from pyifcn import _cuda; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_says_what_it_was_built_for():
    pytest.importorskip("torch", reason="it works on torch tensors")
    assert _runtime.cuda().assemble is _cuda.assemble
    assert _cuda.architectures
    assert _cuda.toolkit


def test_refuses_what_is_not_on_a_gpu():
    maps, windows = torch.zeros(1, 25, 30, 30), torch.zeros(2, 3, dtype=torch.int64)
    out = torch.empty(2, 21, 21)
    with pytest.raises(TypeError, match="score_maps is on cpu, expected a CUDA tensor"):
        _cuda.assemble(maps, windows, "nearest", 0.0, out, (0, 0))
    with pytest.raises(TypeError, match=r"score_maps is a numpy.ndarray, expected a CUDA tensor"):
        _cuda.assemble(np.zeros((1, 25, 9, 9)), windows, "nearest", 0.0, out, (0, 0))
