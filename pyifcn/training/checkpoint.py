"""What a training run leaves in its folder, so that it can be killed at any moment."""

from __future__ import annotations

import csv
import dataclasses
import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pyifcn.data import AnnotatedImages, Sample, written_whole
from pyifcn.training.config import Config

__all__ = ["PARTS", "Log", "read_checkpoint", "what_counts", "write_checkpoint"]

PARTS = ("model", "average", "optimizer", "scaler")  # what changes with a run

_DATA = "the fingerprint of the data"
_FREE = {"cache", "workers", "save_every"}  # what may differ from one start of a run to the next


def write_checkpoint(
    path: Path, counts: Mapping[str, Any], step: int, state: Mapping[str, Any]
) -> None:
    """Writes everything that the rest of a run depends on, whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    content = io.BytesIO()  # torch.save reports a full disk as a RuntimeError
    torch.save({"counts": dict(counts), "step": step, **state}, content)
    with written_whole(path) as partial:
        partial.write_bytes(content.getbuffer())


def read_checkpoint(path: Path, counts: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Reads what ``write_checkpoint`` wrote; ``counts`` is what ``what_counts`` gave.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no checkpoint, or one of a run with other options or data.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError):
        state = None
    if not _is_checkpoint(state):
        raise ValueError(f"{path} is not a checkpoint")
    for name, value in counts.items():
        before = state["counts"].get(name)
        if before != value:
            other = "on other data" if name == _DATA else f"with {name} = {before}, not {value}"
            raise ValueError(
                f"{path} is of a run {other}; give the same options and data, or another folder"
            )
    return dict(state)


def _is_checkpoint(state: Any) -> bool:
    return (
        isinstance(state, dict)
        and isinstance(state.get("step"), int)
        and all(isinstance(state.get(name), dict) for name in ("counts", *PARTS))
    )


def what_counts(config: Config, data: Sequence[Sample]) -> dict[str, Any]:
    """What a run's result depends on: the configuration and the data.

    Raises:
        OSError: If the file of annotations cannot be read.
    """
    fields = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
        if name not in _FREE
    }
    fingerprint = data.fingerprint() if isinstance(data, AnnotatedImages) else None
    return {**fields, "the number of images": len(data), _DATA: fingerprint}


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
        self._board = _summary_writer(folder, step) if tensorboard else None
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
