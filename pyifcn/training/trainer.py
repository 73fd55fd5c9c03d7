"""The training loop."""

from __future__ import annotations

import copy
import math
import os
import platform
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pyifcn.data import AnnotatedImages, Sample, Truth
from pyifcn.models import Network, save
from pyifcn.training import distributed
from pyifcn.training.batch_norm import average_running_statistics, joint_batch_norm
from pyifcn.training.checkpoint import (
    PARTS,
    Log,
    read_checkpoint,
    what_counts,
    write_checkpoint,
)
from pyifcn.training.config import Config
from pyifcn.training.launch import check_joined
from pyifcn.training.objective import Objective, objective
from pyifcn.training.views import Views

__all__ = ["train"]

AnyNetwork = TypeVar("AnyNetwork", bound=Network)


def train(
    model: AnyNetwork,
    data: Sequence[Sample],
    config: Config,
    folder: str | os.PathLike[str],
    *,
    tensorboard: bool = False,
    progress: bool = True,
) -> AnyNetwork:
    """Trains a network, going on where an earlier call with the same folder was stopped.

    The folder receives ``checkpoint.pt``, ``weights.safetensors`` and ``log.csv``. What happens
    at a step follows from the configuration, the data and the step, so that a run that was killed
    and started again gives the same numbers, bit for bit on one machine's CPU with the same number
    of threads.

    Within ``processes`` all of them call this with the same arguments, and train as one would: they
    share each batch, and the first writes the folder, which all must see.

    Args:
        model: The network, on the device to train on; its weights are where the run starts.
        data: Images with their instances, such as ``CocoInstances``.
        config: Everything else.
        folder: Made if it is missing.
        tensorboard: Log to TensorBoard as well.
        progress: Show a progress bar, on a terminal.

    Returns:
        The trained network in evaluation mode, averaged if ``config.average`` is set.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If there is no data or no instance in it, the folder has a run with other
            options or data or a file that is not a checkpoint, crops are smaller than the network's
            windows, or processes were given different arguments or more of them than a batch has
            views.
        TypeError: If the network is of a kind that cannot be trained, or data is a path.
        FloatingPointError: If the loss is not finite.

    Example:
        >>> import tempfile
        >>> from pyifcn.data import SyntheticNuclei
        >>> from pyifcn.training import network, preset, train
        >>> config = preset("nuclei", steps=1, batch=1, precision="float32")
        >>> model = train(network("nuclei"), SyntheticNuclei(1), config, tempfile.mkdtemp())
    """
    if isinstance(data, (str, os.PathLike)):
        raise TypeError(
            f"data must be samples, such as pyifcn.data.open_dataset gives, got {data!r}"
        )
    if not len(data):
        raise ValueError("data must not be empty")
    check_joined()
    if not _has_instances(data):
        raise ValueError(f"data must have instances other than crowds, got {len(data)} images")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    goal = objective(model, config)
    views = Views(model, goal, data, config)
    run = _Run(model, goal, config, data, folder)
    distributed.agree({**run.counts, "the network": model.kind, "the checkpoint's step": run.step})
    first = distributed.is_first()
    if first and config.precision == "bfloat16" and run.device.type == "cpu" and _lacks_bfloat16():
        warnings.warn(
            "bfloat16 is slow on this CPU, which has no instructions for it: "
            "give --precision float32",
            stacklevel=2,
        )
    if first and run.step:
        run.save_weights()  # the disk may have been full after the checkpoint
    with (
        joint_batch_norm(model) if config.joint_norm else nullcontext(),
        closing(Log(folder, run.step, goal.parts, tensorboard)) if first else nullcontext() as log,
        tqdm(
            total=config.steps,
            initial=run.step,
            desc="training",
            unit="step",
            disable=None if progress and first else True,
        ) as bar,
    ):
        for planes, targets in views.batches(run.step, config.steps):
            values = run.advance(planes, targets)
            bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)
            bar.update()
            if log is not None:
                log.write(run.step - 1, values)
                if run.step % config.save_every == 0 or run.step == config.steps:
                    run.save()
    model.load_state_dict(run.average.state_dict())
    return model.eval()


class _Run:
    """A network in training and everything that changes with it."""

    def __init__(
        self,
        model: Network,
        objective: Objective,
        config: Config,
        data: Sequence[Sample],
        folder: Path,
    ) -> None:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = model.train()
        self.objective = objective
        self.config = config
        self.counts = what_counts(config, data)
        self.folder = folder
        self.step = 0
        self.device = next(model.parameters()).device
        self.score = distributed.parallel(model, model.score)
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimizer = _optimizer(model, config)
        scaled = config.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        if (folder / "checkpoint.pt").exists():
            state = read_checkpoint(folder / "checkpoint.pt", self.counts, self.device)
            self.step = state["step"]
            for name in PARTS:
                _restore(getattr(self, name), state[name], folder)

    def save(self) -> None:
        state = {name: getattr(self, name).state_dict() for name in PARTS}
        write_checkpoint(self.folder / "checkpoint.pt", self.counts, self.step, state)
        self.save_weights()

    def save_weights(self) -> None:
        save(self.average, self.folder / "weights.safetensors")

    def advance(self, planes: Tensor, targets: list[Any]) -> dict[str, float]:
        """One step; returns what to log."""
        config = self.config
        rate = learning_rate(self.step, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        planes = planes.to(self.device, memory_format=torch.channels_last)
        dtype = getattr(torch, config.precision)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
            outputs = self.score(planes)
        parts = self.objective.loss(outputs, targets)
        values = distributed.averages(parts)
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"the loss is {values['loss']} at step {self.step}")

        self.optimizer.zero_grad()
        self.scaler.scale(parts["loss"]).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        limit = config.clip or math.inf
        gradient = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if not config.joint_norm:
            average_running_statistics(self.model)
        self._update_average()
        self.step += 1
        return {**values, "learning_rate": rate, "gradient": gradient.item()}

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.config.average, (self.step + 1) / (self.step + 10))
        state = self.model.state_dict()
        for name, mean in self.average.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(state[name], 1 - keep)
            else:
                mean.copy_(state[name])


def _lacks_bfloat16() -> bool:
    """Whether torch says that the CPU, an x86, has no instructions for it."""
    cpu: Any = torch.cpu
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if platform.machine() not in ("x86_64", "AMD64") or not all(hasattr(cpu, n) for n in names):
        return False
    return not any(getattr(cpu, name)() for name in names)


def _restore(part: Any, state: dict[str, Any], folder: Path) -> None:
    try:
        part.load_state_dict(state)
    except (RuntimeError, ValueError):
        raise ValueError(f"{folder} has a run of another network; give another folder") from None
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder / 'checkpoint.pt'} is not a checkpoint") from None


def _has_instances(data: Sequence[Sample]) -> bool:
    """Whether there is something to learn from; no more of the data is read than shows one."""
    look: Callable[[int], Sample | Truth]
    look = data.truth if isinstance(data, AnnotatedImages) else data.__getitem__
    seen = (look(index) for index in range(len(data)))
    return any((one.masks.area[~np.asarray(one.crowd, bool)] > 0).any() for one in seen)


def learning_rate(step: int, config: Config) -> float:
    """The learning rate of a step."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(config.warmup, 1))
    if config.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return rate * (0.1 if step >= 0.8 * config.steps else 1.0)


def _optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, config.learning_rate)
