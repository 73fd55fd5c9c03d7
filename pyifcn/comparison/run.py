"""Training, measuring and showing all entries of a comparison."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from pyifcn.comparison.entries import HEADS, VIEWS, Entry, entries
from pyifcn.comparison.measure import measure
from pyifcn.comparison.pictures import draw
from pyifcn.comparison.table import table
from pyifcn.data import AnnotatedImages, Sample, written_whole
from pyifcn.models import Network, load
from pyifcn.training import Config, network, train

__all__ = ["compare"]


def compare(
    train_data: Sequence[Sample],
    val_data: Sequence[Sample],
    folder: str | os.PathLike[str],
    *,
    preset: str = "shapes",
    categories: Mapping[int, str] | None = None,
    heads: Sequence[str] = HEADS,
    views: Sequence[str] = VIEWS,
    changes: Mapping[str, Any] | None = None,
    backbone: str | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    echo: Callable[[str], object] = print,
) -> list[dict[str, Any]]:
    """Trains every head on every view with one budget, and measures them on the same images.

    Every network has a folder of its own, trained as ``pyifcn.training.train`` does; a comparison
    that was stopped goes on when it is started again, and what is done is not done again. The
    folder receives table.md, table.json, and page.md with the pictures that it shows.

    Args:
        train_data: Images to train on.
        val_data: Images to measure on.
        folder: Made if it is missing.
        preset: "shapes", "nuclei", "photos" or "paper": the trunk and the configuration.
        categories: Names of the labels; those of ``train_data.categories`` if None.
        heads: Among ``HEADS``.
        views: Among ``VIEWS``.
        changes: Fields of ``pyifcn.training.Config`` that differ from the preset's.
        backbone: Instead of the preset's own.
        pretrained: A file of the backbone's weights.
        device: Where to train and measure.
        echo: Receives a line for each network.

    Returns:
        A row of the table for each network, as table.json has them.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If a name is unknown, there is no data, or the folder has a comparison with
            another configuration or other training data.
    """
    for name, data in (("train_data", train_data), ("val_data", val_data)):
        if not len(data):
            raise ValueError(f"{name} must not be empty")
    named: Mapping[int, str] = categories or getattr(train_data, "categories", {1: "object"})
    folder = Path(folder)
    rows: list[dict[str, Any]] = []
    chosen = entries(heads, views)
    given = {
        "train_data": _told(train_data),
        "preset": preset,
        "categories": {str(label): name for label, name in named.items()},
        "backbone": backbone,
        "pretrained": pretrained and blake2b(Path(pretrained).read_bytes()).hexdigest(),
    }
    for number, entry in enumerate(chosen, 1):
        config = entry.config(preset, train_data, changes or {})

        def new(entry: Entry = entry, config: Config = config) -> Network:
            torch.manual_seed(config.seed)
            made = network(
                preset,
                backbone,
                pretrained,
                head=entry.network,
                grid=entry.grid,
                categories=named,
            )
            return made.to(device)

        row = _row(entry, config, given, new, train_data, val_data, folder / entry.name)
        rows.append(row)
        echo(
            f"{number}/{len(chosen)} {entry.name}: AR@10, 100, 1000 "
            + ", ".join(f"{row[f'AR@{n}']:.3f}" for n in (10, 100, 1000))
        )
        _write(folder / "table.md", table(rows))
        _write(folder / "table.json", json.dumps(rows, indent=2) + "\n")
    models = {entry: load(folder / entry.name / "weights.safetensors") for entry in chosen}
    _write(folder / "page.md", draw(models, val_data, folder / "pictures", table(rows)))
    echo(f"table and pictures: {folder / 'page.md'}")
    return rows


def _row(
    entry: Entry,
    config: Config,
    given: Mapping[str, Any],
    new: Callable[[], Network],
    train_data: Sequence[Sample],
    val_data: Sequence[Sample],
    folder: Path,
) -> dict[str, Any]:
    """Trains and measures one network, unless that was done before."""
    made_of = {"config": dataclasses.asdict(config), "val": _told(val_data), **given}
    made_of = json.loads(json.dumps(made_of))
    path = folder / "measured.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before.pop("made of", None) == made_of:
            return dict(before)
    _check_given(folder, given)
    model = new()
    _write(folder / "given.json", json.dumps(given, indent=2) + "\n")
    model = train(model, train_data, config, folder)
    measured = measure(model, val_data, len(val_data))
    row = {
        "title": entry.title,
        "head": entry.head,
        "view": entry.view,
        "steps": config.steps,
        "batch": config.batch,
        "images": len(val_data),
        **measured,
    }
    _write(path, json.dumps({**row, "made of": made_of}, indent=2) + "\n")
    return row


def _check_given(folder: Path, given: Mapping[str, Any]) -> None:
    """Refuses to go on with a network that was given something else; ``train`` looks at the rest.

    Raises:
        ValueError: With the first name whose value differs.
    """
    if not (folder / "checkpoint.pt").exists():
        return
    path = folder / "given.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, value in given.items():
        if before.get(name) != value:
            raise ValueError(
                f"{folder} has a comparison with another {name}; give the same, or another folder"
            )


def _told(data: Sequence[Sample]) -> str:
    """What tells one data set from another."""
    if isinstance(data, AnnotatedImages):
        return data.fingerprint()
    return f"{len(data)} images, the first {data[0].file_name} of {data[0].masks.size}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
