"""Blocks of images, done by workers on a Ray cluster through Ray Data."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pyifcn.data import ImageError
from pyifcn.inference.blocks import Block, utf8
from pyifcn.inference.finder import Finder
from pyifcn.inference.local import run_blocks
from pyifcn.inference.parts import Parts, Tally

_TASKS = 10_000  # Ray's bookkeeping grows with them; a task of several blocks still resumes at each


def run_on_ray(
    blocks: Sequence[Block],
    finder: Finder,
    parts: Parts,
    *,
    skip: bool,
    workers: int | None = None,
    cpus: int = 1,
) -> Iterator[Tally]:
    """Does blocks on the cluster that Ray is connected to or finds, else on this machine.

    Each worker holds the network and writes the parts of its blocks itself; only counts come back.
    Ray starts a worker that was killed again and gives its blocks to it or to another, whose part
    has the same name, so a block that is done twice is still in the result once.

    Args:
        blocks: What to do.
        finder: Finds instances; it is sent to each machine once.
        parts: Where the results go; every machine must reach it.
        skip: Record images that cannot be read, rather than raise.
        workers: How many; if None one for each GPU, or else for each `cpus` CPUs.
        cpus: Threads of a worker.

    Yields:
        What was in each block, in the order in which they are done.

    Raises:
        ImageError: If an image cannot be read and is not to be skipped.
        ImportError: If Ray is not installed.
    """
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        with _quiet():
            ray.init(log_to_driver=False, logging_level="ERROR")
    try:
        yield from _run(ray, blocks, finder, parts, skip, workers, cpus)
    finally:
        if ours:
            ray.shutdown()


def _run(
    ray: ModuleType,
    blocks: Sequence[Block],
    finder: Finder,
    parts: Parts,
    skip: bool,
    workers: int | None,
    cpus: int,
) -> Iterator[Tally]:
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if finder.device != "cpu" else 0
    if finder.device == "cuda" and not gpus:
        raise ValueError("device is 'cuda', but the cluster has no GPU")
    cpus = min(cpus, int(max(node["Resources"].get("CPU", 1) for node in ray.nodes())))
    workers = workers or gpus or max(int(resources.get("CPU", 1)) // cpus, 1)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [{"block": pickle.dumps(block)} for block in blocks]
    done = ray.data.from_items(rows, override_num_blocks=min(len(rows), _TASKS)).map_batches(
        _Worker,
        fn_constructor_args=(ray.put(finder), parts, skip, cpus),
        batch_size=1,
        num_cpus=cpus,
        num_gpus=1 if gpus else None,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
    )
    for row in done.iter_rows():
        if row["refused"]:
            raise ImageError(row["refused"])
        yield Tally(row["images"], row["instances"], row["skipped"])


class _Worker:
    """Holds the network, for as long as its process lives."""

    def __init__(self, finder: Any, parts: Parts, skip: bool, cpus: int) -> None:
        import ray
        import torch

        torch.set_num_threads(cpus)
        self.finder: Finder = ray.get(finder)
        self.parts = parts
        self.skip = skip
        self.threads = max(cpus, 2)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Does the blocks of a batch, and tells how much was in them."""
        answers = [self._answer(pickle.loads(content)) for content in batch["block"]]
        return {key: [answer[key] for answer in answers] for key in answers[0]}

    def _answer(self, block: Block) -> dict[str, Any]:
        try:
            return {"refused": "", **vars(self._tally(block))}
        except ImageError as error:  # a failed task would be a traceback instead of a sentence
            return {"refused": utf8(str(error)), **vars(Tally())}

    def _tally(self, block: Block) -> Tally:
        if self.parts.has(block):  # of a task that was killed after this block
            return self.parts.tally(block)
        (tally,) = run_blocks(
            [block], self.finder, self.parts, skip=self.skip, threads=self.threads
        )
        return tally


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray's C++ side takes notes on standard error, unless the environment says something else."""
    key = "RAY_BACKEND_LOG_LEVEL"
    ours = key not in os.environ
    os.environ.setdefault(key, "fatal")
    try:
        yield
    finally:
        if ours:
            del os.environ[key]


def _ray() -> ModuleType:
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("ray", "pandas", "pyarrow"):
            raise
        raise ImportError(
            'the engine ray needs Ray Data; install it with: pip install "pyifcn[ray]"'
        ) from None
    return ray
