"""Peers beside us: each group of benchmarks does the same work, and ends as one line of ratios."""

import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyifcn import Masks

US = "pyifcn"


@pytest.fixture
def compare(benchmark: Any) -> Callable[..., Any]:
    """Times `work` as `who`'s way of doing what `group` names; returns what it gave.

    `written` is how many bytes the work has to write at least.
    """

    def run(group: str, who: str, work: Callable[[], Any], written: int = 0) -> Any:
        benchmark.group = group
        benchmark.extra_info.update(who=who, written=written)
        return benchmark(work)

    return run


@pytest.fixture(scope="session")
def blobs() -> Callable[..., Masks]:
    """Makes wavy blobs, 20 to 300 pixels across, all over an image."""

    def make(count: int, size: tuple[int, int], seed: int = 0) -> Masks:
        rng = np.random.default_rng(seed)
        patches, corners = [], []
        for _ in range(count):
            height, width = rng.integers(20, 300, 2)
            y, x = np.mgrid[:height, :width]
            angle = np.arctan2(y - height / 2, x - width / 2)
            radius = np.hypot((y - height / 2) / height, (x - width / 2) / width)
            patches.append(radius < 0.45 + 0.05 * np.sin(rng.integers(3, 9) * angle))
            corners.append([rng.integers(0, size[1] - width), rng.integers(0, size[0] - height)])
        return Masks.from_patches(patches, np.array(corners), size)

    return make


def copy_speed() -> float:
    """Bytes a second that one thread copies from and to memory, each byte counted once."""
    source = np.ones(1 << 26, np.uint8)
    target = np.empty_like(source)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - start)
    return source.nbytes / min(times[1:])


def gpus() -> list[str]:
    """The names of this machine's GPUs and the version of their driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True).stdout.splitlines()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    groups = defaultdict(dict)
    reports = terminalreporter.stats.get("passed", [])
    lines = [text for r in reports for name, text in r.user_properties if name == "line"]
    for bench in getattr(session, "benchmarks", []):
        if "who" in bench.extra_info and not bench.has_error:
            groups[bench.group][bench.extra_info["who"]] = bench
    if not groups and not lines:
        return
    speed = copy_speed()
    terminalreporter.section("ratios of medians in this run")
    for line in gpus():
        terminalreporter.line(f"GPU: {line}")
    terminalreporter.line(f"this machine copies {speed / 1e9:.1f} GB/s on one thread")
    for line in lines:
        terminalreporter.line(line)
    for group, members in groups.items():
        line = f"{group}: "
        ours = members.get(US)
        if ours is not None:
            line += f"{ours.stats.median * 1e3:.3f} ms"
            if ours.extra_info["written"]:
                rate = ours.extra_info["written"] / ours.stats.median
                line += f" ({rate / 1e9:.1f} GB/s, {rate / speed:.0%} of the copy)"
        for who, bench in members.items():
            if who == US:
                continue
            line += f"; {who} {bench.stats.median * 1e3:.3f} ms"
            if ours is not None:
                line += f" = {bench.stats.median / ours.stats.median:.2f}x"
        terminalreporter.line(line)
