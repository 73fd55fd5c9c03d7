"""Training by several processes: the numbers of one, and going on after one is killed.

Processes run functions of this file by torchrun, over gloo on the loopback device.
"""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
import torch
from torch import nn

if not torch.distributed.is_available():
    pytest.skip("this PyTorch cannot train by several processes", allow_module_level=True)

from test_cli import write_annotations, write_images
from test_training import LONGER, SMALL, tiny

from pyifcn.data import SyntheticNuclei
from pyifcn.models import InstanceFCN, load
from pyifcn.training import Config, distributed, processes, train
from pyifcn.training.batch_norm import average_running_statistics, joint_batch_norm

SGD = replace(SMALL, steps=4, batch=4, optimizer="sgd", learning_rate=0.02, warmup=0)
RUNS = {
    "even": SGD,
    "uneven": replace(SGD, batch=3, mask_negatives=True),
    "adamw": replace(SMALL, steps=4, batch=3, learning_rate=1e-3, warmup=0),
    "sizes": Config(
        *(3, 3), short_sides=(40, 48, 64), learning_rate=0.05, windows=32, positive_side=(0.2, 0.9)
    ),
    "single": replace(SGD, learning_rate=1e-3),
    "separate": replace(SGD, joint_norm=False),
    "long": LONGER,
}


