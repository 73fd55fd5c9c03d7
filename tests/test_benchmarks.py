"""The benchmarks can be run: pytest finds and imports them all, and one runs."""

import subprocess
import sys
from pathlib import Path

import pytest

for module in ("torch", "pytest_benchmark", "pycocotools"):
    pytest.importorskip(module, reason=f"the benchmarks need {module}")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(*arguments):
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=BENCHMARKS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_are_collected():
    collected = run("--collect-only", BENCHMARKS)
    for script in BENCHMARKS.glob("bench_*.py"):
        assert f"{script.name}::" in collected


def test_a_step_of_training_is_taken_apart():
    """It is the one that reaches into what is private."""
    part = "test_parts_of_a_step and float32"
    assert "trunk" in run("--benchmark-disable", "-k", part, "bench_training.py")
