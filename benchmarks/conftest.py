"""Peers beside us: each group of benchmarks does the same work, and ends as one line of ratios."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

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


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    groups = defaultdict(dict)
    for bench in getattr(session, "benchmarks", []):
        if "who" in bench.extra_info and not bench.has_error:
            groups[bench.group][bench.extra_info["who"]] = bench
    if not groups:
        return
    speed = copy_speed()
    terminalreporter.section("ratios of medians in this run")
    terminalreporter.line(f"this machine copies {speed / 1e9:.1f} GB/s on one thread")
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