class Double(InstanceFCN):
    """In float64, so that the order of sums does not show."""

    def score(self, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().score(planes.double())


def start(name: str) -> InstanceFCN:
    """The network of one of RUNS before its first step."""
    model = tiny()
    if name not in ("single", "long"):
        model = model.double()
        model.__class__ = Double
    return model


def images(count: int = 4) -> SyntheticNuclei:
    return SyntheticNuclei(count, size=(64, 80))


@contextlib.contextmanager
def torchrun(folder: Path, *arguments: object, restarts: int = 0) -> Iterator[subprocess.Popen]:
    """Runs this file, or ``-m module``, in two processes that are gone when the block ends."""
    program = [] if arguments[0] == "-m" else [__file__]
    command = ["--nproc-per-node=2", f"--max-restarts={restarts}", "--local-addr=127.0.0.1"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    command += [str(argument) for argument in (*program, *arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    with (folder / "torchrun.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *command],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.terminate()  # which ends its processes as well
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for path in folder.glob("*.pid"):  # where torchrun was killed itself
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(path.stem), signal.SIGKILL)


def finished(process: subprocess.Popen, folder: Path, seconds: float = 90) -> str:
    """What all processes of a run that ended well printed."""
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        status = None
    text = (folder / "torchrun.txt").read_text()
    assert status == 0, text
    return text


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# What the processes run.


def everything(folder: str) -> None:
    """All that needs no accident."""
    with processes("cpu") as device:
        assert device == torch.device("cpu")
        assert distributed.world_size() == 2
        rank = torch.distributed.get_rank()
        assert list(distributed.places(5)) == list(range(rank, 5, 2))
        normalisation(rank)
        running_statistics(rank)
        unused_parameters(rank)
        refusals(Path(folder), rank)
        for name, config in RUNS.items():
            model = start(name)
            if rank:
                nn.init.zeros_(model.objectness[2].weight)  # the first process's weights count
            train(model, images(), config, Path(folder, name), progress=False)
            torch.save(model.state_dict(), Path(folder, f"{name}.{rank}.pt"))
    assert not torch.distributed.is_initialized()


def normalisation(rank: int) -> None:
    """Joint batch norm of parts is batch norm of the whole, forward and backward."""
    torch.manual_seed(0)
    kinds = [
        (nn.BatchNorm2d(5), (7, 5, 6, 9), torch.channels_last),
        (nn.BatchNorm2d(5, affine=False), (3, 5, 2, 3), torch.contiguous_format),
        (nn.BatchNorm2d(5, momentum=None), (8, 5, 4, 4), torch.channels_last),
        (nn.BatchNorm2d(5, track_running_stats=False), (2, 5, 4, 1), torch.contiguous_format),
        (nn.BatchNorm1d(5), (9, 5), torch.contiguous_format),
        (nn.BatchNorm1d(5).eval(), (9, 5), torch.contiguous_format),
    ]
    for layer, shape, layout in kinds:
        own = (
            slice(0, 2 if shape[0] > 2 else 1) if rank == 0 else slice(2 if shape[0] > 2 else 1, 99)
        )
        x = (torch.randn(shape) * 3 + 1).contiguous(memory_format=layout)
        dy = torch.randn(shape)
        whole, part = x.clone().requires_grad_(), x[own].clone().requires_grad_()
        parameters = list(layer.parameters())
        for parameter in parameters:
            nn.init.uniform_(parameter, 0.5, 2)
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        for _ in range(2):
            expected = layer(whole)
        grads = torch.autograd.grad(expected, [whole, *parameters], dy)
        after = {name: value.clone() for name, value in layer.state_dict().items()}
        layer.load_state_dict(before)
        with joint_batch_norm(nn.Sequential(layer)):
            for _ in range(2):
                got = layer(part)
        assert "forward" not in vars(layer)
        own_grads = torch.autograd.grad(got, [part, *parameters], dy[own])
        torch.testing.assert_close(got, expected[own])
        torch.testing.assert_close(own_grads[0], grads[0][own])
        for own_grad, grad in zip(own_grads[1:], grads[1:], strict=True):
            torch.testing.assert_close(distributed.total(own_grad), grad)
        torch.testing.assert_close(dict(layer.state_dict()), after)


def running_statistics(rank: int) -> None:
    """Those of all layers that have them become the mean over processes."""
    kinds = nn.BatchNorm2d(2), nn.BatchNorm1d(3, track_running_stats=False), nn.BatchNorm1d(4)
    model = nn.Sequential(*kinds, nn.Linear(2, 2))
    with torch.no_grad():
        model[0].running_mean += 1 + rank
        model[2].running_var *= 3 * rank
    average_running_statistics(model)
    assert model[0].running_mean.tolist() == [1.5] * 2
    assert model[0].running_var.tolist() == [1.0] * 2
    assert model[2].running_var.tolist() == [1.5] * 4
    average_running_statistics(nn.Linear(2, 2))  # none


def unused_parameters(rank: int) -> None:
    """Gradients are averages; parameters that play no part get none, as in one process."""
    model = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    function = distributed.parallel(model, model[0].forward)
    for step in range(3):
        model.zero_grad()
        function(torch.tensor([[1.0 + step, 2.0 * rank]])).sum().backward()
        assert model[0].weight.grad.tolist() == [[1 + step, 1]]
        assert model[1].weight.grad is None


class Other(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).relu()


def refusals(folder: Path, rank: int) -> None:
    """Errors that all processes must raise alike."""

    def attempt(name: str, *changes: object, **options: object) -> None:
        try:
            train(*changes, folder / name, progress=False)
        except (ValueError, FloatingPointError) as error:
            said[name] = f"{type(error).__name__}: {error}"

    said: dict[str, str] = {}
    attempt("small", tiny(), images(), replace(SGD, batch=1))
    attempt("seeds", tiny(), images(), replace(SGD, seed=rank))
    attempt("images", tiny(), images(2 + rank), SGD)
    broken = tiny()
    broken.backbone.stem[1] = Other(8)
    attempt("norm", broken, images(), SGD)
    lost = tiny()
    if rank == 0:
        nn.init.constant_(lost.masks[2].weight, torch.inf)
    attempt("infinite", lost, images(), SGD)
    (folder / f"said.{rank}.json").write_text(json.dumps(said))


def long_run(folder: str) -> None:
    """A run to be killed; notes which process is which."""
    Path(folder, f"{os.getpid()}.pid").write_text(os.environ["RANK"])
    with processes("cpu"):
        train(tiny(), images(), LONGER, Path(folder, "run"), progress=False)


def one_fails(folder: str) -> None:
    """A run in which the second process cannot read an image, some steps in."""
    with processes("cpu"):
        data = images() if distributed.is_first() else Unreadable(images())
        config = replace(LONGER, cache=False, balanced=False)
        try:
            train(tiny(), data, config, Path(folder, "run"), progress=False)
        except OSError:
            Path(folder, "failed").touch()
            raise


class Unreadable(list):
    reads = 0

    def __getitem__(self, index: int) -> object:
        self.reads += 1
        if self.reads > 20:
            raise OSError("the disk is gone")
        return super().__getitem__(index)


# The tests.


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``everything`` left."""
    folder = tmp_path_factory.mktemp("pair")
    with torchrun(folder, "everything", folder) as process:
        finished(process, folder)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["even", "uneven", "adamw", "sizes", "single"])
def test_two_processes_give_the_weights_of_one(pair, tmp_path, one_thread, name):
    before = start(name).state_dict()
    whole = train(start(name), images(), RUNS[name], tmp_path, progress=False).state_dict()
    first, second = (torch.load(pair / f"{name}.{rank}.pt") for rank in range(2))
    most = 1e-5 if name == "single" else 1e-9
    assert max((whole[key] - before[key]).abs().max() for key in before) > 100 * most
    for key, expected in whole.items():
        torch.testing.assert_close(first[key], expected, rtol=0, atol=most)
        assert torch.equal(first[key], second[key])
    rows, ours = (
        list(csv.reader((folder / "log.csv").read_text().splitlines()))
        for folder in (tmp_path, pair / name)
    )
    assert ours[0] == rows[0]
    np.testing.assert_allclose(np.float64(ours[1:]), np.float64(rows[1:]), rtol=1e-3)
    saved = load(pair / name / "weights.safetensors").state_dict()
    assert all(torch.equal(value, first[key].to(value)) for key, value in saved.items())


def test_processes_that_normalise_by_themselves_stay_equal(pair, one_thread):
    first, second = (torch.load(pair / f"separate.{rank}.pt") for rank in range(2))
    together = torch.load(pair / "even.0.pt")
    changed = {key for key, value in together.items() if not torch.equal(value, first[key])}
    assert "backbone.stem.1.running_var" in changed
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_run_goes_on_with_another_number_of_processes(pair, tmp_path):
    shutil.copytree(pair / "even", tmp_path / "even")
    model = train(start("even"), images(), RUNS["even"], tmp_path / "even", progress=False)
    first = torch.load(pair / "even.0.pt")
    assert all(torch.equal(first[key], value) for key, value in model.state_dict().items())


def test_errors_are_raised_by_all_processes_alike(pair):
    first, second = (json.loads((pair / f"said.{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first == {
        "small": "ValueError: batch must be at least the number of processes, got 1 for 2",
        "seeds": "ValueError: seed must be the same in all processes, got 0 and 1",
        "images": "ValueError: the number of images must be the same in all processes, got 2 and 3",
        "norm": "ValueError: backbone.stem.1 is a Other, which several processes cannot share: "
        "make it a SyncBatchNorm, or train with one process",
        "infinite": "FloatingPointError: the loss is nan at step 0",
    }


def test_killed_processes_are_started_again_and_lose_nothing(pair, tmp_path):
    log = tmp_path / "run" / "log.csv"

    def steps() -> int:
        return log.read_bytes().count(b"\n") - 1 if log.exists() else 0

    killed: set[Path] = set()
    with torchrun(tmp_path, "long_run", tmp_path, restarts=2) as process:
        for rank, step in (("1", 6), ("0", 18)):
            wait_for(lambda step=step: steps() > step or process.poll() is not None)
            assert process.poll() is None, (tmp_path / "torchrun.txt").read_text()
            (victim,) = (
                path
                for path in tmp_path.glob("*.pid")
                if path.read_text() == rank and path not in killed
            )
            killed |= set(tmp_path.glob("*.pid"))
            os.kill(int(victim.stem), signal.SIGKILL)
        finished(process, tmp_path)
    assert len(list(tmp_path.glob("*.pid"))) == 6
    assert log.read_text() == (pair / "long" / "log.csv").read_text()
    whole = torch.load(pair / "long.0.pt")
    saved = load(tmp_path / "run" / "weights.safetensors").state_dict()
    assert all(torch.equal(saved[key], value) for key, value in whole.items())


def test_a_process_that_fails_alone_ends_the_run(tmp_path):
    with torchrun(tmp_path, "one_fails", tmp_path) as process:
        assert process.wait(60) != 0
    assert (tmp_path / "failed").exists()
    assert "the disk is gone" in (tmp_path / "torchrun.txt").read_text()


def test_the_program_trains_by_several_processes(tmp_path):
    write_annotations(tmp_path / "truth.json", write_images(tmp_path / "images"))
    arguments = ["--images", "images", "--annotations", "truth.json", "--output", "run"]
    arguments += ["--steps=2", "--batch=2", "--crop=64", "--windows=16", "--precision=float32"]
    with torchrun(tmp_path, "-m", "pyifcn", "train", *arguments, "--device=cpu") as process:
        text = finished(process, tmp_path)
    assert text.count("trained 2 steps: run/weights.safetensors") == 1
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") == 3
    load(tmp_path / "run" / "weights.safetensors")


COMPLETE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"MASTER_ADDR": None}, "RANK is set but MASTER_ADDR is not: torchrun, which starts"),
        ({"RANK": None}, "LOCAL_RANK is set but RANK is not"),
        ({"RANK": "-1"}, "RANK must be a number from 0, got '-1'"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a number from 0, got 'two'"),
        ({"RANK": "2"}, "RANK must be less than WORLD_SIZE, got 2 and 2"),
        ({"LOCAL_RANK": "3"}, "LOCAL_RANK must be less than WORLD_SIZE, got 3 and 2"),
    ],
)
def test_variables_that_contradict_each_other(monkeypatch, changes, said):
    for name, value in (COMPLETE | changes).items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said), processes("cpu"):
        pass


def test_more_processes_than_gpus(monkeypatch):
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with (
        pytest.raises(ValueError, match="process 1 of this machine, which has 0 GPUs"),
        processes("cuda"),
    ):
        pass


def test_processes_that_have_not_joined_are_told_how(monkeypatch, tmp_path):
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="torchrun started several processes: train within"):
        train(tiny(), images(), SGD, tmp_path, progress=False)


def test_one_process_joins_nothing(monkeypatch):
    for name, value in (COMPLETE | {"WORLD_SIZE": "1"}).items():
        monkeypatch.setenv(name, value)
    with processes("cpu"):
        assert not torch.distributed.is_initialized()
        assert distributed.is_first()


if __name__ == "__main__":
    {"everything": everything, "long_run": long_run, "one_fails": one_fails}[sys.argv[1]](
        *sys.argv[2:]
    )
