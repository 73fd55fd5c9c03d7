"""The benchmarks can be run: pytest finds and imports them all."""

import subprocess
import sys
from pathlib import Path

import pytest

for module in ("torch", "pytest_benchmark", "pycocotools"):
    pytest.importorskip(module, reason=f"the benchmarks need {module}")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_all_are_collected():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", BENCHMARKS, "--collect-only", "-q"],
        capture_output=True,
        text=True,
        cwd=BENCHMARKS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for script in BENCHMARKS.glob("bench_*.py"):
        assert f"{script.name}::" in done.stdout
