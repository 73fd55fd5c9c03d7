"""Training: where the time of a step goes, and what a second process adds.

Network, batches and options are the nuclei preset's: 16 crops of 128 pixels. One thread a process.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

import pyifcn
from pyifcn.data import SyntheticNuclei
from pyifcn.training import distributed, network, preset, processes, trainer
from pyifcn.training.batch_norm import joint_batch_norm
from pyifcn.training.objective import objective
from pyifcn.training.views import Views

PACKAGE = str(Path(pyifcn.__file__).parents[1])
STEPS = 12
PRECISIONS = ["float32", "bfloat16"]


class Watch:
    """Wall and CPU time of the calling thread, on the account of the part entered last."""

    def __init__(self) -> None:
        self.wall, self.cpu = Counter[str](), Counter[str]()
        self._part = ""
        self._since = time.perf_counter(), time.thread_time()

    def enter(self, part: str) -> None:
        now = time.perf_counter(), time.thread_time()
        self.wall[self._part] += now[0] - self._since[0]
        self.cpu[self._part] += now[1] - self._since[1]
        self._part, self._since = part, now

    def entering(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def entered(*arguments: Any, **options: Any) -> Any:
            self.enter(part)
            return function(*arguments, **options)

        return entered

    def follow(self, run: Any) -> None:
        """Enters the parts of a run's steps. Backward passes begin with their output's gradient."""
        model = run.model

        def backward(part: str) -> Callable[..., None]:
            def note(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
                output.register_hook(lambda _: self.enter(part))

            return note

        model.backbone.register_forward_pre_hook(lambda *_: self.enter("trunk"))
        model.backbone.register_forward_hook(lambda *_: self.enter("branches"))
        model.backbone.register_forward_hook(backward("trunk"))
        model.masks.register_forward_hook(backward("branches"))
        model.objectness.register_forward_hook(backward("branches"))
        run.scaler.unscale_ = self.entering("optimizer", run.scaler.unscale_)


class TimedViews(Views):
    """Views that note the CPU time which threads take for them: targets and sampling included."""

    def view(self, step: int, place: int) -> Any:
        since = time.thread_time()
        view = super().view(step, place)
        times.append(time.thread_time() - since)
        return view


times: list[float] = []


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def new_run(
    precision: str, views: type[Views] = Views, joint_norm: bool = True
) -> tuple[Any, Views]:
    config = preset("nuclei", precision=precision, joint_norm=joint_norm, workers=1)
    torch.manual_seed(0)
    model = network("nuclei")
    data = SyntheticNuclei(16, size=(256, 256), seed=1)
    with tempfile.TemporaryDirectory() as folder:
        goal = objective(model, config)
        run = trainer._Run(model, goal, config, data, Path(folder))
    return run, views(model, goal, data, config)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_parts_of_a_step(record_property, monkeypatch, precision):
    run, views = new_run(precision, TimedViews)
    watch = Watch()
    loss = watch.entering("assembling and loss", run.objective.loss)
    monkeypatch.setattr(run.objective, "loss", loss)
    watch.follow(run)
    times.clear()
    batches = views.batches(0, STEPS + 1)
    run.advance(*next(batches))
    watch.wall.clear()
    watch.cpu.clear()
    for _ in range(STEPS):
        watch.enter("waiting for views")
        batch = next(batches)
        watch.enter("rest")
        run.advance(*batch)
    watch.enter("")
    watch.cpu["views, in threads"] = STEPS * run.config.batch * sum(times) / len(times)
    for name, spent in (("wall", watch.wall), ("CPU", watch.cpu)):
        whole = sum(spent.values())
        shares = "; ".join(f"{part} {s / whole:.1%}" for part, s in spent.most_common() if part)
        line = f"a step of training in {precision}, {name} {whole / STEPS * 1e3:.0f} ms: {shares}"
        record_property("line", line)


@pytest.mark.parametrize("norm", ["joint", "separate"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_processes(record_property, precision, norm):
    """Rounds alternate, so that what else the machine does falls on both."""
    rounds: dict[int, list[list[float]]] = {1: [], 2: []}
    for _, count in itertools.product(range(3), rounds):
        rounds[count].append(seconds_a_step(count, precision, norm))
    (one, one_cpu), (two, two_cpu) = (map(median, zip(*r, strict=True)) for r in rounds.values())
    line = f"training in {precision}, {norm} norm, one thread a process: "
    line += f"one process {one * 1e3:.0f} ms a step "
    line += f"({one_cpu * 1e3:.0f} ms of CPU); two {two * 1e3:.0f} ms ({two_cpu * 1e3:.0f} ms of "
    record_property("line", line + f"CPU each) = {one / two:.2f}x; by CPU {one_cpu / two_cpu:.2f}x")


def seconds_a_step(count: int, precision: str, norm: str) -> list[float]:
    """Median wall time, and mean CPU time of a process and all its threads."""
    launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, __file__, precision, norm],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PACKAGE},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [float(value) for value in done.stdout.split()]


def measure(precision: str, norm: str) -> None:
    """What each process of a round runs."""
    torch.set_num_threads(1)
    joint = norm == "joint"
    with processes("cpu"):
        run, views = new_run(precision, joint_norm=joint)
        with joint_batch_norm(run.model) if joint else nullcontext():
            batches = views.batches(0, 10_000)
            for _ in range(4):
                run.advance(*next(batches))
            taken, cpu = [], time.process_time()
            for _ in range(STEPS):
                since = time.perf_counter()
                run.advance(*next(batches))
                taken.append(time.perf_counter() - since)
            cpu = time.process_time() - cpu
            batches.close()
        if distributed.is_first():
            print(median(taken), cpu / STEPS)


if __name__ == "__main__":
    measure(*sys.argv[1:])
