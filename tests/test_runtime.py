"""What the package promises of itself: imports, targets, threads, sealed kernels."""

import os
import shutil
import signal
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


@pytest.mark.parametrize("setting", ["0", "-1", "two", "99999999999"])
def test_bad_number_of_threads(setting):
    done = run("import pyifcn", PYIFCN_NUM_THREADS=setting)
    assert f"PYIFCN_NUM_THREADS is {setting!r}, expected a number in 1..4096" in done.stderr


def test_an_empty_setting_is_none():
    done = run("import pyifcn", PYIFCN_NUM_THREADS="", PYIFCN_TARGET="")
    assert done.returncode == 0, done.stderr


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


ENDING = """
import threading, time, numpy as np, pyifcn
corners = np.random.default_rng(0).random((50_000, 2), np.float32) * 300
boxes = np.concatenate([corners, corners + 5], 1)
def work():
    while True:
        pyifcn.nms(boxes, boxes[:, 0], 0.5)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""


def test_the_interpreter_ends_while_threads_are_at_work():
    for _ in range(3):
        done = run(ENDING, PYIFCN_NUM_THREADS="2")
        assert done.returncode == 0, done.stderr


SIGNAL = """
import os, signal, numpy as np, pyifcn
pyifcn.assemble_dense(np.zeros((1, 25, 60, 60), np.float32))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
os.kill(os.getpid(), signal.SIGUSR1)
print(signal.sigtimedwait({signal.SIGUSR1}, 10).si_signo == signal.SIGUSR1)
"""


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="this system has no sigtimedwait()")
def test_signals_go_to_the_threads_of_the_program():
    done = run(SIGNAL, PYIFCN_NUM_THREADS="4", OPENBLAS_NUM_THREADS="1")  # NumPy's take signals
    assert done.stdout == "True\n", done.stderr


# Two threads import what the first tensor needs, by an __import__ that lets each other go on.
FIRST_TENSORS = """
import builtins, threading, time, torch, pyifcn
real = builtins.__import__
def slowly(name, *args, **kwargs):
    if name == "torch":
        time.sleep(0.05)
    return real(name, *args, **kwargs)
builtins.__import__ = slowly
start = threading.Barrier(2)
def work():
    start.wait()
    pyifcn.nms(torch.rand(5, 4), torch.rand(5), 0.5)
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


def test_first_tensors_on_two_threads():
    pytest.importorskip("torch")
    done = run(FIRST_TENSORS)
    assert done.stdout == "done\n", done.stderr


def test_threads_treat_denormals_as_the_caller_does():
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormal numbers")
    prototypes = torch.full((1, 64, 1000), 1e-20)
    coefficients = torch.full((64, 1), 1e-22)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for flush in (True, False):
            torch.set_flush_denormal(flush)
            for _ in range(4):
                masks = pyifcn.assemble_prototypes(prototypes, coefficients, sigmoid=False)
                bits = masks.view(torch.int32)
                assert bool((bits != 0).all()) if not flush else not bits.any()
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


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
