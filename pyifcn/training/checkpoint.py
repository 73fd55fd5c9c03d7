"""What a training run leaves in its folder, so that it can be killed at any moment."""

from __future__ import annotations

import csv
import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pyifcn.data.files import written_whole
from pyifcn.training.config import Config

__all__ = ["Log", "read_checkpoint", "what_counts", "write_checkpoint"]

_FREE = {"cache", "workers", "save_every"}  # what may differ from one start of a run to the next


def write_checkpoint(
    path: Path, counts: Mapping[str, Any], step: int, state: Mapping[str, Any]
) -> None:
    """Writes everything that the rest of a run depends on, whole or not at all."""
    with written_whole(path) as partial:
        torch.save({"counts": dict(counts), "step": step, **state}, partial)


def read_checkpoint(path: Path, counts: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Reads what ``write_checkpoint`` wrote; ``counts`` is what ``what_counts`` gave.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no checkpoint, or one of a run with other options or data.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        before = state["counts"]
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError):
        raise ValueError(f"{path} is not a checkpoint") from None
    for name, value in counts.items():
        if before.get(name) != value:
            raise ValueError(
                f"{path} is of a run with {name} = {before.get(name)}, not {value}; "
                "give the same options and data, or another folder"
            )
    return dict(state)


def what_counts(config: Config, images: int) -> dict[str, Any]:
    """What a run's result depends on: the configuration, and on how many images it trains."""
    fields = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
        if name not in _FREE
    }
    return {**fields, "the number of images": images}


class Log:
    """A CSV file with a line for each step, and TensorBoard if asked.

    Args:
        folder: Where ``log.csv`` stands.
        step: The first step to come; later lines of a run that was killed are dropped.
        parts: Names of the loss's parts.
        tensorboard: Write TensorBoard's events too.

    Raises:
        ImportError: If TensorBoard is asked for and not installed.
    """

    def __init__(
        self, folder: Path, step: int, parts: Sequence[str], tensorboard: bool = False
    ) -> None:
        columns = ("step", *parts, "learning_rate", "gradient")
        path = folder / "log.csv"
        kept: list[dict[str, str]] = []
        if step and path.exists():
            with path.open(newline="") as file:
                kept = list(csv.DictReader(file))[:step]
        with written_whole(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(kept)
        self._board = _summary_writer(folder, step) if tensorboard else None
        self._file = path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, columns)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a step's values."""
        self._writer.writerow({"step": step, **values})
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError(
            "TensorBoard is not installed; install it with: pip install 'pyifcn[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder), purge_step=step)
