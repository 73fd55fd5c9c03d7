"""What the package promises of itself: imports, targets, threads, sealed kernels."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import pyifcn


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh Python."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tempfile.gettempdir(),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_import_takes_numpy_alone():
    foreign = "torch", "PIL", "pycocotools", "click", "tqdm", "safetensors"
    done = run(f"import sys, pyifcn; print([m for m in {foreign} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_environment_chooses_the_target():
    code = "import pyifcn; print(pyifcn.current_target())"
    assert run(code, PYIFCN_TARGET="scalar").stdout.strip() == "scalar"
    done = run(code, PYIFCN_TARGET="sse9")
    assert "target 'sse9' cannot run here; this machine has: scalar" in done.stderr


def test_unknown_target():
    with pytest.raises(ValueError, match="target 'cuda' cannot run here"):
        pyifcn.use_target("cuda")


@pytest.mark.parametrize("setting", ["0", "-1", "two", ""])
def test_bad_number_of_threads(setting):
    done = run("import pyifcn", PYIFCN_NUM_THREADS=setting)
    assert f"PYIFCN_NUM_THREADS is {setting!r}, expected a number" in done.stderr


def test_threads_follow_torch():
    torch = pytest.importorskip("torch")

    from pyifcn._runtime import num_threads

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    assert num_threads() == 3
    torch.set_num_threads(before)
    assert (
        run("from pyifcn._runtime import *; print(num_threads())", PYIFCN_NUM_THREADS="5").stdout
        == "5\n"
    )


FORK = """
import os, numpy as np, pyifcn
maps = np.random.default_rng(0).standard_normal((1, 25, 60, 60), np.float32)
before = pyifcn.assemble_dense(maps)
child = os.fork()
after = pyifcn.assemble_dense(maps)
if child == 0:
    os._exit(0 if np.array_equal(before, after) else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_threads_after_fork():
    done = run(FORK, PYIFCN_NUM_THREADS="4")
    assert done.returncode == 0, done.stderr


def test_callers_on_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    maps = np.random.default_rng(0).standard_normal((1, 25, 40, 40), np.float32)
    expected = pyifcn.assemble_dense(maps)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: pyifcn.assemble_dense(maps), range(32)))
    assert all(np.array_equal(result, expected) for result in results)


def kernel_objects() -> list[Path]:
    return [path for path in ROOT.glob("build/**/*_cpu.cpp.o") if "sanitize" not in str(path)]


@pytest.mark.skipif(
    shutil.which("nm") is None, reason="nm, which lists an object's symbols, is not installed"
)
@pytest.mark.skipif(
    not kernel_objects(), reason="no build tree here: nothing was compiled in this folder"
)
def test_kernels_are_sealed():
    """A weak symbol compiled for one target could be linked into code for another."""
    for path in kernel_objects():
        symbols = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
        weak = [line for line in symbols.splitlines() if line.split()[-2] in "WwVvu"]
        assert not weak, f"{path}: {weak}"
        assert ".init_array" not in symbols
